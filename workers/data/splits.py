"""Splits, opened by phase: a search job cannot read the test split, whatever its code does.

A prepare job reads training images; one that makes frozen features reads the split that its artifact is named by, which
for a final job's is also the test split: it looks at images only, and a job that searches has no such artifact.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from storage.records import FEATURES, SEGMENTATION, Job, Phase
from workers.data.cache import entry_folder, open_entry
from workers.data.catalogue import EMBEDDED_SUITE, class_folders, dataset_folder
from workers.data.class_folders import ClassFolders
from workers.data.few_shot import TRAINED, few_shot
from workers.data.few_shot_source import base_content, check_subset, few_source
from workers.data.forms import CENTRE, SQUASH, EntryName, crop_names
from workers.data.sources import EmbeddedSource, FolderSource, ListedSource, check_content
from workers.data.stocks import (
    ImageSet,
    ImageSource,
    JobSplit,
    Labels,
    PackedSet,
    Progressed,
    Split,
    Stock,
    StreamedSet,
    chosen_of,
    in_memory,
)
from workers.errors import SplitForbidden, Unsupported
from workers.segmentation.images import MaskedFolder, MaskedImages, open_masked
from workers.site import Site

_log = logging.getLogger(__name__)
READABLE: dict[Phase, frozenset[str]] = {
    Phase.PREPARE: frozenset({"train800", "train800val200"}),
    Phase.SEARCH: frozenset({"train800", "val200"}),
    Phase.FINAL: frozenset({"train800val200", "test"}),
    Phase.PREFLIGHT: frozenset({"train800", "train800val200"}),
    Phase.EVALUATE: frozenset({"test"}),
}
_OPEN_AT_ONCE = 8
_DECODERS = 2  # threads that decode what is streamed, at least
_STREAMED = ("general/imagenet",)  # data sets that no node keeps decoded
_open: dict[tuple[Path, str], Stock] = {}


def open_split(job: Job, split: str, site: Site, progressed: Progressed) -> Split:
    """The images of a split at the job's input size; the first opening on a node decodes or draws them.

    With `resize: crop` a form of the images is opened when it is first read. A process keeps the last few open, so that
    a warm slot neither searches nor checks them again. What does not fit into the cache is decoded for each batch.
    Raises SplitForbidden, and what `cache.open_entry` raises.
    """
    names = _entry_names(job, split, site)
    if job.dataset.task == SEGMENTATION:
        return _masked(job, names, site, progressed)
    if SQUASH in names:
        stock = _stock(job, names[SQUASH], site, progressed)
        if isinstance(stock, ImageSet):
            return stock
    forms = {form: partial(_stock, job, name, site, progressed) for form, name in names.items()}
    return JobSplit(lambda: _labels(job, names.values(), site), forms, SQUASH if SQUASH in names else CENTRE)


def open_few(job: Job, split: str, site: Site, count: int) -> Split:
    """The first images of a split, at most `count`, without decoding the rest of a folder. Raises as `open_split`."""
    names = _entry_names(job, split, site)
    is_drawn = job.dataset.name.startswith(f"{EMBEDDED_SUITE}/")  # drawn as a whole or not at all
    if is_drawn or all(entry_folder(site.cache, name).exists() for name in names.values()):
        whole = open_split(job, split, site, lambda done, total: None)
        return chosen_of(whole, np.arange(min(count, len(whole.labels))))
    if job.dataset.task == SEGMENTATION:
        return MaskedFolder(_folder(job, site), names[SQUASH], site.cache).few(count)
    forms = {form: _few(job, name, site, count) for form, name in names.items()}
    if SQUASH in forms and isinstance(few := forms[SQUASH](), ImageSet):
        return few
    return JobSplit(lambda: forms[CENTRE]().labels, forms, CENTRE)


def _few(job: Job, name: EntryName, site: Site, count: int) -> Callable[[], ImageSet | PackedSet]:
    """The first images in one form, decoded once, when they are first read."""
    return cache(lambda: in_memory(_source(job, name, site), count, name.is_square))


def _stock(job: Job, name: EntryName, site: Site, progressed: Progressed) -> Stock:
    place = (site.cache, name.key)
    if place not in _open:
        source = cache(partial(_source, job, name, site))
        opened = partial(open_entry, site.cache, name, source, progressed, _bound_bytes(site))
        found: Stock | None = None
        if not job.dataset.name.startswith(_STREAMED):
            found = opened() or _opened_alone(opened, job.dataset.name, split=name.split)
        _make_room()
        _open[place] = found or StreamedSet(source(), max(_DECODERS, site.threads))
    return _open[place]


def _masked(job: Job, names: Mapping[str, EntryName], site: Site, progressed: Progressed) -> MaskedImages:
    """Images with their masks, which are squashed and cached, never streamed."""
    name = names[SQUASH]
    place = (site.cache, f"{name.key}-masks")
    found = _open.get(place)
    if not isinstance(found, MaskedImages):
        source = MaskedFolder(_folder(job, site), name, site.cache)
        found = open_masked(source, site.cache, _bound_bytes(site), progressed)
        _make_room()
        _open[place] = found
    return found


def _make_room() -> None:
    while len(_open) >= _OPEN_AT_ONCE:
        _open.pop(next(iter(_open)))


def _bound_bytes(site: Site) -> int | None:
    return None if site.cache_gib is None else int(site.cache_gib * 2**30)


def _opened_alone(opened: Callable[[], Stock | None], dataset: str, split: str) -> Stock | None:
    """A second try after closing what this process has open for later jobs, which nobody can evict; None: streamed."""
    _open.clear()
    found = opened()
    if found is None:
        _log.warning(
            "%s of %s does not fit into the image cache beside what is open; its images are decoded for each batch",
            split,
            dataset,
        )
    return found


def _labels(job: Job, names: Iterable[EntryName], site: Site) -> Labels:
    """Of a form that is open, else from the list: no form is opened for its labels."""
    all_names = list(names)
    for name in all_names:
        if (site.cache, name.key) in _open:
            return _open[site.cache, name.key].labels
    return _source(job, all_names[0], site).labels


def _entry_names(job: Job, split: str, site: Site) -> dict[str, EntryName]:
    """What the split is called in the cache, by form, if the job may read it. Raises SplitForbidden, Unsupported."""
    allowed = READABLE.get(job.phase, frozenset())
    if job.makes is not None and job.makes.kind == FEATURES:
        allowed = frozenset({str(dict(job.makes.inputs).get("split"))})
    if split not in allowed:
        raise SplitForbidden(
            f"a {job.phase} job asked for split {split!r} of {job.dataset.name}; it may read "
            f"{', '.join(sorted(allowed)) or 'none'}. Correct train_split or score_split, or the phase"
        )
    if job.recipe.image_size is None:
        raise Unsupported("recipe.image_size is not resolved; a job carries a number of pixels: plan it again")
    if job.dataset.task == SEGMENTATION and job.recipe.resize != "squash":
        raise Unsupported(f"recipe.resize is {job.recipe.resize!r}; images with masks are squashed: set resize: squash")
    few, content = few_shot(job.dataset.name), job.dataset.data_hash
    if few is not None and split not in TRAINED:  # the base's own images: its cache serves all subsets
        content = base_content(few, site)
        check_subset(few, content, job)
    named = (content, split, job.recipe.image_size)
    if job.recipe.resize == "squash":
        return {SQUASH: EntryName(*named, job.backbone.interpolation)}
    return crop_names(*named, job.backbone)


def _source(job: Job, name: EntryName, site: Site) -> ImageSource:
    """Where the images of an entry of the job's data set come from. Raises DataMissing, DataChanged, DataUnreadable."""
    few = few_shot(job.dataset.name)
    if few is not None:
        return few_source(few, job, name, site)
    if job.dataset.name.startswith(f"{EMBEDDED_SUITE}/"):
        return EmbeddedSource(job.dataset.name, name)
    in_folders = folders_of(job, site)
    if in_folders is not None:
        check_content(in_folders.folder, in_folders.content_hash(site.cache), name.data_hash)
        return ListedSource(in_folders.folder, name, in_folders.listed())
    return FolderSource(_folder(job, site), name, site.cache)


