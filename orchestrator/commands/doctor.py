"""`sweepboard doctor`: is this machine ready? Versions, home, store, device, and names that clash."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator.session import Session, add_command, add_home_argument, open_session, out

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "sqlalchemy", "alembic", "pydantic", "rich", "safetensors")
_OURS = ("orchestrator", "workers", "methods", "storage")
_LEAST_FREE_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. `level`: ok, note or problem."""

    level: str
    what: str
    advice: str = ""


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "doctor", run, "check versions, home, store and device of this machine")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        findings = [*_versions(), *_names(), *_home(session), *_device()]
    if args.json:
        out(json.dumps({"version": 1, "findings": [asdict(item) for item in findings]}, indent=1))
    else:
        for item in findings:
            out(f"{item.level:<8} {item.what}" + (f"\n         {item.advice}" if item.advice else ""))
    return 1 if any(item.level == "problem" for item in findings) else 0


def _versions() -> Iterator[Finding]:
    yield Finding("ok", f"sweepboard {metadata.version('sweepboard')}, Python {platform.python_version()}")
    for package in _PACKAGES:
        try:
            yield Finding("ok", f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            advice = "plans and boards work without it; `pip install 'sweepboard[train]'` to run jobs"
            yield Finding("note", f"{package} is not installed", advice)


def _names() -> Iterator[Finding]:
    """pip overwrites silently when two distributions own one top-level package."""
    owners = metadata.packages_distributions()
    for name in _OURS:
        others = sorted(set(owners.get(name, ())) - {"sweepboard"})
        if others:
            advice = "it may have overwritten ours: uninstall it, then reinstall sweepboard"
            yield Finding("problem", f"the package {name!r} belongs to {', '.join(others)} too", advice)


def _home(session: Session) -> Iterator[Finding]:
    free_gib = shutil.disk_usage(session.home).free / 2**30
    low = free_gib < _LEAST_FREE_GIB
    advice = "free some space, or point SWEEPBOARD_HOME and SWEEPBOARD_CACHE elsewhere" if low else ""
    yield Finding("problem" if low else "ok", f"home {session.home}: {free_gib:.1f} GiB free", advice)
    yield Finding("ok", f"store: {len(session.store.sweeps())} sweeps")
    if session.data_root is None:
        advice = "set it to the folder that holds your data sets; the embedded ones need none"
        yield Finding("note", "SWEEPBOARD_DATA is not set", advice)
    elif not session.data_root.is_dir():
        yield Finding("problem", f"SWEEPBOARD_DATA is {session.data_root}, which is no folder", "correct the path")
    if session.weights_root is not None and not session.weights_root.is_dir():
        yield Finding(
            "problem", f"SWEEPBOARD_WEIGHTS is {session.weights_root}, which is no folder", "correct the path"
        )


def _device() -> Iterator[Finding]:
    yield Finding("ok", f"{os.cpu_count()} CPU cores")
    try:
        import torch
    except ImportError:
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield Finding("ok", f"GPU {index}: {torch.cuda.get_device_name(index)}")
        return
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.exists() else ""
    yield Finding("note", "no GPU: jobs run on the CPU")
    if text and "avx512_bf16" not in text and "amx_bf16" not in text:
        advice = "precision bf16 is emulated here, about three times slower than on a CPU that has it"
        yield Finding("note", "this CPU has no bf16 arithmetic", advice)
