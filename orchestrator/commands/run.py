"""`sweepboard run`: plan the spec, store its jobs, and drive them until nothing is left to do. Again = resume."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.catalogue import installed_catalogue
from orchestrator.errors import EXIT_INTERRUPTED, EXIT_JOBS_FAILED, EXIT_NOTHING, EXIT_OK, UsageError
from orchestrator.live import choose_display, duration
from orchestrator.loop import Loop, Outcome
from orchestrator.plan import Plan, plan
from orchestrator.session import Session, add_command, add_home_argument, note, open_session
from orchestrator.spec import read_spec
from storage.store import Entry
from workers.pools.inline import InlinePool
from workers.site import Site


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "run", run, "run what a spec asks for and is not done yet; again = resume")
    command.add_argument("spec", type=Path, help="YAML file")
    command.add_argument("--pool", choices=["inline"], default="inline", help="where jobs run (default: this process)")
    command.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1 …")
    command.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of a job (default 1)")
    command.add_argument("--limit", type=int, metavar="N", help="run at most N jobs (prepare jobs not counted)")
    command.add_argument(
        "--only", action="append", default=[], metavar="KEY=GLOB", help="only method=, backbone=, dataset= or seed= …"
    )
    command.add_argument("--json", action="store_true", help="one JSON line per finished job on stdout")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    spec = read_spec(args.spec)
    with open_session(args) as session:
        made = plan(spec, installed_catalogue(session.data_root, session.cache))
        _require_torch()
        _check(made)
        only = _chosen(made.entries, args)
        change = session.store.save_sweep(spec.name, spec.text, made.entries)
        dropped = f", {len(change.dropped)} dropped from it" if change.dropped else ""
        note(f"{spec.name}: {len(change.new)} new jobs, {len(change.known)} known{dropped}")
        for refusal in made.refused:
            note(f"  left out: {refusal.row} on {refusal.backbone} ({refusal.jobs} jobs): {refusal.reason}")
        outcome = _drive(session, made, only, args)
    _tell(spec.name, outcome)
    return _exit_code(outcome)


def _require_torch() -> None:
    try:
        for name in ("torch", "timm", "safetensors"):
            import_module(name)
    except ImportError as error:
        raise UsageError(f"running jobs needs {error.name}: pip install 'sweepboard[train]'") from error


def _check(made: Plan) -> None:
    """Everything that stops this plan from being run, at once. Raises UsageError."""
    problems = [made.blocker] if made.blocker else []
    problems += made.missing
    problems += _refused_by_methods(made)
    if problems:
        raise UsageError("\n".join([f"{made.spec.name} cannot be run:", *(f"  - {text}" for text in problems)]))


def _refused_by_methods(made: Plan) -> list[str]:
    """What a method's own `refuses` says; the plan, which imports no torch, could only look at its declarations."""
    from methods.registry import build
    from workers.backbone_facts import facts

    found: dict[str, None] = {}
    for call, name in {(call, entry.job.backbone.name) for entry in made.entries for call in entry.job.methods}:
        known = facts(name, Path())
        reason = None if known is None else build(call.name, call.kwargs).refuses(known)
        if reason is not None:
            found[f"{call.name} on {name}: {reason}"] = None
    return sorted(found)


def _chosen(entries: tuple[Entry, ...], args: argparse.Namespace) -> list[str] | None:
    """Ids of the jobs that --only and --limit leave, with the prepare jobs that they need; None for all."""
    if not args.only and args.limit is None:
        return None
    wanted = [_pair(text) for text in args.only]
    users = [entry for entry in entries if entry.job.makes is None and all(_is(entry, *pair) for pair in wanted)]
    if wanted and not users:
        raise UsageError(f"--only {' --only '.join(args.only)} leaves no job of this spec")
    kept = {entry.job.job_id for entry in users[: args.limit]}
    needed = {key.key_id for entry in users[: args.limit] for key in entry.job.needs}
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


def _drive(session: Session, made: Plan, only: list[str] | None, args: argparse.Namespace) -> Outcome:
    from workers.run import run_job  # loads torch

    site = Site(
        home=session.home,
        cache=session.cache,
        device=_device(args.device),
        threads=args.threads,
        weights=made.weights,
        data=_folders(session, made),
    )
    pool = InlinePool(lambda job, lease, report: run_job(job, lease, site, report))
    display = choose_display(as_json=args.json, slots=1)
    loop = Loop(session.store, made.spec.name, pool, session.home, only, watch=display)
    try:
        with _signals(loop):
            return loop.run()
    finally:
        display.close()
        pool.close()


def _folders(session: Session, made: Plan) -> dict[str, Path]:
    """Where the data sets of the plan lie; the embedded ones lie nowhere."""
    from workers.data.catalogue import LOCAL_SUITE, dataset_folder

    names = {entry.job.dataset.name for entry in made.entries}
    return {name: dataset_folder(name, session.data_root) for name in names if name.startswith(f"{LOCAL_SUITE}/")}


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {asked}: torch finds no GPU here; leave it out, or use --device cpu")
    return asked


@contextmanager
def _signals(loop: Loop) -> Iterator[None]:
    """Ctrl-C once drains, twice stops; SIGTERM stops. Running jobs go back to the store, finished ones are kept."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and not loop.draining:
            loop.drain()
            note("draining: what runs is finished, nothing new is started; Ctrl-C again stops at once")
        else:
            loop.stop()

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(name: str, outcome: Outcome) -> None:
    left = f", {outcome.blocked} not run" if outcome.blocked else ""
    states = f"{outcome.done} done, {outcome.failed} failed{left}"
    note(f"{name}: {outcome.ran} jobs run in {duration(outcome.wall_s)}; {states}")
    if outcome.failed:
        note(f"  why: sweepboard status {name}      again: sweepboard retry {name}")
    note(f"  the board: sweepboard leaderboard {name}")


def _exit_code(outcome: Outcome) -> int:
    if outcome.interrupted and outcome.blocked:
        return EXIT_INTERRUPTED
    if outcome.failed or outcome.blocked:
        return EXIT_JOBS_FAILED
    return EXIT_OK if outcome.done else EXIT_NOTHING
