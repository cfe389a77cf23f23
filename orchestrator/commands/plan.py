"""`sweepboard plan`: what a spec would run, what is done already, and what is missing; nothing is run or changed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.catalogue import installed_catalogue
from orchestrator.plan import Plan, plan
from orchestrator.plan_report import compare
from orchestrator.plan_text import plan_record, plan_text
from orchestrator.session import add_command, add_home_argument, note, open_session, out
from orchestrator.spec import read_spec
from workers.devices import AUTO, here, kind
from workers.pools.protocol import Request
from workers.pools.ray_shapes import why_infeasible

_EVERY_JOB = sys.maxsize


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "plan", run, "what a spec would run, what is done already, what is missing")
    command.add_argument("spec", type=Path, help="the sweep's YAML file")
    command.add_argument("--show", type=int, default=10, metavar="N", help="list the first N jobs (-1: all)")
    command.add_argument("--diff", action="store_true", help="compare with the sweep of that name in the store")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    """Raises SpecError (exit code 2) with every problem of the spec."""
    spec = read_spec(args.spec)
    show = args.show if args.show >= 0 else _EVERY_JOB
    with open_session(args) as session:
        catalogue = installed_catalogue(session.data_root, session.cache, kind(AUTO))
        made = plan(spec, catalogue)
        report = compare(made, session.store, catalogue)
    for problem in _too_large_for_here(made):
        note(f"not on this machine: {problem}")
    if args.json:
        out(json.dumps(plan_record(report, show), indent=1, sort_keys=True))
    else:
        out(plan_text(report, show, diff=args.diff))
    return 0


def _too_large_for_here(made: Plan) -> list[str]:
    """Shapes that a local Ray could never give; on a cluster (`run --address`) they may fit."""
    shapes = {(one.cpus, one.gpus) for one in (Request.of(entry.resources) for entry in made.entries)}
    problems = [why_infeasible([here()], Request(cpus, gpus)) for cpus, gpus in sorted(shapes)]
    return [problem for problem in problems if problem is not None]
