"""`sweepboard backbones`: the backbones whose facts are at hand, and whether their weights are."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.session import add_command, add_home_argument, open_session, out
from workers.backbone_facts import KnownBackbone, table
from workers.errors import WeightsMissing
from workers.weights import NO_WEIGHTS, reference


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "backbones", run, "the backbones, their facts and their weights")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        rows = [(name, known, _state(name, session.cache)) for name, known in table().items()]
    if args.json:
        record = [{**asdict(known.facts), "weights": state} for _, known, state in rows]
        out(json.dumps({"version": 1, "backbones": record}, indent=1))
        return 0
    width = max(len(name) for name, _, _ in rows)
    out(f"{'name':<{width}}  family    pixels  tokens  params (M)  GMACs  weights")
    for name, known, state in rows:
        out(f"{name:<{width}}  {_line(known)}  {state}")
    out("any other ViT of timm can be named too; its facts are measured once, when a plan first asks for it")
    return 0


def _line(known: KnownBackbone) -> str:
    facts = known.facts
    sizes = f"{facts.image_size:>6}  {facts.tokens:>6}  {facts.params / 1e6:>10.2f}  {facts.macs / 1e9:>5.2f}"
    return f"{facts.family:<8}  {sizes}"


def _state(name: str, cache: Path) -> str:
    try:
        return "none needed" if reference(name, None, cache).weights_hash == NO_WEIGHTS else "here"
    except WeightsMissing:
        return "on the hub, not here yet"
