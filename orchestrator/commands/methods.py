"""`sweepboard methods`: what can adapt a backbone, with its hyper-parameters and what tuning may vary."""

from __future__ import annotations

import argparse
import json
from typing import Any

from methods.facts import FieldFacts, MethodFacts, Passport
from methods.registry import facts, known_names
from orchestrator.session import add_command, add_home_argument, out


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "methods", run, "the methods, their hyper-parameters and what they take hold of")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    known = [facts(name) for name in known_names()]
    if args.json:
        out(json.dumps({"version": 1, "methods": [item.to_json() for item in known]}, sort_keys=True, indent=1))
    else:
        out("\n\n".join(_card(item) for item in known))
    return 0


def _card(method: MethodFacts) -> str:
    recipe = ", ".join(f"{name} {value}" for name, value in method.recipe.items())
    lines = [
        f"{method.name}  {method.summary}",
        f"  source    {method.paper or 'baseline'}",
        f"  backbones {', '.join(method.families).replace('*', 'all')}",
        f"  seams     {', '.join(method.seams) or 'none'}",
        f"  trains by {recipe or 'the defaults of the recipe'}",
        *(f"  {_field(item)}" for item in method.fields),
        *(
            f"  needs     {kind}, made once by a prepare job"
            for kind in dict.fromkeys(need.kind for need in method.needs)
        ),
        *_passport(method.passport),
    ]
    return "\n".join(lines)


def _passport(found: Passport | None) -> list[str]:
    if found is None:
        return ["  passport  not measured: a method from outside"]
    start = "the plain model at the start" if found.identity_at_start else "changed from the start"
    return [
        f"  passport  on {found.reference}: trains {found.trained_params:,}; {start}; "
        f"{'task decides what is trained' if found.task_adaptive else 'the same parameters for every task'}",
        f"            in training {found.extra_params_training:+,} parameters, {found.extra_macs_training:+,} MACs; "
        f"merged {found.extra_params_merged:+,}, {found.extra_macs_merged:+,}",
    ]


def _field(item: FieldFacts) -> str:
    kind = f"list of {item.type}" if item.is_list else item.type
    limits = f", {item.bounds[0]:g} to {item.bounds[1]:g}" if item.bounds else ""
    allowed = f", one of {', '.join(item.choices)}" if item.choices else ""
    default = json.dumps(item.default)
    return f"- {item.name}: {kind}{limits}{allowed} (default {default})"
