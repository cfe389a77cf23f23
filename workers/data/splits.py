"""Splits, opened by phase: a search job cannot read the test split, whatever its code does.

A prepare job reads training images; one that makes frozen features reads the split that its artifact is named by, which
for a final job's is also the test split: it looks at images only, and a job that searches has no such artifact.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from storage.records import FEATURES, SEGMENTATION, Job, Phase
from workers.data.cache import EntryName, ImageSet, ImageSource, Progressed, open_entry
from workers.data.catalogue import EMBEDDED_SUITE, dataset_folder
from workers.errors import SplitForbidden, Unsupported
from workers.segmentation.images import MaskedFolder, open_masked, taken
from workers.site import Site

READABLE: dict[Phase, frozenset[str]] = {
    Phase.PREPARE: frozenset({"train800", "train800val200"}),
    Phase.SEARCH: frozenset({"train800", "val200"}),
    Phase.FINAL: frozenset({"train800val200", "test"}),
    Phase.PREFLIGHT: frozenset({"train800", "train800val200"}),
}
_OPEN_AT_ONCE = 8
_open: dict[tuple[Path, str], ImageSet] = {}


def open_split(job: Job, split: str, site: Site, progressed: Progressed) -> ImageSet:
    """The images of a split at the job's input size; the first opening on a node decodes or draws them.

    A process keeps the last few splits open, so that a warm slot neither searches nor checks them again.
    Raises SplitForbidden, and what `cache.open_entry` raises.
    """
    name = _entry_name(job, split)
    place = (site.cache, name.key)
    if place not in _open:
        if job.dataset.task == SEGMENTATION:
            found: ImageSet = open_masked(_folder(job, site), name, site.cache, progressed)
        else:
            found = open_entry(site.cache, name, lambda: _source(job.dataset.name, name, site), progressed)
        while len(_open) >= _OPEN_AT_ONCE:
            _open.pop(next(iter(_open)))
        _open[place] = found
    return _open[place]


def open_few(job: Job, split: str, site: Site, count: int) -> ImageSet:
    """The first images of a split, at most `count`, without decoding the rest of a folder. Raises as `open_split`."""
    name = _entry_name(job, split)
    is_drawn = job.dataset.name.startswith(f"{EMBEDDED_SUITE}/")  # drawn as a whole or not at all
    if is_drawn or (site.cache / "images" / name.key).exists():
        whole = open_split(job, split, site, lambda done, total: None)
        return taken(whole, slice(count))
    if job.dataset.task == SEGMENTATION:
        return MaskedFolder(_folder(job, site), name, site.cache).few(count)
    source = _source(job.dataset.name, name, site)
    return ImageSet(np.stack(list(islice(source.images(), count))), source.labels[:count])


def _entry_name(job: Job, split: str) -> EntryName:
    """What the split is called in the cache, if the job may read it. Raises SplitForbidden, Unsupported."""
    allowed = READABLE.get(job.phase, frozenset())
    if job.makes is not None and job.makes.kind == FEATURES:
        allowed = frozenset({str(dict(job.makes.inputs).get("split"))})
    if split not in allowed:
        raise SplitForbidden(
            f"a {job.phase} job asked for split {split!r} of {job.dataset.name}; it may read "
            f"{', '.join(sorted(allowed)) or 'none'}. Correct train_split or score_split, or the phase"
        )
    if job.recipe.resize != "squash":
        raise Unsupported(
            f"recipe.resize is {job.recipe.resize!r}; this trainer knows 'squash' (straight to image_size): "
            "set resize: squash"
        )
    if job.recipe.image_size is None:
        raise Unsupported("recipe.image_size is not resolved; a job carries a number of pixels: plan it again")
    return EntryName(job.dataset.data_hash, split, job.recipe.image_size, job.backbone.interpolation)


def _folder(job: Job, site: Site) -> Path:
    return site.data.get(job.dataset.name) or dataset_folder(job.dataset.name)


def _source(dataset: str, name: EntryName, site: Site) -> ImageSource:
    from workers.data.sources import EmbeddedSource, FolderSource

    if dataset.startswith(f"{EMBEDDED_SUITE}/"):
        return EmbeddedSource(dataset, name)
    folder = site.data.get(dataset) or dataset_folder(dataset)
    return FolderSource(folder, name, site.cache)
