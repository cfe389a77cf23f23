"""VTAB-1k as NOAH's preparation script writes it, and copies of that (SSF, GPS, RepAdapter, vtab1k-pytorch).

One task is a folder with `train800.txt val200.txt train800val200.txt test.txt` (lines `images/train800/000000.jpg 17`)
and the images. There the images of train800val200 are second copies of the others; here its list names the first ones,
in its own order, so that no image is there twice. Where the lists of the parts were left out (GPS reads neither), the
first 800 lines of train800val200 are train800 and the rest val200: that is how the list is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.data.check_findings import some
from workers.data.check_lists import CLASS_NAMES
from workers.data.convert.source import Example, Listing, Problems, SourceRequest, ending_of
from workers.data.folders import VTAB_LISTS
from workers.data.locations import VTAB_SUITE
from workers.data.suite_files import shipped_suites
from workers.errors import ConversionFailed
from workers.files import sha256_of

LOOKS_FOR = "train800val200.txt and test.txt beside images/ (VTAB-1k of NOAH, SSF, GPS), or a folder of such tasks"
LOSSLESS_ORIGINALS = ("cifar100", "svhn", "dsprites_loc", "dsprites_ori", "smallnorb_azi", "smallnorb_ele",
                      "patch_camelyon", "clevr_count", "clevr_dist", "kitti")  # fmt: skip
"""Tasks whose images were PNG or arrays; the preparation script saves them as JPEG (NOAH, issue 28)."""

_PARTS = {"train800": "train", "val200": "val", "test": "test"}
_TRAIN = 800

Lines = Sequence[tuple[str, int]]


def fits(path: Path) -> bool:
    return is_task(path) or (path.is_dir() and any(is_task(folder) for folder in path.iterdir()))


def is_task(path: Path) -> bool:
    """Whether this folder is one task."""
    both, test = VTAB_LISTS["train800val200"], VTAB_LISTS["test"]
    return path.is_dir() and (path / both).is_file() and (path / test).is_file()


def tasks(path: Path) -> tuple[tuple[Path, str], ...]:
    """(folder, name in the suite) of the tasks that a folder holds, or of the one that it is, by the folders' names.

    Raises ConversionFailed for folders that carry no task's name.
    """
    folders = [path] if is_task(path) else sorted(folder for folder in path.iterdir() if is_task(folder))
    if not folders:
        raise ConversionFailed(f"{path} holds no task; looked for {LOOKS_FOR}")
    suite = next(suite for suite in shipped_suites() if suite.name == VTAB_SUITE)
    found = {folder: suite.dataset(folder.resolve().name) for folder in folders}
    unknown = [folder.name for folder, dataset in found.items() if dataset is None]
    if unknown:
        raise ConversionFailed(
            f"{path}: no task of VTAB-1k is called {some(unknown)}; rename the folder to one of "
            f"{', '.join(dataset.folder for dataset in suite.datasets)}, or convert it alone with --as NAME"
        )
    return tuple((folder, dataset.name) for folder, dataset in found.items() if dataset is not None)


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    folder, problems = request.path, Problems(request.path)
    lists = {split: _lines(folder / name, problems) for split, name in VTAB_LISTS.items() if (folder / name).exists()}
    for split in ("train800val200", "test"):
        if split not in lists:
            problems.add(f"{VTAB_LISTS[split]} is missing")
    named = dict.fromkeys(relative for lines in lists.values() for relative, _ in lines)
    outside = [relative for relative in named if Path(relative).is_absolute() or ".." in Path(relative).parts]
    absent = [relative for relative in named if not (folder / relative).is_file()]
    if outside:
        problems.add(f"{len(outside):,} listed paths leave the folder: {some(outside)}")
    if absent:
        problems.add(f"{len(absent):,} listed images are not there: {some(absent)}")
    _check_labels(lists, request, problems)
    problems.raise_if_any()
    notes: list[str] = []
    both = lists.pop("train800val200")
    if "train800" in lists and "val200" in lists:
        trainval = _by_first_copies(folder, both, (*lists["train800"], *lists["val200"]), problems)
    else:
        lists |= {"train800": both[:_TRAIN], "val200": both[_TRAIN:]}
        trainval = tuple(relative for relative, _ in both)
        notes.append("train800 and val200 are the first 800 and the other lines of train800val200: they had no lists")
    problems.raise_if_any()
    examples = tuple(
        Example(_PARTS[split], relative, folder / relative, label)
        for split in _PARTS
        for relative, label in lists[split]
    )
    notes += _lossy(request, folder, lists["train800"])
    return Listing(examples=examples, classes=_names(folder), suite=VTAB_SUITE, trainval=trainval, notes=tuple(notes))


def _names(folder: Path) -> tuple[str, ...]:
    """Lines of `classes.txt`, which some copies have; () where there is none."""
    file = folder / CLASS_NAMES
    return tuple(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()


def _lines(path: Path, problems: Problems) -> Lines:
    """Lines `path label` of a list; what is no such line becomes a problem."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.add(f"{path.name} cannot be read ({error})")
        return ()
    found = []
    for number, line in enumerate(lines, start=1):
        relative, _, label = line.strip().rpartition(" ")
        if not relative or not (label.isascii() and label.isdecimal()):
            problems.add(f"{path.name}, line {number}: {line!r} is not 'path label'")
        else:
            found.append((relative, int(label)))
    if not lines:
        problems.add(f"{path.name} is empty")
    return found


def _check_labels(lists: Mapping[str, Lines], request: SourceRequest, problems: Problems) -> None:
    """Labels of published lists are kept as they are, so they must be in range."""
    classes = request.task.classes if request.task is not None else None
    if classes is None:
        return
    for split, lines in lists.items():
        wrong = [f"{relative} {label}" for relative, label in lines if label >= classes]
        if wrong:
            problems.add(f"{VTAB_LISTS[split]}: {len(wrong):,} labels are out of range 0–{classes - 1}: {some(wrong)}")


def _by_first_copies(folder: Path, both: Lines, parts: Lines, problems: Problems) -> tuple[str, ...]:
    """train800val200 by the files of train800 and val200: the same files, or copies with the same bytes and label."""
    known, listed = set(parts), {relative for relative, _ in parts}
    copies: dict[tuple[str, int], list[str]] = defaultdict(list)
    if any(relative not in listed for relative, _ in both):
        for relative, label in reversed(parts):
            copies[sha256_of(folder / relative), label].append(relative)
    found, strange = [], []
    for relative, label in both:
        if (relative, label) in known:
            found.append(relative)
        elif same := copies.get((sha256_of(folder / relative), label)):
            found.append(same.pop())
        else:
            strange.append(relative)
    if strange or sorted(found) != sorted(listed):
        problems.add(
            f"train800val200.txt is not train800.txt and val200.txt together: {len(strange):,} of {len(both):,} lines "
            f"are in neither ({some(strange) or 'others are missing'}); final jobs would train on other images than "
            "search jobs"
        )
    return tuple(found)


def _lossy(request: SourceRequest, folder: Path, lines: Lines) -> list[str]:
    if request.task is None or request.task.own_name not in LOSSLESS_ORIGINALS:
        return []
    with (folder / lines[0][0]).open("rb") as file:
        is_jpeg = ending_of(file.read(16)) == ".jpg"
    title = request.task.title
    if not is_jpeg:
        return []
    return [f"lossy: these images are JPEG, those of the original {title} are not; nothing brings back what JPEG took"]
