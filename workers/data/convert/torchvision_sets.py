"""What torchvision has downloaded: its own classes read it (`download=False`), so labels and splits are torchvision's.

Files are taken over as they are; sets that keep arrays (CIFAR, SVHN, MNIST, STL-10, USPS) become PNG. Where a class has
several partitions (DTD) the first one is meant. SOURCE is the folder that torchvision calls `root`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from methods.params import did_you_mean
from workers.data.check_findings import some
from workers.data.convert.source import Content, Example, Listing, Problems, SourceRequest, missing_package
from workers.errors import ConversionFailed

_Splits = Mapping[str | None, Mapping[str, Any]]
_TRAIN_TEST: _Splits = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: _Splits = {"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}}
_BY_FLAG: _Splits = {"train": {"train": True}, "test": {"train": False}}


@dataclass(frozen=True)
class _Set:
    """`marks`: files or folders under `root` that only this class has; `splits`: split -> arguments of the class, {}
    for one without splits; `files`, `labels`: attributes that hold paths and labels, where a class takes no loader."""

    marks: tuple[str, ...]
    splits: _Splits
    files: str = ""
    labels: str = ""
    holds_arrays: bool = False


SETS: dict[str, _Set] = {
    "CIFAR10": _Set(("cifar-10-batches-py",), _BY_FLAG, holds_arrays=True),
    "CIFAR100": _Set(("cifar-100-python",), _BY_FLAG, holds_arrays=True),
    "MNIST": _Set(("MNIST/raw",), _BY_FLAG, holds_arrays=True),
    "FashionMNIST": _Set(("FashionMNIST/raw",), _BY_FLAG, holds_arrays=True),
    "USPS": _Set(("usps.bz2",), _BY_FLAG, holds_arrays=True),
    "SVHN": _Set(("train_32x32.mat", "test_32x32.mat"), _TRAIN_TEST, holds_arrays=True),
    "STL10": _Set(("stl10_binary",), _TRAIN_TEST, holds_arrays=True),
    "DTD": _Set(("dtd",), _THREE),
    "Flowers102": _Set(("flowers-102",), _THREE),
    "FGVCAircraft": _Set(("fgvc-aircraft-2013b",), _THREE),
    "Food101": _Set(("food-101",), _TRAIN_TEST),
    "StanfordCars": _Set(("stanford_cars",), _TRAIN_TEST),
    "RenderedSST2": _Set(("rendered-sst2",), _THREE),
    "Country211": _Set(
        ("country211",), {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}}
    ),
    "EuroSAT": _Set(("eurosat",), {None: {}}),
    "SUN397": _Set(("SUN397",), {None: {}}),
    "Imagenette": _Set(("imagenette2",), {"train": {"split": "train"}, "val": {"split": "val"}}),
    "OxfordIIITPet": _Set(
        ("oxford-iiit-pet",), {"train": {"split": "trainval"}, "test": {"split": "test"}}, "_images", "_labels"
    ),
    "GTSRB": _Set(("gtsrb",), _TRAIN_TEST, "_samples"),
}
"""Class of torchvision.datasets -> how it is read."""

LOOKS_FOR = f"a download folder of torchvision ({', '.join(SETS)})"


def fits(path: Path) -> bool:
    return path.is_dir() and bool(_found(path))


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    part = request.part or _only(request.path)
    if part not in SETS:
        raise ConversionFailed(
            f"--from torchvision:{part}: no such class is known.{did_you_mean(part, SETS)} Known: {', '.join(SETS)}"
        )
    try:
        import torchvision.datasets
    except ModuleNotFoundError:
        raise missing_package("torchvision", "reading torchvision's downloads") from None
    known, problems = SETS[part], Problems(request.path)
    examples: list[Example] = []
    classes: tuple[str, ...] = ()
    for split, arguments in known.splits.items():
        loader = {} if known.holds_arrays or known.files else {"loader": _path}
        try:
            opened = getattr(torchvision.datasets, part)(request.path, download=False, **arguments, **loader)
            examples += _examples(opened, known, split, request.path)
        except ModuleNotFoundError as error:
            raise missing_package(error.name or "?", f"torchvision's {part}") from None
        except Exception as error:  # torchvision and pickle raise anything on damaged files
            problems.add(f"torchvision's {part} cannot be read ({split or 'all'}): {type(error).__name__}: {error}")
        else:
            classes = tuple(str(name) for name in getattr(opened, "classes", None) or classes)
    absent = [one.name for one in examples if isinstance(one.content, Path) and not one.content.is_file()]
    if absent:
        problems.add(f"{len(absent):,} images are not there: {some(absent)}")
    problems.raise_if_any()
    return Listing(examples=tuple(examples), classes=classes)


def _found(path: Path) -> list[str]:
    return [name for name, known in SETS.items() if all((path / mark).exists() for mark in known.marks)]


def _only(path: Path) -> str:
    """Raises ConversionFailed where not exactly one class has its files there."""
    found = _found(path)
    if len(found) != 1:
        raise ConversionFailed(
            f"{path} holds {'the files of ' + ' and '.join(found) if found else 'no files of a class that is known'}; "
            f"say which it is: --from torchvision:{found[0] if found else 'CLASS'}"
        )
    return found[0]


def _path(path: Any) -> Path:
    """In place of torchvision's loader: the file, not its pixels."""
    return Path(path)


def _examples(opened: Any, known: _Set, split: str | None, root: Path) -> Iterator[Example]:
    if known.holds_arrays:
        for index, (content, label) in enumerate(_arrays(opened)):
            yield Example(split, f"images/{split}/{index:06d}.png", content, label)
        return
    for file, label in _files(opened, known):
        place = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
        yield Example(split, f"images/{place.as_posix()}", file, int(label))


def _files(opened: Any, known: _Set) -> Iterable[tuple[Path, int]]:
    pairs: Iterable[tuple[Any, Any]]
    if known.labels:
        pairs = zip(getattr(opened, known.files), getattr(opened, known.labels), strict=True)
    elif known.files:
        pairs = getattr(opened, known.files)
    else:
        pairs = (opened[index] for index in range(len(opened)))
    return ((Path(file), label) for file, label in pairs)


def _arrays(opened: Any) -> Iterator[tuple[Content, int]]:
    """(what gives the PNG, label) per image of a class that holds `data` and `targets` or `labels`."""
    import numpy as np

    from workers.data.convert.pixels import png

    data = np.asarray(opened.data)
    labels = opened.labels if hasattr(opened, "labels") else opened.targets
    if data.ndim == 4 and data.shape[1] == 3:  # SVHN and STL-10 keep channels first
        data = data.transpose(0, 2, 3, 1)
    for pixels, label in zip(data, labels, strict=True):
        yield partial(png, pixels), int(label)
