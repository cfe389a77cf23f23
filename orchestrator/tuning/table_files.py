"""A table's file, line by line, and everything that is wrong with it: it may have been edited, or be none at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from methods.api import Domain
from orchestrator.errors import UsageError
from orchestrator.spec_schema import CONSTRAINED, TuneFile
from orchestrator.tuning.outcomes import DIVERGED, DONE, FAILED, LOSS, SCORE
from orchestrator.tuning.spaces import holds

VERSION = 1
REFUSED = "refused"
_ENDS = (DONE, DIVERGED, FAILED, REFUSED)
_HEAD = ("sweepboard_table", "study", "row", "backbone", "dataset", "epochs", "space", "constraint", "bound", "fixed")
_NAMES = ("study", "row", "backbone", "dataset")
_TRIAL = ("params", "end")
_RAN = ("wall_s", "metrics", "epoch", "epoch_s")
_LARGEST = 2.0**53  # of any number in a table: beyond, a float does not count
_PERCENT = "a number from 0 to 100"
_SHOWN = 20
_LONGEST = 200  # of what is said of one problem, in characters

Record = Mapping[str, Any]


def table_records(path: Path) -> tuple[Record, dict[str, Domain], list[Record]]:
    """What the file says of the study, its space, and its trials, as `save_table` writes them.

    Raises UsageError with all that is not so, each with its line."""
    try:
        first, *rest = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--table {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    head, wrong = _record(first, _HEAD)
    if wrong:
        raise _refusal(path, [(1, wrong)])
    if head["sweepboard_table"] != VERSION:
        text = f"sweepboard_table is {_shown(head['sweepboard_table'])}, and this Sweepboard reads {VERSION}"
        raise _refusal(path, [(1, text)])
    space, found = _space(head["space"])
    found += [] if rest else ["has no trial after it; a replay answers searches from recorded ones"]
    problems = [(1, text) for text in (*_of_head(head), *found)]
    trials = []
    for number, line in enumerate(rest, start=2):
        trial, wrong = _record(line, _TRIAL)
        problems += [(number, text) for text in ([wrong] if wrong else _of_trial(trial, space))]
        trials.append(trial)
    if problems:
        raise _refusal(path, problems)
    return head, space, trials


def is_table(path: Path) -> bool:
    """Whether the file begins as a table does, of whatever version. Raises OSError."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return not _record(file.readline(), _HEAD[:1])[1]


def _refusal(path: Path, problems: Sequence[tuple[int, str]]) -> UsageError:
    count, left = len(problems), len(problems) - _SHOWN
    lines = [
        f"--table {path} has {count} problem{'s' if count != 1 else ''}; `sweepboard tune replay SWEEP --save "
        "FILE.jsonl` writes a table:"
    ]
    lines += [f"  line {number}: {_cut(text, _LONGEST)}" for number, text in problems[:_SHOWN]]
    return UsageError("\n".join([*lines, *([f"  … and {left} more"] if left > 0 else [])]))


