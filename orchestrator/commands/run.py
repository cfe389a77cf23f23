"""`sweepboard run`: plan the spec, store its jobs, and drive them until nothing is left to do. Again = resume."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.catalogue import installed_catalogue
from orchestrator.driving import Places, Work, drive, is_finished, without_users
from orchestrator.errors import EXIT_INTERRUPTED, EXIT_JOBS_FAILED, EXIT_NOTHING, EXIT_OK, UsageError
from orchestrator.live import duration
from orchestrator.loop import Outcome
from orchestrator.plan import Plan, plan
from orchestrator.progress import waiting
from orchestrator.session import Session, add_command, add_home_argument, note, open_session
from orchestrator.spec import read_spec
from orchestrator.tuning.planning import fixed_entries
from orchestrator.tuning.tuner import Tuner
from storage.records import Status
from storage.store import Entry, Store
from workers.devices import kind


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "run", run, "run what a spec asks for and is not done yet; again = resume")
    command.add_argument("spec", type=Path, help="YAML file")
    command.add_argument(
        "--pool",
        choices=["ray", "inline"],
        default="ray",
        help="ray: a process per slot; inline: this process, to debug",
    )
    command.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster, or `auto` (default: a local Ray)")
    command.add_argument("--slots", type=int, metavar="N", help="jobs at once (default: as many as fit)")
    command.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:1 …")
    command.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of a job (default 1)")
    command.add_argument(
        "--mlflow", metavar="URI", help="http://… of a tracking server, or off (default: a database in the home)"
    )
    command.add_argument("--no-preflight", dest="preflight", action="store_false", help="start the jobs unchecked")
    command.add_argument("--limit", type=int, metavar="N", help="run at most N jobs (prepare jobs not counted)")
    command.add_argument(
        "--only", action="append", default=[], metavar="KEY=GLOB", help="only method=, backbone=, dataset= or seed= …"
    )
    command.add_argument("--json", action="store_true", help="one JSON line per finished job on stdout")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    spec = read_spec(args.spec)
    with open_session(args) as session:
        device = kind(args.device)
        made = plan(spec, installed_catalogue(session.data_root, session.cache, device, session.weights_root))
        _check(made)
        only = _chosen(made.entries, args)
        tuner = _tuner(session, made, only)
        entries = made.entries if tuner is None else tuple(fixed_entries(spec, made.entries, made.cells))
        _reopen(session.store, entries)
        entries = entries if tuner is None else (*entries, *tuner.members())
        idle = without_users(session.store, entries)
        if idle and tuner is None:
            only = [one for one in only or [entry.job.job_id for entry in entries] if one not in idle]
        busy = tuple(entry for entry in entries if entry.job.job_id not in idle)
        if not (is_finished(session.store, busy) and (tuner is None or tuner.is_finished)):
            _require_torch()
        studies = [cell.study for cell in made.cells]
        change = session.store.save_sweep(spec.name, spec.text, entries if tuner is None else busy, studies)
        until = " until the searches have chosen" if tuner is not None and not tuner.is_finished else ""
        dropped = f", {len(change.dropped)} dropped from it{until}" if change.dropped else ""
        note(f"{spec.name}: {len(change.new)} new jobs, {len(change.known)} known{dropped}")
        if tuner is not None:
            note(f"  tuning: {tuner.words}")
        for refusal in made.refused:
            note(f"  left out: {refusal.row} on {refusal.backbone} ({refusal.jobs} jobs): {refusal.reason}")
        for missing in made.left_out:
            note(f"  left out: {missing.row}: {missing.reason}")
        if idle:
            note(f"  left out: {len(idle)} prepare jobs; every job that would read what they make is finished")
        outcome = drive(session, made, Work(busy, only, tuner), Places.of(args))
        told = waiting(session.store.jobs(spec.name)) if outcome.blocked else []
        pruned = session.store.counts(spec.name).get(Status.PRUNED, 0)
    _tell(spec.name, outcome, pruned, told)
    return _exit_code(outcome)


def _tuner(session: Session, made: Plan, only: list[str] | None) -> Tuner | None:
    """None where nothing is tuned. Raises UsageError with words that mean one job, in a sweep whose jobs follow."""
    if not made.cells:
        return None
    if only is not None:
        raise UsageError("--only and --limit choose jobs, and a search finds its own: narrow the spec (tune.trials, …)")
    return Tuner(session.store, made.spec.name, made.cells)


def _reopen(store: Store, entries: Sequence[Entry]) -> None:
    """What a search has ended early, and this spec names for itself, runs to its end."""
    known = store.known(entry.job.job_id for entry in entries)
    store.set_status([job_id for job_id, status in known.items() if status is Status.PRUNED], Status.PENDING)


def _require_torch() -> None:
    """The jobs need it, in the processes that run them; the driver never loads it."""
    for name in ("torch", "timm", "safetensors"):
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise UsageError(f"running jobs needs {name}: pip install 'sweepboard[train]'")


def _check(made: Plan) -> None:
    """Everything that is missing, at once. Raises UsageError."""
    if made.missing:
        raise UsageError("\n".join([f"{made.spec.name} cannot be run:", *(f"  - {text}" for text in made.missing)]))


def _chosen(entries: tuple[Entry, ...], args: argparse.Namespace) -> list[str] | None:
    """Ids of the jobs that --only and --limit leave, with the prepare jobs and parents that they need; None for all."""
    if not args.only and args.limit is None:
        return None
    wanted = [_pair(text) for text in args.only]
    users = [entry for entry in entries if entry.job.makes is None and all(_is(entry, *pair) for pair in wanted)]
    if wanted and not users:
        raise UsageError(f"--only {' --only '.join(args.only)} leaves no job of this spec")
    kept = {entry.job.job_id for entry in users[: args.limit]}
    kept |= {entry.job.parent for entry in users[: args.limit] if entry.job.parent is not None}
    needed = {key.key_id for entry in entries if entry.job.job_id in kept for key in entry.job.needs}
    return [entry.job.job_id for entry in entries if entry.job.job_id in kept or _makes_one_of(entry, needed)]


def _makes_one_of(entry: Entry, keys: set[str]) -> bool:
    return entry.job.makes is not None and entry.job.makes.key_id in keys


def _pair(text: str) -> tuple[str, str]:
    key, equals, pattern = text.partition("=")
    if not equals or key not in ("method", "backbone", "dataset", "seed", "row"):
        raise UsageError(f"--only {text!r}: expected method=, backbone=, dataset=, seed= or row= and a pattern")
    return key, pattern


def _is(entry: Entry, key: str, pattern: str) -> bool:
    job = entry.job
    values = {
        "method": [job.stack, *(call.name for call in job.methods)],
        "backbone": [job.backbone.name],
        "dataset": [job.dataset.name, job.dataset.name.rpartition("/")[2]],
        "seed": [str(job.seed)],
        "row": [entry.row],
    }
    return any(fnmatchcase(value, pattern) for value in values[key])


def _tell(name: str, outcome: Outcome, pruned: int, told: Sequence[str]) -> None:
    left = f", {outcome.blocked} not run" if outcome.blocked else ""
    ended_early = f", {pruned} pruned" if pruned else ""
    states = f"{outcome.done} done{ended_early}, {outcome.failed} failed{left}"
    note(f"{name}: {outcome.ran} jobs run in {duration(outcome.wall_s)}; {states}")
    for line in told:
        note(f"  {line}")
    if outcome.failed:
        note(f"  why: sweepboard status {name}      again: sweepboard retry {name}")
    note(f"  the board: sweepboard leaderboard {name}")


def _exit_code(outcome: Outcome) -> int:
    if outcome.interrupted and outcome.blocked:
        return EXIT_INTERRUPTED
    if outcome.failed or outcome.blocked:
        return EXIT_JOBS_FAILED
    return EXIT_OK if outcome.done else EXIT_NOTHING
