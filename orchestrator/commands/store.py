"""`sweepboard store export DIR` and `sweepboard store import DIR`: results of one machine for another.

Exit codes: 0 done; 2 no such sweep, or a folder that cannot be used; 5 the store cannot be used.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.session import add_command, add_home_argument, note, open_session, out, pick_sweep
from storage.transfer import Imported, export_store, import_store
from storage.transfer_lines import TransferError


def register(commands: argparse._SubParsersAction[Any]) -> None:
    text = "carry results to another store, or join another's to this one"
    parts = add_command(commands, "store", run, text).add_subparsers(metavar="ACTION", required=True)
    export = add_command(parts, "export", run_export, "write the results of this store, with their files, to a folder")
    export.add_argument(
        "folder", type=Path, metavar="DIR", help="a new folder, or an earlier export to be brought up to date"
    )
    export.add_argument("--sweep", action="append", metavar="NAME", help="only this sweep (may be repeated)")
    take = add_command(parts, "import", run_import, "join exported results to this store; twice is once")
    take.add_argument("folder", type=Path, metavar="DIR", help="what `store export` wrote")
    for command in (export, take):
        command.add_argument(
            "--no-files", action="store_true", help="records only: no deltas, predictions and artifacts"
        )
        add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    raise UsageError("`sweepboard store` takes an action: export or import")


def run_export(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        sweeps = None if args.sweep is None else [pick_sweep(session, name) for name in args.sweep]
        try:
            done = export_store(session.store, session.home, args.folder, sweeps, with_files=not args.no_files)
        except TransferError as error:
            raise UsageError(str(error)) from error
    for path in done.missing:
        note(f"not in the home, and left out: {path}")
    size = f"{done.size_bytes / 2**20:.1f} MiB"
    out(f"exported to {args.folder}: {done.jobs} jobs, {done.results} results, {done.files} files ({size})")
    return 0


def run_import(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        try:
            done = import_store(session.store, session.home, args.folder, with_files=not args.no_files)
        except TransferError as error:
            raise UsageError(str(error)) from error
    _tell(done)
    return 0


def _tell(done: Imported) -> None:
    absorbed = done.absorbed
    out(
        f"{done.jobs} jobs in the export: {len(absorbed.new)} new here, {len(absorbed.ended)} outcomes taken, "
        f"{done.files} files copied"
    )
    if absorbed.sweeps:
        out(f"new sweeps: {', '.join(absorbed.sweeps)}")
    for sweep in absorbed.widened:
        note(f"sweep {sweep} has another spec here: its own was kept, the other's jobs were added")
    for job_id in absorbed.busy:
        note(f"job {job_id} is under way here and was left alone; import again when it has ended")
    if done.unmade:
        note(f"{len(done.unmade)} prepare jobs are pending here: their artifacts did not come along")
