"""`sweepboard data convert SOURCE`: takes existing images over into the layout that specs can name.

Exit codes: 0 converted, or it was done before; 2 it cannot be, or the disk is full (the same command goes on).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import EXIT_OK, UsageError
from orchestrator.session import add_command, note, out
from workers.data.folders import DATA_VARIABLE
from workers.errors import WorkerError

if TYPE_CHECKING:
    from workers.data.convert.convert import Converted

_KINDS = "vtab, vpt, tfds, torchvision or torchvision:CLASS, parquet, kvasir, folders, list"
_TOLD_EVERY = 500  # files


def add(subcommands: argparse._SubParsersAction[Any]) -> None:
    """Adds `convert` to the actions of `sweepboard data`."""
    text = "takes existing images over, byte for byte, into the layout that specs can name; again = goes on"
    command = add_command(subcommands, "convert", run, text)
    command.add_argument("source", type=Path, metavar="SOURCE", help="a folder, or one file (list, parquet)")
    command.add_argument(
        "--to", type=Path, metavar="DIR", help=f"the folder of data sets (default: what {DATA_VARIABLE} names)"
    )
    command.add_argument("--from", dest="kind", metavar="KIND", help=f"{_KINDS} (default: found out)")
    command.add_argument(
        "--as", dest="name", metavar="NAME", help="what specs will call it: local/NAME, or a set of a suite"
    )
    command.add_argument("--label", metavar="COLUMN", help="which column or feature is the label (parquet, tfds)")
    command.add_argument("--seed", type=int, default=0, help="of splits that the source lacks (default: 0)")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--copy", dest="link", action="store_false", help="copy image files (default)")
    how.add_argument(
        "--link", dest="link", action="store_true", help="hard-link image files: no space, same file system"
    )
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.set_defaults(link=False)


def run(args: argparse.Namespace) -> int:
    try:
        from workers.data.convert.convert import ConversionRequest, convert
    except ModuleNotFoundError as error:
        raise UsageError(f"converting images needs {error.name}: pip install 'sweepboard[train]'") from None
    request = ConversionRequest(
        source=args.source,
        root=_root(args.to),
        kind=args.kind,
        name=args.name,
        label=args.label,
        link=args.link,
        seed=args.seed,
    )
    try:
        converted = convert(request, _tell)
    except ModuleNotFoundError as error:
        raise UsageError(f"converting this kind needs {error.name}: pip install 'sweepboard[train,convert]'") from None
    except WorkerError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{error.filename or args.source} cannot be read: {error.strerror or error}") from None
    if args.json:
        out(json.dumps({"version": 1, "datasets": [_record(one) for one in converted]}, indent=1))
    else:
        _print(converted, request.root, args.kind is None)
    return EXIT_OK


def _root(given: Path | None) -> Path:
    """Raises UsageError."""
    named = os.environ.get(DATA_VARIABLE)
    if given is None and not named:
        raise UsageError(f"--to DIR is missing: the folder of data sets ({DATA_VARIABLE} is not set either)")
    return given if given is not None else Path(str(named)).expanduser()


def _tell(done: int, total: int) -> None:
    """Tells a person at a terminal how far it is."""
    if sys.stderr.isatty() and (done % _TOLD_EVERY == 0 or done == total):
        note(f"  {done:,} of {total:,} files")


def _print(converted: Sequence[Converted], root: Path, is_detected: bool) -> None:
    for one in converted:
        if is_detected:
            note(f"{one.name}: the source looks like {one.kind}")
        sizes = ", ".join(f"{split} {count:,}" for split, count in one.sizes.items())
        what = "masks" if one.has_masks else f"{one.classes:,} classes"
        out(f"{one.name}  {sizes}; {what}; {one.folder}")
        out(f"  {f'{one.written:,} files written' if one.written else 'nothing to do: it was converted before'}")
        for text in one.notes:
            out(f"  note: {text}")
    names = [one.name for one in converted]
    out("next:")
    out(f"  export {DATA_VARIABLE}={shlex.quote(str(root.resolve()))}")
    out(f"  sweepboard data check {shlex.join(names)}")
    out(f"  datasets: [{', '.join(names)}]    # a line of a spec")


def _record(one: Converted) -> dict[str, object]:
    return {
        "name": one.name,
        "folder": str(one.folder),
        "kind": one.kind,
        "splits": dict(one.sizes),
        "classes": None if one.has_masks else one.classes,
        "written": one.written,
        "notes": list(one.notes),
    }
