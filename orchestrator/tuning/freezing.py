"""What a search chose, as a recipe file that a spec can name (`recipe: mine.yaml`): one row per data set."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from orchestrator.errors import UsageError
from orchestrator.tuning.cells import TRAIN
from orchestrator.tuning.outcomes import SCORE
from orchestrator.tuning.report import StudyReport


def frozen_recipe(sweep: str, reports: Sequence[StudyReport], row: str | None, backbone: str | None) -> str:
    """The file's text. Raises UsageError where more than one row or backbone is left, or a search is not over."""
    chosen = [one for one in reports if row in (None, one.row) and backbone in (None, one.backbone)]
    if not chosen:
        known = sorted({f"{one.row} on {one.backbone}" for one in reports})
        raise UsageError(f"{sweep} has no search of that row and backbone; it has {', '.join(known)}")
    problems = []
    for flag, found in (("--row", {one.row for one in chosen}), ("--backbone", {one.backbone for one in chosen})):
        if len(found) > 1:
            problems.append(
                f"a recipe has one value per data set, and there are {', '.join(sorted(found))}: give {flag}"
            )
    if not problems:  # of one row, or this would list what was not asked for
        open_ones = sorted(one.dataset for one in chosen if one.chosen is None)
        problems += [f"the search on {', '.join(open_ones)} is not over: run the spec again"] if open_ones else []
    if problems:
        raise UsageError("; ".join(problems))
    return _text(sweep, chosen)


def _text(sweep: str, chosen: Sequence[StudyReport]) -> str:
    first = chosen[0]
    tasks = {one.dataset: {_key(name): value for name, value in _values(one).items()} for one in chosen}
    record = {
        "source": f"search of sweep {sweep}, row {first.row} on {first.backbone}: sweepboard tune freeze",
        "notes": [
            f"{one.dataset}: trial {one.chosen} of {len(one.trials)}, study {one.study}, {SCORE} {_score(one):.1f}"
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
    return float("nan") if outcome is None else outcome.score


def _key(name: str) -> str:
    """As a recipe's row has it: fields of the training recipe without an owner."""
    return name.removeprefix(f"{TRAIN}.")
