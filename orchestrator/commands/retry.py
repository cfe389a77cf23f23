"""`sweepboard retry`: failed and cancelled jobs become pending again; the next `run` takes them up."""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.session import add_command, add_home_argument, open_session, out, pick_sweep
from storage.records import FailureClass, Status


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "retry", run, "make failed and cancelled jobs of a sweep pending again")
    command.add_argument("sweep", nargs="?", help="name of the sweep (default: the latest)")
    command.add_argument("--class", dest="failure_class", choices=[str(item) for item in FailureClass])
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        name = pick_sweep(session, args.sweep)
        chosen = []
        for state in session.store.jobs(name):
            failure = state.result.failure if state.result else None
            of_class = args.failure_class is None or (failure and failure.failure_class == args.failure_class)
            if state.status in (Status.FAILED, Status.CANCELLED) and of_class:
                chosen.append(state.job.job_id)
        changed = session.store.set_status(chosen, Status.PENDING)
        out(f"{len(changed)} jobs of {name} are pending again" if changed else f"{name} has no such job")
    return 0
