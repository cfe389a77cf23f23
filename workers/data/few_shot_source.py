"""The images of few-shot subsets: some of the base set's for training, all of them for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from storage.records import Job
from workers.data.catalogue import EMBEDDED_SUITE, data_hash, dataset_folder
from workers.data.few_shot import TRAINED, FewShot
from workers.data.folders import content_hash, read_list
from workers.data.forms import EntryName
from workers.data.sources import ChosenSource, EmbeddedSource, ListedSource
from workers.data.stocks import ImageSource
from workers.errors import DataChanged
from workers.site import Site

_REMEMBERED = 8


def few_source(few: FewShot, job: Job, name: EntryName, site: Site) -> ImageSource:
    """The images of an entry of a subset. Raises DataMissing, DataChanged, DataUnreadable."""
    base = base_content(few, site)
    check_subset(few, base, job)
    split = name.split if name.split not in TRAINED else "train800"
    of_base = replace(name, data_hash=base, split=split)
    whole: ImageSource
    if few.base.startswith(f"{EMBEDDED_SUITE}/"):
        whole = EmbeddedSource(few.base, of_base)
        listed: Sequence[tuple[str, int]] = [(f"{at:06d}", int(label)) for at, label in enumerate(whole.labels)]
    else:
        folder = _folder(few, site)
        listed = read_list(folder, split)
        whole = ListedSource(folder, of_base, listed)
    if name.split not in TRAINED:
        return whole
    return ChosenSource(whole, few.chosen(listed, job.dataset.classes))


def base_content(few: FewShot, site: Site) -> str:
    """The content of the base set. A process reads a folder's once, as it does the splits that it keeps open."""
    if few.base.startswith(f"{EMBEDDED_SUITE}/"):
        return data_hash(few.base)
    return _content(_folder(few, site), site.cache)


def check_subset(few: FewShot, base: str, job: Job) -> None:
    """Raises DataChanged when the base's content does not give the subset that the job names."""
    if few.data_hash(base) != job.dataset.data_hash:
        raise DataChanged(
            f"the content of {few.base}, {base[:16]}, does not give the subset {few.name} that the job names, "
            f"{job.dataset.data_hash[:16]}: lists or images changed since the plan; plan again or restore the data"
        )


def _folder(few: FewShot, site: Site) -> Path:
    return site.data.get(few.name) or dataset_folder(few.base)


@lru_cache(maxsize=_REMEMBERED)
def _content(folder: Path, cache: Path) -> str:
    return content_hash(folder, cache)
