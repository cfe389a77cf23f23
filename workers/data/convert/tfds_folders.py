"""A prepared folder of TensorFlow Datasets: `features.json`, `dataset_info.json` and TFRecord shards.

Read without TensorFlow. Encoded images are written as they are; plain uint8 tensors, and images whose pixels VTAB's
rule scales (dSprites: 0 and 1), become PNG. Under the name of a VTAB-1k task VTAB's splits and labels are taken, under
any other name the splits that are there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from workers.data.check_findings import some
from workers.data.convert.pixels import png
from workers.data.convert.source import Example, Listing, Problems, SourceRequest, ending_of
from workers.data.convert.tfds_features import classes_of, described, is_image, shape_of
from workers.data.convert.tfrecord import Record, features, payload, records
from workers.data.convert.vtab_rule import RULES, VtabRule
from workers.data.locations import VTAB_SUITE
from workers.errors import ConversionFailed

LOOKS_FOR = "features.json, dataset_info.json and *.tfrecord-* (one prepared version of TensorFlow Datasets)"
_SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
_TRAIN, _VAL = 800, 200


def fits(path: Path) -> bool:
    return (path / "dataset_info.json").is_file() and (path / "features.json").is_file()


@dataclass(frozen=True)
class _Slice:
    """Examples `start` to `stop` of a split of the source, and the split that they become."""

    source: str
    start: int
    stop: int
    split: str


@dataclass(frozen=True)
class _Reader:
    """How an example is read: the image's feature and shape (None: encoded), the label's feature and class count."""

    image: str
    shape: tuple[int, ...] | None
    label: str | None
    classes: int | None
    rule: VtabRule | None

    def label_of(self, found: dict[str, list[Any]]) -> int:
        """Raises KeyError, IndexError, ValueError where features are missing."""
        if self.rule is not None and self.rule.label is not None:
            return self.rule.label(found)
        return int(found[self.label or "label"][0])

    def encoded(self, found: dict[str, list[Any]]) -> tuple[str, bytes]:
        """(file ending, bytes of the file). Raises KeyError, IndexError, ValueError, OSError."""
        values = found[self.image]
        if self.shape is not None:
            flat = np.frombuffer(values[0], np.uint8) if isinstance(values[0], bytes) else np.array(values, np.uint8)
            return ".png", png(flat.reshape(self.shape))
        image: bytes = values[0]
        if not ending_of(image):
            raise ValueError("the image is in no format that is known")
        if self.rule is None or self.rule.scale == 1:
            return ending_of(image), image
        from PIL import Image

        return ".png", png(np.asarray(Image.open(io.BytesIO(image))) * np.uint8(self.rule.scale))


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    folder, problems = request.path, Problems(request.path)
    info, document = (_json(folder / name, problems) for name in ("dataset_info.json", "features.json"))
    problems.raise_if_any()
    rule = RULES.get(request.task.own_name) if request.task and request.task.suite == VTAB_SUITE else None
    counts = _counts(info, folder, problems)
    if rule is not None:
        _check_name(info, rule, problems)
    reader = _reader(document, request, rule, problems)
    problems.raise_if_any()
    if reader is None:
        raise ConversionFailed(f"{folder} has no images")
    slices = _vtab_slices(rule, counts, problems) if rule is not None else _own_slices(counts)
    examples = [example for part in slices for example in _examples(counts, part, reader, problems)]
    problems.raise_if_any()
    return Listing(
        examples=tuple(examples),
        classes=_names(folder, reader),
        suite=VTAB_SUITE if rule is not None else None,
        notes=(f"splits and labels by the rule of VTAB-1k from {info.get('name')} {info.get('version', '')}".rstrip(),)
        if rule is not None
        else (),
    )


def _json(path: Path, problems: Problems) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.add(f"{path.name} cannot be read ({error})")
        return {}
    return found if isinstance(found, dict) else {}


def _counts(info: dict[str, Any], folder: Path, problems: Problems) -> dict[str, dict[Path, int]]:
    """Split -> shard -> number of its records, as dataset_info.json says; shards that are not there are problems."""
    found: dict[str, dict[Path, int]] = {}
    for split in info.get("splits", []):
        lengths = [int(length) for length in split.get("shardLengths", [])]
        name = str(split.get("name", "?"))
        shards = [
            folder / f"{info.get('name')}-{name}.tfrecord-{index:05d}-of-{len(lengths):05d}"
            for index in range(len(lengths))
        ]
        absent = [shard.name for shard in shards if not shard.is_file()]
        if absent:
            problems.add(f"{len(absent)} of the {len(lengths)} shards of {name} are not there: {some(absent)}")
        found[name] = dict(zip(shards, lengths, strict=True))
    if not found:
        problems.add("dataset_info.json names no splits with shardLengths")
    return found


def _check_name(info: dict[str, Any], rule: VtabRule, problems: Problems) -> None:
    config = str(info.get("configName", ""))
    if info.get("name") != rule.source or (rule.config and config and config != rule.config):
        wanted = f"{rule.source}{'/' * bool(rule.config)}{rule.config}"
        problems.add(f"this is {info.get('name')}{'/' * bool(config)}{config}, the task is made from {wanted}")


def _reader(
    document: dict[str, Any], request: SourceRequest, rule: VtabRule | None, problems: Problems
) -> _Reader | None:
    known = described(document)
    images = {name: feature for name, feature in known.items() if is_image(feature)}
    image = "image" if "image" in images else next(iter(images), None)
    if image is None:
        problems.add(f"features.json describes no image; it has {', '.join(known) or 'nothing'}")
        return None
    labels = [name for name, feature in known.items() if "classLabel" in feature]
    label = request.label or ("label" if "label" in labels else labels[0] if len(labels) == 1 else None)
    by_rule = rule is not None and rule.label is not None
    if not by_rule and (label is None or label not in known):
        problems.add(f"which feature is the label? Name it with --label; there are: {', '.join(labels) or 'none'}")
        return None
    classes = None if by_rule or label is None else classes_of(known[label])
    shape = None if "image" in images[image] else shape_of(images[image])
    return _Reader(image, shape, None if by_rule else label, classes, rule)


def _own_slices(counts: dict[str, dict[Path, int]]) -> list[_Slice]:
    return [_Slice(name, 0, sum(shards.values()), _SPLITS[name]) for name, shards in counts.items() if name in _SPLITS]


def _vtab_slices(rule: VtabRule, counts: dict[str, dict[Path, int]], problems: Problems) -> list[_Slice]:
    missing = [name for name in dict.fromkeys(("train", rule.val[0], rule.test[0])) if name not in counts]
    if missing:
        problems.add(f"there is no split {' and no split '.join(missing)}; the task needs them")
        return []
    totals = {name: sum(shards.values()) for name, shards in counts.items()}
    val_start, test_start = (totals[name] * percent // 100 for name, percent in (rule.val, rule.test))
    return [
        _Slice("train", 0, _TRAIN, "train"),
        _Slice(rule.val[0], val_start, val_start + _VAL, "val"),
        _Slice(rule.test[0], test_start, totals[rule.test[0]], "test"),
    ]


def _examples(
    counts: dict[str, dict[Path, int]], part: _Slice, reader: _Reader, problems: Problems
) -> Iterator[Example]:
    """The examples of one slice, each read and checked once now; its bytes are read again when they are written."""
    name = {"train": "train800", "val": "val200"}.get(part.split, part.split) if reader.rule else part.split
    for index, record in enumerate(islice(_records(counts[part.source], problems), part.start, part.stop)):
        where = f"{record.file.name}, byte {record.offset:,}"
        try:
            found = features(payload(record))
            label, (ending, _) = reader.label_of(found), reader.encoded(found)
        except ConversionFailed as error:
            problems.add(str(error))
        except (KeyError, IndexError, ValueError, OSError) as error:
            problems.add(f"{where}: {'a feature is missing: ' if isinstance(error, LookupError) else ''}{error}")
        else:
            if label < 0 or (reader.classes is not None and label >= reader.classes):
                problems.add(f"{where}: label {label} is out of range (−1 marks images without one)")
            yield Example(part.split, f"images/{name}/{index:06d}{ending}", partial(_bytes_of, record, reader), label)


def _records(shards: dict[Path, int], problems: Problems) -> Iterator[Record]:
    for shard, expected in shards.items():
        count = 0
        try:
            for record in records(shard):
                count += 1
                yield record
        except (ConversionFailed, OSError) as error:
            problems.add(str(error))
        else:
            if count != expected:
                problems.add(f"{shard.name} holds {count:,} records, dataset_info.json says {expected:,}")


def _bytes_of(record: Record, reader: _Reader) -> bytes:
    return reader.encoded(features(payload(record)))[1]


def _names(folder: Path, reader: _Reader) -> tuple[str, ...]:
    """Class names of the label's file, () where there is none or the rule made the labels."""
    file = folder / f"{reader.label}.labels.txt"
    if reader.label is None or not file.is_file():
        return ()
    names: Sequence[str] = file.read_text(encoding="utf-8").splitlines()
    return tuple(names) if reader.classes in (None, len(names)) else ()
