"""Four generic top-level names: nobody else may own them, and the documents must know every command."""

import importlib.metadata
from pathlib import Path

import pytest

from orchestrator.cli import parser
from orchestrator.commands import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["orchestrator", "workers", "methods", "storage"])
def test_the_package_name_is_ours_alone(name):
    assert set(importlib.metadata.packages_distributions()[name]) == {"sweepboard"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(name, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args([name, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
    assert f"sweepboard {name}" in (ROOT / "README.md").read_text()


def test_files_stay_within_their_budget():
    long = {
        str(path.relative_to(ROOT)): lines
        for package in ("orchestrator", "workers", "methods", "storage")
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert not long


def test_make_explains_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = {line.partition(":")[0] for line in makefile.splitlines() if "## " in line and not line.startswith("\t")}
    assert {"help", "install", "demo", "test", "lint", "types", "bench", "facts"} <= targets
