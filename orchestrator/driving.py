"""Driving a plan: the pool it runs on, what a person sees, the MLflow view beside it, and the loop between them."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import cast

from orchestrator.errors import UsageError
from orchestrator.guide import NoGuide
from orchestrator.live import choose_display
from orchestrator.loop import Loop, Outcome
from orchestrator.mlflow_view_process import ViewProcess, start_view, tracking_uri, without_password
from orchestrator.packing import Packing, packing, requests_of
from orchestrator.plan import Plan
from orchestrator.plan_measure import SYNTHETIC
from orchestrator.preflight import preflight
from orchestrator.session import Session, note
from orchestrator.tuning.tuner import Tuner
from storage.home import store_url
from storage.store import Entry, Store
from workers.devices import AUTO, kind, resolved
from workers.pools.inline import InlinePool
from workers.pools.protocol import Pool, PoolError, Request
from workers.pools.ray_slot import SiteRunner  # knows no Ray
from workers.site import Site

OFF = "off"
_VIEW_DRAIN_S = 20.0


@dataclass(frozen=True)
class Places:
    """Where a sweep runs and is shown: the words of the command line."""

    pool: str
    device: str
    threads: int
    slots: int | None
    address: str | None
    mlflow: str | None
    preflight: bool
    as_json: bool

    @classmethod
    def of(cls, args: argparse.Namespace) -> Places:
        return cls(
            args.pool, args.device, args.threads, args.slots, args.address, args.mlflow, args.preflight, args.json
        )


@dataclass(frozen=True)
class Work:
    """What is to be run: `entries` of the sweep, restricted to the ids in `only`, and what `tuner` adds to them."""

    entries: Sequence[Entry]
    only: Sequence[str] | None = None
    tuner: Tuner | None = None

    def wanted(self, made: Plan) -> list[Entry]:
        """What is checked before it runs: of a search that goes on, the plan's stand-ins for its final jobs too."""
        chosen = None if self.only is None else frozenset(self.only)
        own = [entry for entry in self.entries if chosen is None or entry.job.job_id in chosen]
        return own if self.tuner is None or self.tuner.is_finished else [*own, *made.entries]


def drive(session: Session, made: Plan, work: Work, places: Places) -> Outcome:
    """Run what is wanted and the store has not. Raises UsageError when the pool or the view cannot be had."""
    wanted = work.wanted(made)
    with ExitStack() as stack:
        uri = _view(session, places, stack)
        if is_finished(session.store, wanted):  # a second run needs no Ray
            pool, slots = cast(Pool, InlinePool(SiteRunner(_site(session, made, places)))), 1
        else:
            pool, slots = _pool(session, made, places)
        stack.callback(pool.close)
        packed = _checked(session.store, wanted, pool, places)
        display = choose_display(as_json=places.as_json, slots=slots)
        loop = Loop(
            session.store,
            made.spec.name,
            pool,
            session.home,
            work.only,
            watch=display,
            request=packed.request,
            guide=work.tuner or NoGuide(),
        )
        try:
            with _signals(loop):
                outcome = loop.run()
        finally:
            display.close()
    if uri is not None:
        note(f"  MLflow: sweepboard ui, then http://127.0.0.1:5000      ({without_password(uri)})")
    return outcome


def _checked(store: Store, wanted: Sequence[Entry], pool: Pool, places: Places) -> Packing:
    """Preflight, and what the jobs ask of memory by what it measured. Raises PreflightFailed, DoesNotFit."""
    if not places.preflight or is_finished(store, wanted):
        return Packing()
    report = preflight(store, wanted, pool)
    if report.passed or report.unchecked:
        note(str(report))
    return packing(store, wanted, pool, on_gpus=places.pool == "ray" and places.device != "cpu")


def is_finished(store: Store, entries: Sequence[Entry]) -> bool:
    """Nothing is left to do: a second run of a sweep."""
    known = store.known(entry.job.job_id for entry in entries)
    return len(known) == len(entries) and all(status.is_finished for status in known.values())


