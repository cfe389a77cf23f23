"""Ways to look at a search that need Optuna or matplotlib: `tune importance`, `tune export`, `tune plot`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from orchestrator.errors import EXIT_OK, UsageError
from orchestrator.session import Session, note, out
from orchestrator.tuning.study_record import StudyRecord

if TYPE_CHECKING:
    from orchestrator.tuning.optuna_importance import Importance

Studies = Sequence[StudyRecord]

JSON_VERSION = 1
_BAR = 20


def importance(session: Session, name: str, studies: Studies, args: argparse.Namespace) -> int:
    """Print what each parameter decided, study by study."""
    _require("optuna", "importance")
    from orchestrator.tuning.optuna_importance import CHANCE, EVALUATOR, importance_of

    found = [(study, importance_of(study)) for study in studies]
    if args.json:
        records = [_record(study, one) for study, one in found]
        _print_json(name, {"evaluator": EVALUATOR, "studies": records})
        return EXIT_OK
    out("\n".join(line for study, one in found for line in _lines(study, one, CHANCE)))
    note(f"parts of what decided whether a trial is among the best of its study ({EVALUATOR})")
    return EXIT_OK


def export(session: Session, name: str, studies: Studies, args: argparse.Namespace) -> int:
    """Write an Optuna database of all studies."""
    _require("optuna", "export")
    from orchestrator.tuning.optuna_export import export_studies

    if args.to is None or args.to.suffix != ".db":
        given = "" if args.to is None else f", not {args.to}"
        raise UsageError(f"tune export needs --to FILE.db{given}")
    names = export_studies(name, studies, args.to)
    if args.json:
        trials = sum(len(study.trials) for study in studies)
        _print_json(name, {"file": str(args.to), "studies": names, "trials": trials})
        return EXIT_OK
    out("\n".join(names))
    note(f"{args.to}: look at it with `optuna-dashboard sqlite:///{args.to}` (pip install optuna-dashboard)")
    return EXIT_OK


def plot(session: Session, name: str, studies: Studies, args: argparse.Namespace) -> int:
    """Write figures of all studies."""
    _require("matplotlib", "plot")
    from orchestrator.tuning.plot_page import write_plots

    folder = session.home / "plots" / name if args.to is None else args.to
    page, *pictures = write_plots(name, studies, folder)
    if args.json:
        _print_json(name, {"page": str(page), "figures": [str(file) for file in pictures]})
        return EXIT_OK
    out(str(page))
    note(f"{len(pictures)} figures as PNG beside it")
    return EXIT_OK


LOOKS: dict[str, Callable[[Session, str, Studies, argparse.Namespace], int]] = {
    "importance": importance,
    "export": export,
    "plot": plot,
}
"""What to do by the word after `tune`; the sweep has studies."""


def _record(study: StudyRecord, one: Importance) -> dict[str, object]:
    report = study.report
    return {
        "study": report.study,
        "row": report.row,
        "backbone": report.backbone,
        "dataset": report.dataset,
        "trials": len(study.trials),
        "finished": one.finished,
        "best": one.best,
        "importances": dict(one.shares) or None,
        "chance": dict(one.chance) or None,
        "reason": one.reason,
    }


def _lines(study: StudyRecord, one: Importance, limit: float) -> list[str]:
    report = study.report
    head = f"{report.row}  {report.backbone}  {report.dataset}: "
    trials = f"{one.finished} of {len(study.trials)} trials finished"
    if one.reason:
        return [f"{head}{trials}; no importances: {one.reason}"]
    width = max(len(name) for name in one.shares)
    lines = [f"{head}{trials}; the best {one.best} against the rest"]
    for name, part in one.shares.items():
        chance = f"not told from chance (as much in {100 * one.chance[name]:.0f} % of shuffled scores)"
        said = chance if one.chance[name] > limit else ""
        lines.append(f"  {name:{width}}  {100 * part:3.0f} %  {'#' * round(_BAR * part):{_BAR}}  {said}".rstrip())
    return lines


def _print_json(name: str, record: dict[str, object]) -> None:
    out(json.dumps({"version": JSON_VERSION, "sweep": name} | record, indent=1, sort_keys=True))


def _require(package: str, what: str) -> None:
    """Raises UsageError where the package is not installed; does not load it."""
    try:
        found = find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UsageError(f"tune {what} needs {package}: pip install 'sweepboard[tune]'")
