"""`sweepboard plan`: what a spec would run, what is done already, and what is missing; nothing is run or changed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.catalogue import installed_catalogue
from orchestrator.errors import EXIT_OK, UsageError
from orchestrator.packing import requests_of
from orchestrator.plan import plan
from orchestrator.plan_report import compare
from orchestrator.plan_text import plan_record, plan_text
from orchestrator.session import add_command, add_home_argument, open_session, out
from orchestrator.spec import read_spec
from storage.store import Entry
from workers.devices import AUTO, here, kind
from workers.pools.protocol import PoolError
from workers.pools.ray_shapes import Node, why_infeasible

_EVERY_JOB = sys.maxsize


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "plan", run, "what a spec would run, what is done already, what is missing")
    command.add_argument("spec", type=Path, help="the sweep's YAML file")
    command.add_argument("--show", type=int, default=10, metavar="N", help="list the first N jobs (-1: all)")
    command.add_argument("--diff", action="store_true", help="compare with the sweep of that name in the store")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.add_argument(
        "--address", metavar="HOST:PORT", help="ask this Ray cluster what fits (default: this machine)"
    )
    command.add_argument("--anywhere", action="store_true", help="ask nobody what fits: plan for another machine")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    """Raises SpecError with every problem of the spec; UsageError, once the plan is printed, with what never fits."""
    spec = read_spec(args.spec)
    show = args.show if args.show >= 0 else _EVERY_JOB
    with open_session(args) as session:
        catalogue = installed_catalogue(session.data_root, session.cache, kind(AUTO), session.weights_root)
        made = plan(spec, catalogue)
        report = compare(made, session.store, catalogue)
    if args.json:
        out(json.dumps(plan_record(report, show), indent=1, sort_keys=True))
    else:
        out(plan_text(report, show, diff=args.diff))
    if not args.anywhere:
        _refuse_what_never_fits((*made.entries, *made.unresolved), args.address)
    return EXIT_OK


def _refuse_what_never_fits(entries: Sequence[Entry], address: str | None) -> None:
    """Raises UsageError with every shape that no node can give to a job, and the nearest that one can."""
    nodes = [here()] if address is None else _nodes(address)
    problems = [problem for asked in requests_of(entries) if (problem := why_infeasible(nodes, asked)) is not None]
    if problems:
        where = "on this machine" if address is None else f"on the cluster at {address}"
        advice = "to plan for another: --address HOST:PORT asks a cluster, --anywhere asks nobody"
        raise UsageError("\n".join([f"some jobs can never run {where}:", *(f"  - {one}" for one in problems), advice]))


def _nodes(address: str) -> list[Node]:
    """The cluster's living nodes. Raises UsageError when it cannot be asked."""
    try:
        from workers.pools.ray_session import RayOptions, RaySession
    except ImportError as error:
        raise UsageError(f"asking a cluster needs {error.name}: pip install 'sweepboard[ray]'") from error
    try:
        session = RaySession(RayOptions(address=address))
    except PoolError as error:
        raise UsageError(str(error)) from error
    try:
        return session.living_nodes()
    finally:
        session.close()
