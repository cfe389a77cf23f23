"""`sweepboard tune`: what the searches of a sweep have tried, and what they chose. Reads the store; loads
neither Optuna nor matplotlib but for importances, exports and figures (`tune_looks`).

Exit codes: 0 done; 2 no such sweep or study, or what cannot be done with it; 4 there is nothing to show yet: no sweep
at all, or none of its jobs belongs to a search.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.commands.tune_choice import add_choice, named, narrowed, pick_searched, refuse_strays
from orchestrator.commands.tune_looks import LOOKS
from orchestrator.commands.tune_replay import add_arguments, run_replay
from orchestrator.errors import EXIT_OK, NothingToShow
from orchestrator.report.table import compact, one_line
from orchestrator.session import add_command, add_home_argument, note, open_session, out
from orchestrator.tuning.freezing import frozen_recipe, write_recipe
from orchestrator.tuning.outcomes import LOSS, SCORE
from orchestrator.tuning.report import StudyReport, TrialReport, study_reports, totals
from orchestrator.tuning.study_record import study_records
from orchestrator.tuning.warm import WARM

JSON_VERSION = 1
_LONGEST = 80  # of a reason, in characters


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "tune", run, "what the searches of a sweep have tried, and what they chose")
    command.add_argument(
        "what",
        choices=["show", "best", "freeze", "replay", *LOOKS],
        help="show: every trial; best: the values of every cell; freeze: those as a recipe that a spec can name; "
        "replay: other ways to search, compared on its trials; importance: what each parameter decided; "
        "export: an Optuna database; plot: figures",
    )
    command.add_argument("sweep", nargs="?", help="name of the sweep (default: the latest)")
    command.add_argument("--json", action="store_true", help="machine-readable")
    command.add_argument(
        "--trial",
        action="append",
        default=[],
        metavar="[DATASET=]N",
        help="freeze: this point of the front, where there are several objectives; once per data set",
    )
    command.add_argument(
        "--to",
        type=Path,
        metavar="PATH",
        help="freeze: write there (.yaml), not to stdout; export: the file (.db); plot: the folder",
    )
    add_choice(command)
    add_arguments(command)
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    refuse_strays(args)
    if args.what == "replay":
        return run_replay(args)
    with open_session(args) as session:
        name = pick_searched(session, args.sweep)
        reports = study_reports(session.store, name)
        if not reports:
            raise NothingToShow(f"{name} has no trials; `tune:` in its spec makes a search (TUNING.md)")
        reports = narrowed(name, [(named(one), one) for one in reports], args)
        if args.what in LOOKS:
            records = study_records(session.store, name)
            chosen = narrowed(name, [(named(one.report), one) for one in records], args)
            return LOOKS[args.what](session, name, chosen, args)
    if args.what == "freeze":
        return _freeze(args, name, reports)
    if args.json:
        out(json.dumps(_record(name, reports, args.what), indent=1, sort_keys=True))
        return EXIT_OK
    text: Callable[[StudyReport], list[str]] = _every_trial if args.what == "show" else _best
    out("\n".join([line for report in reports for line in text(report)] + [totals(reports)]))
    return EXIT_OK


def _freeze(args: argparse.Namespace, name: str, reports: list[StudyReport]) -> int:
    text = frozen_recipe(name, reports, args.trial)
    if args.to is None:
        out(json.dumps(yaml.safe_load(text), indent=1) if args.json else text.rstrip("\n"))
        return EXIT_OK
    write_recipe(text, args.to)
    note(f"{args.to}: name it in a spec beside it, `recipe: {args.to.name}`")
    return EXIT_OK


def _record(name: str, reports: list[StudyReport], what: str) -> dict[str, Any]:
    studies = [report.to_json() for report in reports]
    if what == "best":
        studies = [{key: value for key, value in study.items() if key != "trials"} for study in studies]
    return {"version": JSON_VERSION, "sweep": name, "studies": studies}


def _every_trial(report: StudyReport) -> list[str]:
    lines = [f"{report.row}  {report.backbone}  {report.dataset}  (study {report.study})"]
    for one in report.trials:
        mark = "*" if any(one.trial.number == best.number for best in report.front) else " "
        said = f"{_params(one)}{_origin(one)}{_reason(one)}"
        lines.append(f" {mark}{one.trial.number:4d}  {_end(one, report.objectives):24}  {said}")
    nothing = [f"  over: {report.found_nothing}"] if report.found_nothing else []
    return [*lines, *_front_words(report), *_ties(report), *nothing]


def _best(report: StudyReport) -> list[str]:
    head = f"{report.row}  {report.backbone}  {report.dataset}: "
    if report.best is None:
        why = report.found_nothing
        return [f"{head}the search is over, and {why}" if why else f"{head}no trial has brought values yet"]
    best = report.trials[report.best.number]
    state = "" if report.chosen is not None else ", the search goes on"
    if report.has_front:
        points = [report.trials[one.number] for one in report.front]
        return [
            f"{head}a front of {_counted(len(points), 'trial')} of {len(report.trials)}{state}",
            *(f"  {one.trial.number:4d}  {_end(one, report.objectives)}  {_params(one)}" for one in points),
            *_ties(report),
        ]
    end = _end(best, report.objectives)
    return [
        f"{head}{_params(best)}  ({end}, trial {best.trial.number} of {len(report.trials)}{state})",
        *_ties(report),
    ]


def _front_words(report: StudyReport) -> list[str]:
    if not report.has_front:
        return []
    return [
        f"  * the front: no other trial is as good in all of {', '.join(report.named_objectives)} and better in one"
    ]


def _ties(report: StudyReport) -> list[str]:
    alike = f"the {' and '.join(report.named_objectives)} of"
    rule = "taken by loss, trained values, number"
    return [
        f"  tie: trial {one.number} has {alike} {', '.join(map(str, one.tied))}; {rule}"
        for one in report.front
        if one.tied
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _end(one: TrialReport, objectives: Sequence[str]) -> str:
    metrics = one.outcome.metrics if one.outcome is not None else {}
    if one.outcome is not None and one.outcome.score is not None:
        costs = "".join(f" {name} {compact(metrics[name])}" for name in objectives if name in metrics and name != SCORE)
        loss = f" loss {metrics[LOSS]:.3f}" if LOSS in metrics else ""
        breaks = "" if one.outcome.is_feasible else " over its bound"
        return f"val {one.outcome.score:.1f} %{loss}{costs}{breaks}"
    if one.pruned_after is None:
        return one.state
    late = f", trained {one.epochs}" if one.epochs > one.pruned_after else ""
    return f"pruned {one.pruned_after}/{one.planned} epochs{late}"


def _origin(one: TrialReport) -> str:
    warm = one.trial.attrs.get(WARM)
    return "" if warm is None else f"  (from {warm['dataset']}, trial {warm['trial']})"


def _reason(one: TrialReport) -> str:
    """In short: the plot page and `--json` have all of it."""
    text = one_line(one.reason)
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"  ({short})" if short else ""


def _params(one: TrialReport) -> str:
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in one.trial.params.items()
    )