def without_users(store: Store, entries: Sequence[Entry]) -> frozenset[str]:
    """Unfinished prepare jobs whose artifact no unfinished job reads: their results came from elsewhere."""
    known = store.known(entry.job.job_id for entry in entries)
    unfinished = [
        entry.job for entry in entries if not ((status := known.get(entry.job.job_id)) and status.is_finished)
    ]
    read = {key.key_id for job in unfinished for key in job.needs}
    return frozenset(job.job_id for job in unfinished if job.makes is not None and job.makes.key_id not in read)


def _pool(session: Session, made: Plan, places: Places) -> tuple[Pool, int]:
    """The pool and how many jobs it runs at once. Raises UsageError naming what it lacks."""
    if places.address is None and _lacks_a_gpu(places.device):
        raise UsageError(f"--device {places.device}: there is no GPU here; leave it out, or use --device cpu")
    runner = SiteRunner(_site(session, made, places))
    if places.pool == "inline":
        return InlinePool(runner), 1
    try:
        from workers.pools.ray_pool import RayPool
        from workers.pools.ray_session import RayOptions
    except ImportError as error:
        raise UsageError(
            f"the pool `ray` needs {error.name}: pip install 'sweepboard[ray]', or run with --pool inline"
        ) from error
    requests = requests_of(made.entries)
    try:
        options = RayOptions(
            slots=places.slots,
            address=places.address,
            threads=places.threads,
            gpus_per_slot=_gpus_per_slot(requests, places),
        )
        pool = RayPool(runner, options, requests)
    except PoolError as error:
        raise UsageError(str(error)) from error
    problems = [problem for request in requests if (problem := pool.feasible(request)) is not None]
    if problems:
        pool.close()
        raise UsageError("\n".join([f"{made.spec.name} cannot run here:", *(f"  - {text}" for text in problems)]))
    return pool, pool.slots


def _lacks_a_gpu(device: str) -> bool:
    """A GPU is asked for and there is none. Some systems hide its driver: torch, slow to load, has the last word."""
    return kind(device) == "cuda" and kind(AUTO) == "cpu" and resolved(AUTO) == "cpu"


def _gpus_per_slot(requests: Sequence[Request], places: Places) -> float | None:
    """None: as the spec asks. No GPU with `--device cpu`; one where this machine has some and the spec is silent."""
    if places.device == "cpu":
        return 0.0
    if places.address is not None or any(request.gpus for request in requests):
        return None
    if kind(places.device) == "cpu":
        return None
    note("each job gets a GPU of its own; `resources: {gpus: 0.5}` in the spec puts two on one, `--device cpu` none")
    return 1.0


def _site(session: Session, made: Plan, places: Places) -> Site:
    return Site(
        home=session.home,
        cache=session.cache,
        device=places.device,
        threads=places.threads,
        weights=made.weights,
        data=_folders(session, made),
        cache_gib=session.cache_gib,
    )


def _folders(session: Session, made: Plan) -> dict[str, Path]:
    """Where the data sets of the plan lie; the embedded ones, and the noise that is measured on, lie nowhere."""
    from workers.data.catalogue import EMBEDDED_SUITE, dataset_folder

    names = {entry.job.dataset.name for entry in made.entries if entry.job.dataset != SYNTHETIC}
    folders = (name for name in names if not name.startswith(f"{EMBEDDED_SUITE}/"))
    return {name: dataset_folder(name, session.data_root) for name in folders}


def _view(session: Session, places: Places, stack: ExitStack) -> str | None:
    """Start the MLflow view; its address, None where there is none. A view that fails costs the sweep nothing."""
    if places.mlflow == OFF:
        return None
    if importlib.util.find_spec("mlflow") is None:
        note("no MLflow here: runs are not shown (pip install 'sweepboard[mlflow]', then `sweepboard mlflow sync`)")
        return None
    uri = tracking_uri(session.home, places.mlflow, os.environ)
    try:
        view = start_view(session.home, store_url(session.home, os.environ), uri)
    except OSError as error:
        note(f"the MLflow view could not be started ({error}); `sweepboard mlflow sync` shows the runs later")
        return None
    stack.callback(_close_view, view)
    return uri


def _close_view(view: ViewProcess) -> None:
    if not view.close(_VIEW_DRAIN_S):
        note("MLflow has not got everything yet; `sweepboard mlflow sync` goes on where it stopped")


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
