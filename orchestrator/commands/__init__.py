"""One module per command: `register(commands)` adds its parser, `run(args)` does it and returns the exit code."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any, Protocol, cast

COMMANDS = (
    "plan",
    "inspect",
    "run",
    "status",
    "leaderboard",
    "tune",
    "retry",
    "show",
    "mlflow",
    "ui",
    "methods",
    "backbones",
    "data",
    "export",
    "store",
    "doctor",
)


class Command(Protocol):
    """What a command's module offers."""

    def register(self, commands: argparse._SubParsersAction[Any]) -> None: ...


def load(name: str) -> Command:
    """The module of a command; none of them loads torch on import."""
    return cast(Command, import_module(f"orchestrator.commands.{name}"))
