"""Real tiny jobs: a drawn data set in VTAB layout (24 + 8 images to train on, 20 to test) and random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from methods import registry
from storage.records import BackboneRef, DatasetRef, Job, Lease, MethodCall, Phase, Recipe, Result, frozen
from workers.data.catalogue import data_hash
from workers.pools.protocol import Progress, Verdict
from workers.run import run_job
from workers.site import Site

CLASSES = 4
DATASET = "local/corners"
SIZES = {"train800": 24, "val200": 8, "test": 20}


def _draw(folder: Path) -> None:
    """The class says which quarter of the image is bright."""
    draws = np.random.default_rng(0)
    lines: dict[str, list[str]] = {}
    for split, n in SIZES.items():
        (folder / "images" / split).mkdir(parents=True)
        for index in range(n):
            label = index % CLASSES
            pixels = draws.integers(0, 120, (40, 36, 3), dtype=np.uint8)  # not square: resizing must squash
            row, column = divmod(label, 2)
            pixels[20 * row : 20 * row + 20, 18 * column : 18 * column + 18] += 130
            name = f"images/{split}/{index:03d}.png"
            Image.fromarray(pixels).save(folder / name)
            lines.setdefault(split, []).append(f"{name} {label}\n")
    lines["train800val200"] = lines["train800"] + lines["val200"]
    for split, listed in lines.items():
        (folder / f"{split}.txt").write_text("".join(listed))


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    _draw(root / "corners")
    return root


@pytest.fixture
def own_data_root(tmp_path: Path) -> Path:
    """As `data_root`, for tests that damage it."""
    _draw(tmp_path / "own" / "corners")
    return tmp_path / "own"


@pytest.fixture
def site(tmp_path: Path, data_root: Path) -> Site:
    return Site(home=tmp_path / "home", cache=tmp_path / "cache", data={DATASET: data_root / "corners"})


@pytest.fixture(scope="session")
def a_job(data_root: Path) -> Callable[..., Job]:
    """a_job("lora", rank=2): a final job of one epoch; `phase=` and `recipe=` and other fields of Job change it."""
    content = data_hash(DATASET, data_root)

    def make(
        *methods: str, phase: Phase = Phase.FINAL, recipe: dict[str, object] | None = None, **changes: object
    ) -> Job:
        params = {name: changes.pop(name) for name in ("rank",) if name in changes}
        calls = tuple(
            MethodCall(name, registry.facts(name).revision, frozen(params if name == "lora" else {}))
            for name in methods or ("linear",)
        )
        plain = {"epochs": 1, "warmup_epochs": 0.0, "image_size": 32, "batch_size": 8, "lr": 3e-3}
        is_search = phase == Phase.SEARCH
        job = Job(
            phase=phase,
            methods=calls,
            backbone=BackboneRef("nano_vit", "random"),
            dataset=DatasetRef(DATASET, content, CLASSES),
            train_split="train800" if is_search else "train800val200",
            score_split="val200" if is_search else "test",
            recipe=Recipe(**{**plain, **(recipe or {})}),
            seed=0,
            trainer_revision=1,
        )
        return replace(job, **changes)

    return make


def lease_of(job: Job) -> Lease:
    return Lease(job.job_id, 1, "test", 0.0)


@pytest.fixture
def run(site: Site) -> Iterator[Callable[..., Result]]:
    """run(job): the result of the real thing at `site`; `report=` hears its progress."""

    def run_here(
        job: Job, report: Callable[[Progress], Verdict] = lambda _: Verdict.CONTINUE, at: Site = site
    ) -> Result:
        return run_job(job, lease_of(job), at, report)

    yield run_here
