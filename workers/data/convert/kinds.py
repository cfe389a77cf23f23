"""The kinds of sources, by name, and which of them a path looks like."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from workers.data.convert.source import SourceKind
from workers.errors import ConversionFailed

KINDS = {
    "vtab": "vtab_folders",
    "vpt": "vpt_json",
    "tfds": "tfds_folders",
    "torchvision": "torchvision_sets",
    "parquet": "parquet_files",
    "kvasir": "mask_folders",
    "folders": "class_folders",
    "list": "list_files",
}
"""Name of a kind -> its module in this package."""

_GENERAL = ("folders", "list")
"""Kinds that also fit the insides of others: they count where nothing else fits."""


def kind(name: str) -> SourceKind:
    """The module of a kind."""
    return cast(SourceKind, import_module(f"workers.data.convert.{KINDS[name]}"))


def detected(path: Path) -> str:
    """The only kind that this path looks like. Raises ConversionFailed where there is none, or several."""
    fitting = [name for name in KINDS if kind(name).fits(path)]
    found = [name for name in fitting if name not in _GENERAL] or fitting
    if len(found) == 1:
        return found[0]
    if found:
        raise ConversionFailed(f"{path} looks like {' and like '.join(found)}; say which it is with --from")
    looked = "\n".join(f"  {name:<12} {kind(name).LOOKS_FOR}" for name in KINDS)
    raise ConversionFailed(f"{path} looks like no kind of data that is known. Looked for:\n{looked}")