def _record(line: str, keys: Sequence[str]) -> tuple[Record, str]:
    """The line's JSON object; or nothing, and why it is none of a table."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"is no table of recorded trials: no JSON ({getattr(error, 'msg', error)})"
    if not isinstance(record, dict):
        return {}, f"is no table of recorded trials: {_shown(record)} has no keys"
    missing = [key for key in keys if key not in record]
    return record, f"is no table of recorded trials: lacks {', '.join(missing)}" if missing else ""


def _of_head(head: Record) -> Iterator[str]:
    for name in _NAMES:
        if not isinstance(head[name], str) or not head[name]:
            yield f"{name} is {_shown(head[name])}; expected text"
    if not _is_whole(head["epochs"]):
        yield f"epochs is {_shown(head['epochs'])}; expected a whole number of at least 1"
    try:
        json.dumps(head["fixed"], allow_nan=False)  # a study is named by it
    except ValueError:
        yield "fixed has a number that is not finite"
    for name in ("constraint", "bound"):
        if head[name] is not None and not _is_bound(head[name]):
            metrics = " or ".join(f'["{metric}", 1000]' for metric in CONSTRAINED)
            yield f"{name} is {_shown(head[name])}; expected null or {metrics}, the number above 0"
    if (head["constraint"] is None) != (head["bound"] is None):
        yield "constraint and bound say the same in two units; expected both or none"


def _space(space: Any) -> tuple[dict[str, Domain], list[str]]:
    """The domains that are as a spec may have them, and what is wrong with the others."""
    if not isinstance(space, dict) or not space:
        return {}, [f"space is {_shown(space)}; expected a domain of every parameter"]
    wrong: dict[Any, str] = {
        name: f"space.{name} is {_shown(one)}; expected finite numbers, up to {_LARGEST:.0f}"
        for name, one in space.items()
        if not _is_finite(one)
    }
    left = {name: one for name, one in space.items() if name not in wrong}
    try:
        TuneFile.model_validate({"space": left})
    except ValidationError as error:
        wrong |= {detail["loc"][1]: f"space.{detail['loc'][1]} {detail['msg']}" for detail in error.errors()}
    kept = {name: one for name, one in left.items() if name not in wrong}
    return dict(TuneFile.model_validate({"space": kept}).space), list(wrong.values())


def _of_trial(trial: Record, space: Mapping[str, Domain]) -> Iterator[str]:
    params, end = trial["params"], trial["end"]
    if isinstance(params, dict):
        yield from (text for name, domain in space.items() if (text := _of_value(params, name, domain)))
    else:
        yield f"params is {_shown(params)}; expected a value of every parameter"
    if end not in _ENDS:
        yield f"end is {_shown(end)}; expected one of {', '.join(_ENDS)}"
    elif end == REFUSED:
        if not isinstance(trial.get("refusal"), str) or not trial["refusal"]:
            yield f"refusal is {_shown(trial.get('refusal'))}; expected why it was refused"
    elif missing := [name for name in _RAN if name not in trial]:
        yield f"lacks {', '.join(missing)}"
    else:
        yield from _of_run(trial)


def _of_value(params: Record, name: str, domain: Domain) -> str:
    if name not in params:
        return f"params lacks {name}"
    if holds(domain, [params[name]]):
        return ""
    return f"params.{name} is {_shown(params[name])}; expected {domain.kind}: {list(domain.values)}"


def _of_run(trial: Record) -> Iterator[str]:
    if not _is_number(trial["wall_s"], 0):
        yield f"wall_s is {_shown(trial['wall_s'])}; expected seconds, from 0"
    metrics = trial["metrics"]
    if not isinstance(metrics, dict):
        yield f"metrics is {_shown(metrics)}; expected a number of every metric"
        metrics = {}
    elif trial["end"] == DONE and SCORE not in metrics:
        yield f"metrics lacks {SCORE}, and the end is {DONE}"
    for name, value in metrics.items():
        if not (_is_score(value) if name == SCORE else _is_number(value)):
            yield f"metrics.{name} is {_shown(value)}; expected {_PERCENT if name == SCORE else 'a number'}"
    yield from _of_curve(trial)


def _of_curve(trial: Record) -> Iterator[str]:
    if trial["epoch"] and SCORE not in trial:
        yield f"lacks {SCORE} by epoch"
    for name, (fits, expected) in _COLUMNS.items():
        column = trial.get(name, [])
        if not isinstance(column, list) or not all(map(fits, column)):
            yield f"{name} is {_shown(column)}; expected a list: {expected}"
        elif name in trial and isinstance(trial["epoch"], list) and len(column) != len(trial["epoch"]):
            yield f"{name} has {len(column)} values, and epoch {len(trial['epoch'])}; expected as many"
        elif name in _RISING and column != sorted(set(column) if name == "epoch" else column):
            yield f"{name} is {_shown(column)}; expected {expected}"


def _is_finite(domain: Any) -> bool:
    """A spec's reader lets no other number through to the rules of domains."""
    lists = [values for values in domain.values() if isinstance(values, list)] if isinstance(domain, dict) else []
    return all(_is_number(value) for values in lists for value in values if type(value) in (int, float))


def _is_bound(value: Any) -> bool:
    """A metric that a spec may constrain, and a number above 0."""
    is_pair = isinstance(value, list) and len(value) == 2 and value[0] in CONSTRAINED
    return is_pair and _is_number(value[1], 0) and value[1] > 0


def _is_number(value: Any, low: float = -_LARGEST, high: float = _LARGEST) -> bool:
    """Neither NaN nor infinite, nor what JSON calls true."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_score(value: Any) -> bool:
    return _is_number(value, 0, 100)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value, 1)


def _shown(value: Any) -> str:
    return _cut(repr(value), 60)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


_RISING = ("epoch", "epoch_s")
_COLUMNS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "epoch": (_is_whole, "whole numbers from 1, rising"),
    "epoch_s": (lambda value: _is_number(value, 0), "seconds from 0, none below the one before it"),
    SCORE: (_is_score, f"{_PERCENT} of every epoch"),
    LOSS: (_is_number, "a number of every epoch"),
}
