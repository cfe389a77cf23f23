"""`sweepboard datasets`: the data sets that a spec can name here, and which of them are ready."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from orchestrator.session import add_command, add_home_argument, out
from workers.data.catalogue import data_hash, info, names
from workers.errors import DataMissing


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "datasets", run, "the data sets that a spec can name, and which are ready here")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    data = os.environ.get("SWEEPBOARD_DATA")
    root = Path(data) if data else None
    rows = []
    for name in names(root):
        item = info(name, root)
        try:
            data_hash(name, root)
            state = "ready"
        except DataMissing as error:
            state = str(error)
        rows.append((item, state))
    if args.json:
        record = [
            {"name": item.name, "suite": item.suite, "group": item.group, "classes": item.classes, "state": state}
            for item, state in rows
        ]
        out(json.dumps({"version": 1, "datasets": record}, indent=1))
        return 0
    width = max(len(item.name) for item, _ in rows)
    out(f"{'name':<{width}}  classes  train+val/test  state")
    for item, state in rows:
        out(f"{item.name:<{width}}  {item.classes:>7}  {item.train}+{item.val}/{item.test:<8}  {state}")
    if root is None:
        out("set SWEEPBOARD_DATA to a folder of data sets in VTAB-1k layout to see them here as local/<folder>")
    return 0
