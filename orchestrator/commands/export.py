"""`sweepboard export JOB --to DIR`: the trained model of a job, to be used without Sweepboard's store.

Exit codes: 0 written and compared; 2 nothing was written, or a format beside safetensors could not be.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

from methods.api import MethodError
from orchestrator.errors import EXIT_OK, EXIT_USAGE, UsageError
from orchestrator.session import Session, add_command, add_home_argument, note, open_session, out, pick_job
from storage.records import Job, Phase, Result, Status
from storage.store import JobState
from workers.errors import WorkerError

FORMATS = ("safetensors", "torch_export", "onnx")
_HASH_HEX = 64


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "export", run, "the trained model of a job as a folder that works on its own")
    command.add_argument("job", help="id of a finished final job, or the beginning of it")
    command.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="a new folder, or an earlier export of it"
    )
    command.add_argument("--unmerged", action="store_true", help="do not fold the methods into the backbone")
    command.add_argument(
        "--format", action="append", choices=FORMATS, default=[], help="beside safetensors (may be repeated)"
    )
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="the backbone's weights, if they came from a file that is not in SWEEPBOARD_WEIGHTS",
    )
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        state = pick_job(session, args.job)
        result = _checked(state)
        try:
            return _export(session, (state.job, result), args)
        except ModuleNotFoundError as error:
            raise UsageError(f"exporting needs {error.name}: pip install 'sweepboard[train]'") from error
        except (WorkerError, MethodError) as error:
            raise UsageError(str(error)) from error
        except OSError as error:
            raise UsageError(
                f"--to: cannot write {args.to}: {error.strerror or error}; nothing was left there"
            ) from error


def _checked(state: JobState) -> Result:
    """The result of a job that trained a model. Raises UsageError."""
    job = state.job
    if job.phase not in (Phase.FINAL, Phase.SEARCH):
        of = f", as its parent {job.parent}" if job.parent else ""
        raise UsageError(f"job {job.job_id} is a {job.phase} job and trains no model; name a final job{of}")
    if state.status is not Status.DONE or state.result is None:
        failure = state.result.failure if state.result else None
        why = f" ({failure.message})" if failure else ""
        next_ = (
            "`sweepboard retry`, then `run`" if state.status.is_finished else "`sweepboard run SPEC` goes on with it"
        )
        raise UsageError(f"job {job.job_id} is {state.status}{why}: there is no model yet; {next_}")
    return state.result


def _weights(session: Session, job: Job, given: Path | None) -> dict[str, Path]:
    """The backbone's file: the one given, else that of its content in SWEEPBOARD_WEIGHTS; the default needs none."""
    from workers.weights import find_by_hash, hash_of, reference

    backbone = job.backbone
    if given is not None:
        if not given.is_file():
            raise UsageError(f"--weights: no file {given}")
        found = hash_of(given, session.cache)
        if found != backbone.weights_hash:
            raise UsageError(
                f"--weights: {given} has content {found[:16]}, the job was trained on weights "
                f"{backbone.weights_hash[:16]} of {backbone.name}"
            )
        return {found: given}
    if session.weights_root is None or len(backbone.weights_hash) < _HASH_HEX:  # "random", "none"
        return {}
    with suppress(WorkerError):  # no default weights on this machine
        if reference(backbone.name, None, session.cache).weights_hash == backbone.weights_hash:
            return {}
    file = find_by_hash(backbone.weights_hash, session.weights_root, session.cache)
    return {} if file is None else {backbone.weights_hash: file}


def _export(session: Session, ended: tuple[Job, Result], args: argparse.Namespace) -> int:
    from workers.export import ExportRequest, export
    from workers.site import Site

    job, result = ended
    weights = _weights(session, job, args.weights)
    formats = tuple(name for name in args.format if name != "safetensors")
    request = ExportRequest(job, result, args.to.absolute(), not args.unmerged, formats)
    done = export(request, Site(session.home, session.cache, weights=weights))
    for name, size_bytes in done.sizes_bytes.items():
        out(f"{size_bytes / 2**20:8.2f} MiB  {args.to / name}")
    needed = (
        f"{' + '.join(done.remaining)} (load.py needs sweepboard)" if done.remaining else "none (load.py needs timm)"
    )
    out(f"methods that remain: {needed}")
    out(f"logits as the job's: largest difference {done.difference:.1e} on noise images, read back by load.py")
    for failure in done.failures:
        note(f"not written: {failure}")
    return EXIT_USAGE if done.failures else EXIT_OK
