"""Reading a cached epoch against decoding it, and what a second process costs, in one run.

    python -m tests.benchmarks.bench_cache [--images 1000] [--size 224]

Images are JPEGs of 500 x 375 drawn here. An epoch is all images once, in shuffled batches of 64, as uint8 ("read";
decoded by one thread), or as the trainer gets them on this CPU ("batches": floats, cropped where the recipe crops,
normalised, without the partial batch; streamed by two threads). Bars: reading >= 10 x faster than decoding; private
memory that a second process adds while it reads the whole entry <= 5 % of the entry.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from storage.records import BackboneRef, DatasetRef, Job, Phase, Recipe
from workers.data.batches import Batches
from workers.data.folders import content_hash
from workers.data.forms import CENTRE, LARGE, SQUASH, EntryName, crop_names
from workers.data.sources import FolderSource
from workers.data.splits import open_split
from workers.data.stocks import Stock, StreamedSet
from workers.site import Site

BACKBONE = BackboneRef("vit", "none", crop_pct=0.9)
BATCH = 64
NAME = "local/bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="sweepboard-bench-") as made:
        folder = Path(made)
        draw(folder / "data", options.images)
        site = Site(folder / "home", folder / "cache", data={NAME: folder / "data"}, cache_gib=10)
        content = content_hash(folder / "data", site.cache)
        for resize, augment in (("squash", "none"), ("crop", "none"), ("crop", "crop_flip")):
            report(job_of(content, options.size, resize, augment), site)


def report(job: Job, site: Site) -> None:
    say, size = sys.stdout.write, job.recipe.image_size or 0
    form = LARGE if job.recipe.augment == "crop_flip" else CENTRE if job.recipe.resize == "crop" else SQUASH
    squash = EntryName(job.dataset.data_hash, job.train_split, size, BACKBONE.interpolation)
    name = {SQUASH: squash, **crop_names(job.dataset.data_hash, job.train_split, size, BACKBONE)}[form]
    split = open_split(job, job.train_split, site, lambda done, total: None)
    cached: Stock = split.fitted() if name.is_square else stock_of(split.uncropped(form))
    decoded = StreamedSet(FolderSource(site.data[NAME], name, site.cache), 1)
    order = np.random.default_rng(0).permutation(len(split.labels))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    read_s = seconds(lambda: cached.each(batches))
    decoded_s = seconds(lambda: decoded.each(batches))
    streamed = Batches(
        open_split(job, job.train_split, alone(site), lambda done, total: None), job, torch.device("cpu")
    )
    ready_s = seconds(lambda: Batches(split, job, torch.device("cpu")).trained(0))
    ready_streamed_s = seconds(lambda: streamed.trained(0))
    entry = site.cache / "images" / name.key
    entry_mib = sum(path.stat().st_size for path in entry.iterdir()) / 2**20
    added_mib = second_process_mib(site.cache, name)
    say(
        f"{form:<7} {len(order)} images, entry {entry_mib:7.1f} MiB\n"
        f"  read     {read_s:7.3f} s   decode   {decoded_s:7.3f} s   ratio {decoded_s / read_s:6.1f}\n"
        f"  batches  {ready_s:7.3f} s   streamed {ready_streamed_s:7.3f} s   ratio {ready_streamed_s / ready_s:6.1f}\n"
        f"  a second process adds {added_mib:.2f} MiB of private memory: {100 * added_mib / entry_mib:.2f} %\n"
    )


def stock_of(stock: Stock | None) -> Stock:
    if stock is None:
        raise SystemExit("the split has no uncropped images")
    return stock


def alone(site: Site) -> Site:
    """The same place, with a cache that may hold nothing."""
    return Site(site.home, site.cache / "none", data=site.data, cache_gib=0)


def seconds(passed: Callable[[], Iterator[object]]) -> float:
    """Every array is read to its end: a mapped page counts when it is touched."""
    began_s = time.perf_counter()
    for batch in passed():
        for image in batch if isinstance(batch, list) else [batch]:
            if isinstance(image, np.ndarray):
                image.copy()
    return time.perf_counter() - began_s


_SECOND = """
import gc, sys
from pathlib import Path
import numpy as np
import torch
from workers.data.cache_files import read_entry
def private_kib():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
gc.collect()
before = private_kib()
entry = read_entry(Path(sys.argv[1]))
for batch in entry.each(list(np.arange(len(entry.labels)).reshape(-1, 8))):
    for image in batch:
        image.copy()
del batch, image
gc.collect()
print(private_kib() - before)
"""


def second_process_mib(cache: Path, name: EntryName) -> float:
    """What a process adds to its private memory by reading the whole entry, while this process has it open too."""
    done = subprocess.run(
        [sys.executable, "-c", _SECOND, str(cache / "images" / name.key)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def job_of(content: str, size: int, resize: str, augment: str) -> Job:
    recipe = Recipe(epochs=1, warmup_epochs=0.0, image_size=size, batch_size=BATCH, resize=resize, augment=augment)
    return Job(
        phase=Phase.FINAL,
        methods=(),
        backbone=BACKBONE,
        dataset=DatasetRef(NAME, content, 10),
        train_split="train800val200",
        score_split="test",
        recipe=recipe,
        seed=0,
        trainer_revision=1,
    )


def draw(folder: Path, count: int) -> None:
    """Photograph-like JPEGs: soft shapes, edges and grain, 500 x 375, quality 90 (about 100 kB)."""
    draws = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = []
    for index in range(count):
        coarse = Image.fromarray(draws.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375), 3)
        fine = Image.fromarray(draws.integers(0, 256, (94, 125, 3), dtype=np.uint8)).resize((500, 375), 0)
        soft = fine.filter(ImageFilter.GaussianBlur(1.5))
        Image.blend(coarse, soft, 0.3).save(folder / "images" / f"{index:04d}.jpg", quality=90)
        lines.append(f"images/{index:04d}.jpg {index % 10}\n")
    lists = {"train800": lines[:800], "val200": lines[800:], "train800val200": lines, "test": lines[:8]}
    for split, listed in lists.items():
        (folder / f"{split}.txt").write_text("".join(listed or lines[:1]))


if __name__ == "__main__":
    main()
