"""Hugging Face data sets on disk: parquet files as the hub keeps them, or what `save_to_disk` wrote (Arrow streams).

Read with pyarrow; the package `datasets` is not needed. The image column is a struct of `bytes` and `path`, or bytes;
encoded bytes are written as they are. Class names come from the schema's Hugging Face metadata where it has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from workers.data.check_findings import some
from workers.data.convert.source import (
    Content,
    Example,
    Listing,
    Problems,
    SourceRequest,
    contiguous,
    ending_of,
    missing_package,
)
from workers.errors import ConversionFailed

LOOKS_FOR = "*.parquet (train-00000-of-00001.parquet …), or a folder that Hugging Face's save_to_disk wrote"
_SPLIT = re.compile(r"(?:^|[-_./])(train|test|validation|valid|val|dev)(?:[-_./]|$)")
_SPLITS = {"train": "train", "test": "test", "validation": "val", "valid": "val", "val": "val", "dev": "val"}
_LABELS = ("label", "labels")


def fits(path: Path) -> bool:
    return bool(_files(path))


@dataclass(frozen=True)
class _Table:
    """One file: `group(n)` is its n-th batch of rows (a pyarrow table), read when asked for."""

    name: str
    split: str | None
    schema: Any
    groups: int
    group: Callable[[int, tuple[str, ...]], Any]


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str
    names: tuple[str, ...]


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    problems = Problems(request.path)
    tables = [table for file in _files(request.path) if (table := _table(file, request.path, problems))]
    if not tables:
        problems.add(f"there is no file of rows; looked for {LOOKS_FOR}")
    problems.raise_if_any()
    columns = _columns(tables[0].schema, request, problems)
    for table in tables[1:]:
        if columns and not {columns.image, columns.label} <= set(table.schema.names):
            problems.add(f"{table.name} has no columns {columns.image!r} and {columns.label!r}")
    problems.raise_if_any()
    if columns is None:
        raise ConversionFailed(f"{request.path} has no columns to read")
    rows = [row for table in tables for row in _rows(table, columns, request.path, problems)]
    problems.raise_if_any()
    numbers: Mapping[Any, int] = {number: number for number in range(len(columns.names))}
    if not columns.names:
        numbers = contiguous([label for _, label, _, _ in rows])
    out_of_range = [f"{where}: {label!r}" for _, label, _, where in rows if label not in numbers]
    if out_of_range:
        problems.add(
            f"{len(out_of_range):,} labels are out of range 0–{len(numbers) - 1} (−1 marks images without one): "
            f"{some(out_of_range)}"
        )
    problems.raise_if_any()
    counts: dict[str, int] = {}
    examples = []
    for split, label, (ending, content), _ in rows:
        place = split or "all"
        counts[place] = counts.get(place, -1) + 1
        examples.append(Example(split, f"images/{place}/{counts[place]:06d}{ending}", content, numbers[label]))
    return Listing(examples=tuple(examples), classes=columns.names or tuple(str(label) for label in numbers))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in (".parquet", ".arrow") else []
    saved = _within(path, "data-*-of-*.arrow")
    return saved or _within(path, "*.parquet")


def _within(path: Path, pattern: str) -> list[Path]:
    """Files in the folder and two levels below it (the hub's `CONFIG/train/0000.parquet`), no deeper."""
    found = (file for prefix in ("", "*/", "*/*/") for file in path.glob(f"{prefix}{pattern}"))
    return sorted(file for file in found if not file.name.startswith("."))


def _split_of(file: Path, root: Path) -> str | None:
    inside = file.relative_to(root).as_posix() if root.is_dir() else file.name
    found = _SPLIT.search(inside.lower())
    return _SPLITS[found.group(1)] if found else None


def _table(file: Path, root: Path, problems: Problems) -> _Table | None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise missing_package("pyarrow", "reading parquet") from None
    split = _split_of(file, root)
    try:
        if file.suffix == ".arrow":
            whole = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
            return _Table(file.name, split, whole.schema, 1, lambda _, columns: whole.select(columns))
        opened = pyarrow.parquet.ParquetFile(file)
        return _Table(
            file.name,
            split,
            opened.schema_arrow,
            opened.num_row_groups,
            lambda number, columns: opened.read_row_group(number, columns=list(columns)),
        )
    except (OSError, pyarrow.ArrowInvalid) as error:
        problems.add(f"{file} cannot be read ({' '.join(str(error).split())}); copy it again")
        return None


def _columns(schema: Any, request: SourceRequest, problems: Problems) -> _Columns | None:
    """The image and the label column, and the names of classes."""
    images = [field.name for field in schema if _is_image(field.type)]
    if len(images) != 1:
        problems.add(f"one column of images is expected, found {', '.join(images) or 'none'} among {schema.names}")
    described = _features(schema)
    classes = [name for name, feature in described.items() if feature.get("_type") == "ClassLabel"]
    known = [name for name in _LABELS if name in schema.names]
    labels = [request.label] if request.label else known[:1] or classes
    if len(labels) != 1 or labels[0] not in schema.names:
        found = ", ".join(classes or [name for name in schema.names if name not in images])
        problems.add(f"which column is the label? Name it with --label; there are: {found}")
        return None
    if not images:
        return None
    names = described.get(labels[0], {}).get("names", ())
    return _Columns(images[0], labels[0], tuple(str(name) for name in names))


def _is_image(kind: Any) -> bool:
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return "bytes" in {kind.field(index).name for index in range(kind.num_fields)}
    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Column -> what Hugging Face's metadata say of it."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _rows(table: _Table, columns: _Columns, root: Path, problems: Problems) -> list[tuple[Any, ...]]:
    """(split, label, (ending, content), where) per row; the bytes are read again when they are written."""
    found = []
    wanted = (columns.image, columns.label)
    cached = lru_cache(maxsize=1)(lambda number: table.group(number, wanted).column(columns.image))
    try:
        for number in range(table.groups):
            group = table.group(number, wanted)
            labels: Sequence[Any] = group.column(columns.label).to_pylist()
            for index, (label, image) in enumerate(zip(labels, group.column(columns.image), strict=True)):
                where = f"{table.name}, row group {number}, row {index}"
                content = _content(image.as_py(), root, partial(_bytes_at, cached, number, index))
                if content is None:
                    problems.add(f"{where}: the image is neither encoded bytes nor a file that is here")
                elif label is None:
                    problems.add(f"{where}: there is no label")
                else:
                    found.append((table.split, label, content, where))
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        problems.add(f"{table.name} is damaged ({' '.join(str(error).split())}); copy it again")
    return found


def _content(value: Any, root: Path, later: Callable[[], bytes]) -> tuple[str, Content] | None:
    """(file ending, content): bytes in the row, or a file beside the source that it names."""
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if encoded:
        ending = ending_of(encoded[:16])
        return (ending, later) if ending else None
    named = value.get("path") if isinstance(value, dict) else None
    if not named:
        return None
    file = root / named if root.is_dir() else root.parent / named
    return (file.suffix, file) if file.is_file() else None


def _bytes_at(group: Callable[[int], Any], number: int, index: int) -> bytes:
    value = group(number)[index].as_py()
    encoded: bytes = value["bytes"] if isinstance(value, dict) else value
    return encoded
