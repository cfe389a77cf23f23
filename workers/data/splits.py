"""Splits, opened by phase: a search job cannot read the test split, whatever its code does.

A prepare job reads training images; one that makes frozen features reads the split that its artifact is named by, which
for a final job's is also the test split: it looks at images only, and a job that searches has no such artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from storage.records import FEATURES, Job, Phase
from workers.data.cache import EntryName, ImageSet, ImageSource, Progressed, open_entry
from workers.data.catalogue import EMBEDDED_SUITE, class_folders, data_hash, dataset_folder
from workers.data.class_folders import ClassFolders
from workers.data.few_shot import TRAINED, FewShot, few_shot
from workers.data.folders import content_hash, read_list
from workers.data.sources import ChosenSource, EmbeddedSource, FolderSource, ListedSource, check_content
from workers.errors import DataChanged, SplitForbidden, Unsupported
from workers.site import Site

READABLE: dict[Phase, frozenset[str]] = {
    Phase.PREPARE: frozenset({"train800", "train800val200"}),
    Phase.SEARCH: frozenset({"train800", "val200"}),
    Phase.FINAL: frozenset({"train800val200", "test"}),
    Phase.PREFLIGHT: frozenset({"train800", "train800val200"}),
    Phase.EVALUATE: frozenset({"test"}),
}
_OPEN_AT_ONCE = 8
_open: dict[tuple[Path, str], ImageSet] = {}


def open_split(job: Job, split: str, site: Site, progressed: Progressed) -> ImageSet:
    """The images of a split at the job's input size; the first opening on a node decodes or draws them.

    A process keeps the last few splits open, so that a warm slot neither searches nor checks them again.
    Raises SplitForbidden, and what `cache.open_entry` raises.
    """
    name = entry_name(job, split, site)
    place = (site.cache, name.key)
    if place not in _open:
        found = open_entry(site.cache, name, lambda: source_of(job, name, site), progressed)
        while len(_open) >= _OPEN_AT_ONCE:
            _open.pop(next(iter(_open)))
        _open[place] = found
    return _open[place]


def open_few(job: Job, split: str, site: Site, count: int) -> ImageSet:
    """The first images of a split, at most `count`, without decoding the rest of a folder. Raises as `open_split`."""
    name = entry_name(job, split, site)
    is_drawn = job.dataset.name.startswith(f"{EMBEDDED_SUITE}/")  # drawn as a whole or not at all
    if is_drawn or (site.cache / "images" / name.key).exists():
        whole = open_split(job, split, site, lambda done, total: None)
        return ImageSet(whole.images[:count], whole.labels[:count])
    source = source_of(job, name, site)
    return ImageSet(np.stack(list(islice(source.images(), count))), source.labels[:count])


def entry_name(job: Job, split: str, site: Site) -> EntryName:
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
    few, content = few_shot(job.dataset.name), job.dataset.data_hash
    if few is not None and split not in TRAINED:  # the base's own images: its cache serves all subsets
        content = _base_content(few, site)
        _check_subset(few, content, job)
    return EntryName(content, split, job.recipe.image_size, job.backbone.interpolation)


def source_of(job: Job, name: EntryName, site: Site) -> ImageSource:
    """Where the images of an entry of the job's data set come from. Raises DataMissing, DataChanged, DataUnreadable."""
    few = few_shot(job.dataset.name)
    if few is not None:
        return _few_source(few, job, name, site)
    if job.dataset.name.startswith(f"{EMBEDDED_SUITE}/"):
        return EmbeddedSource(job.dataset.name, name)
    in_folders = folders_of(job, site)
    if in_folders is not None:
        check_content(in_folders.folder, in_folders.content_hash(site.cache), name.data_hash)
        return ListedSource(in_folders.folder, name, in_folders.listed())
    return FolderSource(site.data.get(job.dataset.name) or dataset_folder(job.dataset.name), name, site.cache)


def folders_of(job: Job, site: Site) -> ClassFolders | None:
    """The job's data set, where it lies in folders named by class. Raises DataMissing."""
    return class_folders(job.dataset.name, folder=site.data.get(job.dataset.name))


def _few_source(few: FewShot, job: Job, name: EntryName, site: Site) -> ImageSource:
    base = _base_content(few, site)
    _check_subset(few, base, job)
    split = name.split if name.split not in TRAINED else "train800"
    of_base = replace(name, data_hash=base, split=split)
    whole: ImageSource
    if few.base.startswith(f"{EMBEDDED_SUITE}/"):
        whole = EmbeddedSource(few.base, of_base)
        listed: Sequence[tuple[str, int]] = [(f"{at:06d}", int(label)) for at, label in enumerate(whole.labels)]
    else:
        folder = _few_folder(few, site)
        listed = read_list(folder, split)
        whole = ListedSource(folder, of_base, listed)
    if name.split not in TRAINED:
        return whole
    return ChosenSource(whole, few.chosen(listed, job.dataset.classes))


def _few_folder(few: FewShot, site: Site) -> Path:
    return site.data.get(few.name) or dataset_folder(few.base)


def _base_content(few: FewShot, site: Site) -> str:
    """The content of the base set. A process reads a folder's once, as it does the splits that it keeps open."""
    if few.base.startswith(f"{EMBEDDED_SUITE}/"):
        return data_hash(few.base)
    return _content(_few_folder(few, site), site.cache)


@lru_cache(maxsize=_OPEN_AT_ONCE)
def _content(folder: Path, cache: Path) -> str:
    return content_hash(folder, cache)


def _check_subset(few: FewShot, base: str, job: Job) -> None:
    if few.data_hash(base) != job.dataset.data_hash:
        raise DataChanged(
            f"the content of {few.base}, {base[:16]}, does not give the subset {few.name} that the job names, "
            f"{job.dataset.data_hash[:16]}: lists or images changed since the plan; plan again or restore the data"
        )
