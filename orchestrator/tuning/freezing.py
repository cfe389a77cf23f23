"""What a search chose, as a recipe file that a spec can name (`recipe: mine.yaml`): one row per data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from orchestrator.errors import UsageError
from orchestrator.recipe_files import parse_recipe
from orchestrator.tuning.cells import TRAIN
from orchestrator.tuning.report import StudyReport
from storage.records.whole import write_whole

_SOURCE = ("search of sweep ", ": sweepboard tune freeze")
"""How the source of every recipe begins and ends that a search was frozen to."""


def frozen_recipe(sweep: str, reports: Sequence[StudyReport], trials: Sequence[str] = ()) -> str:
    """The file's text. `trials`: of each front one, written `N`, or `DATASET=N` where there are several data sets.

    Raises UsageError where more than one row, backbone or point of a front is left, or a search is not over."""
    problems = []
    for flag, found in (("--row", {one.row for one in reports}), ("--backbone", {one.backbone for one in reports})):
        if len(found) > 1:
            problems.append(
                f"a recipe has one value per data set, and there are {', '.join(sorted(found))}: give {flag}"
            )
    if not problems:  # of one row, or this would list what was not asked for
        problems += [
            f"the search on {one.dataset} is over, and {one.found_nothing}" for one in reports if one.found_nothing
        ]
        open_ones = sorted(one.dataset for one in reports if one.chosen is None and not one.found_nothing)
        problems += [f"the search on {', '.join(open_ones)} is not over: run the spec again"] if open_ones else []
    if problems:
        raise UsageError("; ".join(problems))
    return _text(sweep, _picked(reports, trials))


def write_recipe(text: str, file: Path) -> None:
    """Write the recipe whole, or leave what was there. Raises UsageError where the file is somebody else's or cannot be
    written."""
    if file.suffix != ".yaml":
        raise UsageError(f"--to {file}: a recipe's file ends in .yaml")
    try:
        if file.exists() and not _is_ours(file.read_text(encoding="utf-8", errors="replace")):
            raise UsageError(
                f"--to {file} exists and is no earlier freeze of ours; choose another name, or move it away"
            )
        write_whole(file, text)
    except OSError as error:
        raise UsageError(f"--to {file} cannot be written ({error.strerror}); choose another place") from None


def _is_ours(text: str) -> bool:
    """Whether a search was frozen to the file and nobody has made a recipe of their own of it since."""
    found, problems = parse_recipe(text, "")
    begins, ends = _SOURCE
    is_named = found.source.startswith(begins) and found.source.endswith(ends)
    return is_named and not (problems or found.train or found.methods)


def _picked(reports: Sequence[StudyReport], trials: Sequence[str]) -> list[StudyReport]:
    """With the trials asked for as the chosen ones. Raises UsageError with every front of which none was asked for."""
    asked = [(dataset, number) for dataset, _, number in (text.rpartition("=") for text in trials)]
    fronts = {report.dataset: report.front for report in reports if report.has_front}
    problems = [
        f"--trial {dataset}={number}: there is no front of that data set"
        if dataset
        else f"--trial {number} takes a point of a front, and this search had one objective: leave it out for its best"
        for dataset, number in asked
        if not any(_is_of(dataset, name) for name in fronts)
    ]
    picked = []
    for report in reports:
        numbers = {number for dataset, number in asked if _is_of(dataset, report.dataset)}
        point = next((one for one in report.front if numbers == {str(one.number)}), None)
        if not report.has_front or point is None:
            picked.append(report)
            problems += [f"choose one trial of the front on {report.dataset}, {_choices(report)}"] * report.has_front
        else:
            picked.append(replace(report, best=point, chosen=point.number))
    if problems:
        raise UsageError("\n".join(problems))
    return picked


def _is_of(asked: str, dataset: str) -> bool:
    """Data sets are named in full, without their suite, or not at all where there is one."""
    return asked in ("", dataset, dataset.rpartition("/")[2])


def _choices(report: StudyReport) -> str:
    short = report.dataset.rpartition("/")[2]
    outcomes = [(one.number, report.trials[one.number].outcome) for one in report.front]
    names = report.named_objectives
    values = [
        f"{short}={number} ({', '.join(f'{name} {value:.4g}' for name, value in zip(names, reached, strict=True))})"
        for number, outcome in outcomes
        if outcome is not None and (reached := outcome.values(report.objectives)) is not None
    ]
    return f"--trial {' or '.join(values)}"


def _text(sweep: str, chosen: Sequence[StudyReport]) -> str:
    first, (begins, ends) = chosen[0], _SOURCE
    tasks = {one.dataset: {_key(name): value for name, value in _values(one).items()} for one in chosen}
    record = {
        "source": f"{begins}{sweep}, row {first.row} on {first.backbone}{ends}",
        "notes": [
            f"{one.dataset}: trial {one.chosen} of {len(one.trials)}, study {one.study}, {one.score} {_score(one):.1f}"
            + (f", tied with {len(one.best.tied)} others" if one.best and one.best.tied else "")
            for one in chosen
        ],
        "tasks": tasks,
    }
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)


def _values(one: StudyReport) -> dict[str, object]:
    return {} if one.chosen is None else dict(one.trials[one.chosen].trial.params)


def _score(one: StudyReport) -> float:
    outcome = None if one.chosen is None else one.trials[one.chosen].outcome
    return float("nan") if outcome is None or outcome.score is None else outcome.score


def _key(name: str) -> str:
    """As a recipe's row has it: fields of the training recipe without an owner."""
    return name.removeprefix(f"{TRAIN}.")