def _folder(job: Job, site: Site) -> Path:
    return site.data.get(job.dataset.name) or dataset_folder(job.dataset.name)


def folders_of(job: Job, site: Site) -> ClassFolders | None:
    """The job's data set, where it lies in folders named by class. Raises DataMissing."""
    return class_folders(job.dataset.name, folder=site.data.get(job.dataset.name))


def stream_parts(job: Job, in_folders: ClassFolders, site: Site) -> Iterator[tuple[str, Split]]:
    """Every part of a test set in class folders (ImageNet-C: corruption and severity), decoded as it is read: a set of
    millions fits into no cache. Raises SplitForbidden, DataChanged, DataUnreadable."""
    names = _entry_names(job, job.score_split, site)
    form = SQUASH if SQUASH in names else CENTRE
    check_content(in_folders.folder, in_folders.content_hash(site.cache), job.dataset.data_hash)
    for part in in_folders.parts:
        source = ListedSource(in_folders.folder, replace(names[form], split=part), in_folders.listed(part))
        streamed = StreamedSet(source, max(_DECODERS, site.threads))
        yield part, JobSplit(partial(_labels_of, streamed), {form: partial(_itself, streamed)}, form)


def _labels_of(stock: Stock) -> Labels:
    return stock.labels


def _itself(stock: Stock) -> Stock:
    return stock
