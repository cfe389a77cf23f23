"""Real microscope images (DSB-2018, CC0), where they are: methods find nuclei better than the decoder alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.records import SEGMENTATION, DatasetRef, Job, Result, Status
from workers.data.catalogue import data_hash
from workers.site import Site
from workers.weights import reference

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "seg" / "nuclei"
SIZES = {"train": 64, "val": 16, "test": 30}
NAME = "local/nuclei"


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """110 of the images, drawn by a fixed seed from the sorted names."""
    if not SHARED.is_dir():
        pytest.skip("nuclei images are not beside the repository (shared/data/seg/nuclei)")
    root = tmp_path_factory.mktemp("real")
    names = sorted(path.stem for path in (SHARED / "images").iterdir())
    order = np.random.default_rng(0).permutation(len(names))
    start = 0
    for split, size in SIZES.items():
        chosen = [names[at] for at in order[start : start + size]]
        start += size
        for part, ending in (("images", "jpg"), ("masks", "png")):
            (root / "nuclei" / part).mkdir(parents=True, exist_ok=True)
            for name in chosen:
                shutil.copy(SHARED / part / f"{name}.{ending}", root / "nuclei" / part)
        lines = "".join(f"images/{name}.jpg masks/{name}.png\n" for name in chosen)
        (root / "nuclei" / f"{split}.txt").write_text(lines)
    return root


def test_adapting_the_backbone_beats_the_decoder_alone_on_nuclei(
    nuclei: Path, masked_job: Callable[..., Job], run: Callable[..., Result], site: Site
):
    here = replace(site, data={NAME: nuclei / "nuclei"})
    dataset = DatasetRef(NAME, data_hash(NAME, nuclei), 1, SEGMENTATION)
    shipped = reference("nano_vit", None, site.cache)
    dice_pct = {}
    for method in ("linear", "full"):
        recipe = {"epochs": 6, "image_size": 32, "lr": 2e-3, "augment": "flip"}
        result = run(masked_job(method, recipe=recipe, backbone=shipped, dataset=dataset), at=here)
        assert result.status is Status.DONE, result.failure
        dice_pct[method] = result.metrics["test_dice_pct"]
    assert dice_pct["full"] > dice_pct["linear"] + 5
    assert dice_pct["full"] > 40
