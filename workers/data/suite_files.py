"""Suites as data: YAML files that say which data sets are averaged together, and what is known of each.

Shipped ones lie in `suites/`; a user's own stand in `datasets.yaml` in the folder that SWEEPBOARD_DATA names, several
of them as documents parted by `---`:

    name: my
    datasets:
      birds: {folder: birds_v2, group: animals}
      moths: {}

Keys of a suite: name, title, metric, source, licence, datasets. Keys of a data set: title, folder, aliases, group,
classes, train, val, trainval, test (numbers of images; a list where several are in circulation), source, licence,
layout (`lists`, or `class_folders`: a test set of folders named by class), class_names (a list of `class_names/`),
corruptions (name: the error in percent that the mean corruption error divides by). All but the suite's name and data
sets may be left out. Scalars are read as they are written: `no` is a name like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import yaml

from methods.params import did_you_mean
from storage.records import CLASSIFICATION, SEGMENTATION
from workers.data.class_names import class_names, shipped_class_names
from workers.errors import DataUnreadable

SHIPPED = Path(__file__).resolve().parent / "suites"
_SHIPPED_NAMES = ("vtab1k", "fgvc", "general", "robustness", "segmentation")
USERS_FILE = "datasets.yaml"
METRICS = {"top1": CLASSIFICATION, "dice": SEGMENTATION}
"""What a suite is scored by -> the kind of task that its data sets are."""

_SUITE_KEYS = ("name", "title", "metric", "source", "licence", "datasets")
_SIZE_KEYS = {"train800": "train", "val200": "val", "train800val200": "trainval", "test": "test"}
LISTS, CLASS_FOLDERS = "lists", "class_folders"
SEVERITIES = (1, 2, 3, 4, 5)
_TEXT_KEYS = ("title", "folder", "group", "source", "licence", "layout", "class_names")
_DATASET_KEYS = (*_TEXT_KEYS, "aliases", "classes", "corruptions", *_SIZE_KEYS.values())


@dataclass(frozen=True, kw_only=True)
class SuiteDataset:
    """What a suite's file says of a data set, before anybody has looked at images.

    `name` is `suite/dataset`. `sizes`: split -> the numbers of images that are in circulation, () where the file leaves
    it open; `train800val200` is the sum of its parts where those are given. `folder` is its own name, or a path, under
    the folder of data sets. `class_names`: the shipped list of them, "" where there is none. `corruptions`: name -> the
    reference error in percent.
    """

    name: str
    title: str
    group: str
    folder: str
    aliases: tuple[str, ...]
    classes: int | None
    sizes: Mapping[str, tuple[int, ...]]
    source: str
    licence: str
    layout: str = LISTS
    class_names: str = ""
    corruptions: Mapping[str, float] = field(default_factory=dict)
    task: str = CLASSIFICATION

    @property
    def parts(self) -> tuple[str, ...]:
        """Of a test set in class folders: the folders that hold the classes, relative to its own; "" for itself."""
        return tuple(f"{name}/{severity}" for name in self.corruptions for severity in SEVERITIES) or ("",)

    @property
    def suite(self) -> str:
        return self.name.partition("/")[0]

    @property
    def own_name(self) -> str:
        return self.name.partition("/")[2]


@dataclass(frozen=True)
class SuiteFile:
    """A suite and its data sets in the order of the file."""

    name: str
    title: str
    datasets: tuple[SuiteDataset, ...]

    def dataset(self, own_name: str) -> SuiteDataset | None:
        """The data set of that name, folder or alias; a name goes before any alias."""
        for dataset in self.datasets:
            if dataset.own_name == own_name:
                return dataset
        return next((one for one in self.datasets if own_name in (one.folder, *one.aliases)), None)


@cache
def shipped_suites() -> tuple[SuiteFile, ...]:
    """The benchmarks that come with the package: VTAB-1k, FGVC, general, robustness, segmentation."""
    return tuple(suite for name in _SHIPPED_NAMES for suite in read_suites(SHIPPED / f"{name}.yaml"))


def users_suites(root: Path | None) -> tuple[SuiteFile, ...]:
    """The suites of `datasets.yaml` under `root`; none where there is no such file. Raises DataUnreadable."""
    path = None if root is None else root / USERS_FILE
    if path is None or not path.is_file():
        return ()
    state = path.stat()
    return _unchanged(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _unchanged(path: Path, _mtime_ns: int, _size_bytes: int) -> tuple[SuiteFile, ...]:
    return read_suites(path)


def read_suites(path: Path) -> tuple[SuiteFile, ...]:
    """The suites of one file. Raises DataUnreadable with every problem at once, each with its line."""
    reader = _Reader()
    try:
        text = path.read_text(encoding="utf-8")
        documents = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise DataUnreadable(f"{path} cannot be read: {' '.join(str(error).split())}; correct the file") from None
    suites = tuple(suite for node in documents if (suite := _suite(node, reader)) is not None)
    if reader.problems:
        raise DataUnreadable("\n".join(f"{path}, {problem}" for problem in reader.problems))
    return suites


def _suite(node: yaml.Node, reader: _Reader) -> SuiteFile | None:
    found = reader.mapping(node, "", _SUITE_KEYS)
    for key in ("name", "datasets"):
        if key not in found:
            reader.problem(node, key, "is missing; a suite has a name and data sets")
    if "name" not in found or "datasets" not in found:
        return None
    name = reader.text(found["name"], "name")
    if "/" in name or not name:
        reader.problem(found["name"], "name", f"is {name!r}; expected a name without a slash")
    keys: tuple[str, ...] = ("title", "metric", "source", "licence")
    texts = {key: reader.text(found[key], key) for key in keys if key in found}
    if texts.get("metric", "top1") not in METRICS:
        told = f"is {texts['metric']!r}; suites are scored by {' or '.join(METRICS)}"
        reader.problem(found["metric"], "metric", told)
    rows = reader.mapping(found["datasets"], "datasets", None)
    datasets = tuple(_dataset(f"{name}/{own}", row, texts, reader) for own, row in rows.items())
    return SuiteFile(name, texts.get("title", name), datasets)


def _dataset(name: str, node: yaml.Node, suite: Mapping[str, str], reader: _Reader) -> SuiteDataset:
    suite_name, _, own = name.partition("/")
    place = f"datasets.{own}"
    found = reader.mapping(node, place, _DATASET_KEYS)
    if "/" in own or not own:
        reader.problem(node, place, "expected a name without a slash")
    texts = {key: reader.text(found[key], f"{place}.{key}") for key in _TEXT_KEYS if key in found}
    for key, known in (("layout", (LISTS, CLASS_FOLDERS)), ("class_names", shipped_class_names())):
        if texts.get(key, known[0]) not in known:
            reader.problem(found[key], f"{place}.{key}", f"is {texts[key]!r}; expected one of {', '.join(known)}")
    sizes = {
        split: reader.numbers(found[key], f"{place}.{key}") if key in found else () for split, key in _SIZE_KEYS.items()
    }
    if not sizes["train800val200"] and sizes["train800"] and sizes["val200"]:
        sizes["train800val200"] = (sizes["train800"][0] + sizes["val200"][0],)
    classes = reader.numbers(found["classes"], f"{place}.classes") if "classes" in found else ()
    if not classes and texts.get("class_names") in shipped_class_names():
        classes = (len(class_names(texts["class_names"])),)
    aliases = reader.texts(found["aliases"], f"{place}.aliases") if "aliases" in found else ()
    return SuiteDataset(
        name=name,
        title=texts.get("title", own),
        group=texts.get("group", suite_name),
        folder=texts.get("folder", own),
        aliases=aliases,
        classes=classes[0] if classes else None,
        sizes=sizes,
        source="; ".join(text for text in (texts.get("source"), suite.get("source")) if text),
        licence=texts.get("licence", suite.get("licence", "")),
        layout=texts.get("layout", LISTS),
        class_names=texts.get("class_names", ""),
        corruptions=reader.errors(found["corruptions"], f"{place}.corruptions") if "corruptions" in found else {},
        task=METRICS.get(suite.get("metric", "top1"), CLASSIFICATION),
    )


class _Reader:
    """Reads YAML nodes as the plain things that a suite is made of, and keeps every problem with its line."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, node: yaml.Node, place: str, text: str) -> None:
        self.problems.append(f"line {node.start_mark.line + 1}: {place or 'the document'}: {text}")

    def mapping(self, node: yaml.Node, place: str, known: Iterable[str] | None) -> dict[str, yaml.Node]:
        """Key -> node; `known` are the keys that may stand there, None where any may. An empty value has no keys."""
        if isinstance(node, yaml.ScalarNode) and node.value == "":
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, place, "expected keys with values (key: value)")
            return {}
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = str(key_node.value)
            if known is not None and key not in known:
                hint = did_you_mean(key, known) or f" Known: {', '.join(known)}"
                self.problem(key_node, f"{place}.{key}".lstrip("."), f"is no key here.{hint}")
            elif key in found:
                self.problem(key_node, f"{place}.{key}".lstrip("."), "is written twice; keep one")
            else:
                found[key] = value
        return found

    def text(self, node: yaml.Node, place: str) -> str:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self.problem(node, place, "expected one text")
        return ""

    def texts(self, node: yaml.Node, place: str) -> tuple[str, ...]:
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.text(item, place) for item in node.value)
        return (self.text(node, place),)

    def numbers(self, node: yaml.Node, place: str) -> tuple[int, ...]:
        """Positive whole numbers: one, or a list."""
        found = self.texts(node, place)
        if not found or not all(text.isdecimal() and int(text) > 0 for text in found):
            self.problem(node, place, f"is {', '.join(found) or 'empty'}; expected a positive whole number")
            return ()
        return tuple(int(text) for text in found)

    def errors(self, node: yaml.Node, place: str) -> dict[str, float]:
        """Name -> percent above 0, up to 100."""
        found: dict[str, float] = {}
        for name, value in self.mapping(node, place, None).items():
            try:
                found[name] = float(self.text(value, f"{place}.{name}"))
            except ValueError:
                found[name] = 0.0
            if not 0 < found[name] <= 100:
                self.problem(value, f"{place}.{name}", "expected an error in percent, above 0 and at most 100")
        return found
