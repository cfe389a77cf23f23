"""Real tiny segmentation jobs: bright discs on noise, with masks, and nano_vit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from methods import registry
from methods.params import resolve_params
from storage.records import SEGMENTATION, BackboneRef, DatasetRef, Job, MethodCall, Phase, Recipe
from workers.data.catalogue import data_hash
from workers.site import Site

DATASET = "local/discs"
SIZES = {"train": 24, "val": 8, "test": 12}


def draw_discs(folder: Path) -> None:
    """One disc per image; the last image of each list has none."""
    draws = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows, columns = np.mgrid[:40, :48]  # not square: both must be squashed alike
    for split, n in SIZES.items():
        lines = []
        for index in range(n):
            name = f"{split}{index:02d}"
            centre, radius = draws.uniform(10, 30, 2), draws.uniform(6, 12)
            inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
            inside &= index < n - 1
            pixels = draws.integers(0, 110, (40, 48, 3)) + 120 * inside[..., None]
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{name}.png")
            Image.fromarray((255 * inside).astype(np.uint8)).save(folder / "masks" / f"{name}.png")
            lines.append(f"images/{name}.png masks/{name}.png\n")
        (folder / f"{split}.txt").write_text("".join(lines))


@pytest.fixture(scope="session")
def masked_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("masked")
    draw_discs(root / "discs")
    return root


@pytest.fixture
def own_discs(tmp_path: Path) -> Path:
    """The folder of discs, for tests that damage it."""
    draw_discs(tmp_path / "own" / "discs")
    return tmp_path / "own" / "discs"


@pytest.fixture
def site(tmp_path: Path, masked_root: Path, data_root: Path) -> Site:
    data = {DATASET: masked_root / "discs", "local/corners": data_root / "corners"}
    return Site(home=tmp_path / "home", cache=tmp_path / "cache", data=data)


@pytest.fixture(scope="session")
def masked_job(masked_root: Path) -> Callable[..., Job]:
    """masked_job("lora", {"rank": 2}): a final job of one epoch; `recipe=` and other fields of Job change it."""
    content = data_hash(DATASET, masked_root)

    def make(
        method: str = "linear",
        params: Mapping[str, object] | None = None,
        recipe: Mapping[str, Any] | None = None,
        phase: Phase = Phase.FINAL,
        **changes: Any,
    ) -> Job:
        facts = registry.facts(method)
        own = {**facts.by_task.get(SEGMENTATION, {}), **(params or {})}
        plain: dict[str, Any] = {"epochs": 1, "warmup_epochs": 0.0, "image_size": 16, "batch_size": 8, "lr": 3e-3}
        is_search = phase == Phase.SEARCH
        call = MethodCall(method, facts.revision, facts.named_by(resolve_params(facts, own)[0]))
        job = Job(
            phase=phase,
            methods=(call,),
            backbone=BackboneRef("nano_vit", "random"),
            dataset=DatasetRef(DATASET, content, 1, SEGMENTATION),
            train_split="train800" if is_search else "train800val200",
            score_split="val200" if is_search else "test",
            recipe=Recipe(**{**plain, **(recipe or {})}),
            seed=0,
            trainer_revision=1,
        )
        return replace(job, **changes)

    return make
