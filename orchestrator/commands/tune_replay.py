"""`sweepboard tune replay`: samplers, pruners and budgets compared on recorded trials, in seconds. Trains nothing and
writes no store."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

from methods.params import did_you_mean
from orchestrator.catalogue import installed_catalogue
from orchestrator.commands.tune_choice import is_narrow, narrowed, pick_searched
from orchestrator.errors import EXIT_OK, NothingToShow, UsageError
from orchestrator.plan import plan
from orchestrator.session import Session, note, open_session, out
from orchestrator.spec import DEFAULT_TRIALS, Tune, parse_spec
from orchestrator.tuning.cells import Cell
from orchestrator.tuning.replay_report import compared, compared_lines, table_lines
from orchestrator.tuning.tables import Table, load_table, recorded_table, save_table

JSON_VERSION = 1
SAMPLERS = ("tpe", "random", "grid", "nsga2")
PRUNERS = ("none", "median", "successive_halving", "hyperband")
_MOST = 100_000  # trials of a replay, and seeds
_MOST_TIMES = 10  # the recorded time: who has more can run all of the table


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The words of `tune replay`, beside those of the other things that `tune` does."""
    group = command.add_argument_group("replay", "compare ways to search on trials recorded without a pruner")
    group.add_argument("--table", type=Path, metavar="FILE", help="a saved table, in the place of a sweep")
    group.add_argument("--save", type=Path, metavar="FILE", help="write the study's table (.jsonl), replay nothing")
    group.add_argument("--sampler", metavar="A,B", help=f"{', '.join(SAMPLERS)} (default tpe)")
    group.add_argument("--pruner", metavar="A,B", help=f"{', '.join(PRUNERS)} (default median)")
    group.add_argument(
        "--trials", metavar="N,M", help=f"budgets in trials (default {DEFAULT_TRIALS}, where there are no hours)"
    )
    group.add_argument("--hours", metavar="H,I", help="budgets in hours of slots, as recorded")
    group.add_argument("--seeds", metavar="N", help="searches of each kind (default 20)")
    group.add_argument("--parallel", metavar="N", help="trials at a time (default 1)")
    group.add_argument("--slots", metavar="N", help="slots (default: as many as trials at a time)")


def run_replay(args: argparse.Namespace) -> int:
    """Raises UsageError with what cannot be replayed."""
    ways = _ways(args)
    seeds = range(_number("--seeds", args.seeds or "20"))
    slots = _number("--slots", args.slots or args.parallel or "1")
    tables = _tables(args)
    if args.save is not None:
        return _save(args, tables)
    for table in tables:
        _refuse(table, ways)
    records = []
    for table in tables:
        found = [compared(table, tune, seeds, slots) for tune in _bounded(table, ways)]
        if args.json:
            head = {"study": table.study, "row": table.row, "backbone": table.backbone, "dataset": table.dataset}
            records.append({**head, "slots": slots, "searches": [one.to_json() for one in found]})
        else:
            out("\n".join([*table_lines(table), *compared_lines(table, found)]))
    if args.json:
        out(json.dumps({"version": JSON_VERSION, "studies": records}, indent=1, sort_keys=True))
    return EXIT_OK


def _save(args: argparse.Namespace, tables: list[Table]) -> int:
    if len(tables) > 1:
        named = ", ".join(f"{one.study} ({one.dataset})" for one in tables)
        raise UsageError(f"--save writes one study, and there are {named}: give --study or --dataset")
    if args.save.suffix != ".jsonl":
        raise UsageError(f"--save {args.save}: a table's file ends in .jsonl")
    (table,) = tables
    save_table(table, args.save)
    note(f"{args.save}: {len(table.trials)} trials; sweepboard tune replay --table {args.save}")
    return EXIT_OK


def _tables(args: argparse.Namespace) -> list[Table]:
    if args.table is not None:
        if args.sweep or is_narrow(args):
            raise UsageError("--table is a study by itself; leave out the sweep and what chooses one of it")
        return [load_table(args.table)]
    with open_session(args) as session:
        name = pick_searched(session, args.sweep)
        cells = _recorded_cells(session, name)
        if not cells:
            raise NothingToShow(f"{name} has no trials to replay; `tune:` in its spec makes a search (TUNING.md)")
        chosen = narrowed(name, [(_names(cell), cell) for cell in cells], args)
        return [recorded_table(session.store, cell) for cell in chosen]


def _recorded_cells(session: Session, name: str) -> list[Cell]:
    """Those of the sweep's plan that have a study; a sweep without any study is not planned."""
    recorded = set(session.store.studies(name))
    if not recorded:
        return []
    catalogue = installed_catalogue(session.data_root, session.cache, weights_root=session.weights_root)
    cells = plan(parse_spec(session.store.spec(name), name), catalogue).cells
    return [cell for cell in cells if cell.is_resolved and cell.study in recorded]


def _names(cell: Cell) -> dict[str, str]:
    point = cell.point
    return {
        "row": cell.row,
        "backbone": point.backbone.ref.name,
        "dataset": point.dataset.name,
        "study": cell.study,
    }


def _ways(args: argparse.Namespace) -> list[Tune]:
    samplers = _words("--sampler", args.sampler or "tpe", SAMPLERS)
    pruners = _words("--pruner", args.pruner or "median", PRUNERS)
    budgets: list[tuple[int | None, float | None]] = [(None, hours) for hours in _hours(args.hours)]
    trials = args.trials or ("" if budgets else str(DEFAULT_TRIALS))
    budgets = [(_number("--trials", text), None) for text in trials.split(",") if trials] + budgets
    parallel = _number("--parallel", args.parallel or "1")
    return [
        Tune(trials, {}, sampler, pruner, hours, parallel)
        for sampler, pruner, (trials, hours) in product(samplers, pruners, budgets)
    ]


def _bounded(table: Table, ways: list[Tune]) -> list[Tune]:
    """With the constraint under which the table was recorded."""
    return [replace(one, space=table.space, constraint=table.constraint) for one in ways]


def _refuse(table: Table, ways: list[Tune]) -> None:
    continuous = [name for name, domain in table.space.items() if domain.kind not in ("int", "choice")]
    if continuous and any(one.sampler == "grid" for one in ways):
        raise UsageError(f"--sampler grid: {', '.join(continuous)} of {table.dataset} is continuous; leave grid out")
    recorded = sum(one.wall_s for one in table.trials) / 3600
    hours = max((one.hours for one in ways if one.hours is not None), default=0.0)
    if hours > _MOST_TIMES * recorded:
        text = (
            f"all trials of {table.dataset} together took {recorded:.2g}; expected at most {_MOST_TIMES} times as many"
        )
        raise UsageError(f"--hours {hours:g}: {text}")


def _words(flag: str, text: str, known: tuple[str, ...]) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise UsageError(f"{flag} {text}: {word!r} is none of {', '.join(known)}.{did_you_mean(word, known)}")
    return words


def _hours(text: str | None) -> list[float]:
    if text is None:
        return []
    try:
        hours = [float(word) for word in text.split(",")]
    except ValueError:
        hours = [0.0]
    if not all(0 < one <= _MOST for one in hours):
        raise UsageError(f"--hours {text}: expected hours above 0, such as 0.5,2")
    return hours


def _number(flag: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST:
        raise UsageError(f"{flag} {text}: expected a whole number from 1 to {_MOST:,}")
    return number
