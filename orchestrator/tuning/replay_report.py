"""What replayed searches came to, over many seeds: for `tune replay`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.report.tuned import chosen_text
from orchestrator.spec import Tune
from orchestrator.tuning.optuna_study import grid_size
from orchestrator.tuning.replay import Replayed, TableCell, replay
from orchestrator.tuning.tables import Table

_HEAD = ("sampler", "pruner", "budget", "median", "p90", "within 1", "distinct", "epochs", "hours")
_WIDTHS = (8, 18, 6, 7, 6, 9, 9, 8, 8)


@dataclass(frozen=True)
class Compared:
    """One way to search, over all seeds; medians, but for `regret_p90_points` and `within_one` (share of the seeds that
    end at most one validation image below the table's best; half a point where the table does not tell).

    `epochs_pct`: epochs trained, of those of the whole table. Infinite regret: nothing was found.
    """

    tune: Tune
    seeds: int
    regret_points: float
    regret_p90_points: float
    within_one: float
    jobs: float
    pruned: float
    epochs_pct: float
    virtual_hours: float

    def to_json(self) -> dict[str, Any]:
        return {
            "sampler": self.tune.sampler,
            "pruner": self.tune.pruner,
            "trials": self.tune.trials,
            "slot_hours": self.tune.hours,
            "parallel": self.tune.parallel,
            "seeds": self.seeds,
            "regret_points": _finite(self.regret_points),
            "regret_p90_points": _finite(self.regret_p90_points),
            "within_one_image": self.within_one,
            "distinct_trials": self.jobs,
            "pruned": self.pruned,
            "epochs_pct_of_table": self.epochs_pct,
            "virtual_hours": self.virtual_hours,
        }


def compared(table: Table, tune: Tune, seeds: Iterable[int], slots: int = 1) -> Compared:
    """Replay the same search with each seed."""
    return summary(table, tune, [replay(TableCell(table, tune, seed), slots) for seed in seeds])


def summary(table: Table, tune: Tune, runs: Sequence[Replayed]) -> Compared:
    regrets = sorted(run.regret_points for run in runs)
    step = table.image_points or 0.5
    return Compared(
        tune,
        len(runs),
        statistics.median_low(regrets),
        regrets[math.ceil(0.9 * len(regrets)) - 1],
        sum(regret <= step + 1e-9 for regret in regrets) / len(runs),
        statistics.median(run.jobs for run in runs),
        statistics.median(run.pruned for run in runs),
        100 * statistics.median(run.epochs for run in runs) / max(1, table.epochs_trained),
        statistics.median(run.virtual_s for run in runs) / 3600,
    )


def table_lines(table: Table) -> list[str]:
    """What is replayed, for people."""
    best = table.trials[table.best.number]
    values = " ".join(f"{name}={chosen_text(value)}" for name, value in best.params.items())
    image = table.image_points
    lines = [
        f"{table.row}  {table.backbone}  {table.dataset}  (study {table.study}): {len(table.trials)} recorded trials, "
        f"{table.epochs_trained} epochs; best val {table.outcomes[table.best.number].score:.1f} % at {values}",
        "  regret: validation images below that" if image else "  regret: points of accuracy below that",
    ]
    if not _is_whole(table):
        lines.append("  values that were not recorded are answered by the nearest recorded trial")
    return lines


def compared_lines(table: Table, found: Iterable[Compared]) -> list[str]:
    """One line per way to search."""
    step = table.image_points or 1.0
    lines = [_line(_HEAD)]
    for one in found:
        regrets = [_regret(value, step) for value in (one.regret_points, one.regret_p90_points)]
        counts = (f"{100 * one.within_one:.0f} %", f"{one.jobs:g}", f"{one.epochs_pct:.0f} %")
        budget = f"{one.tune.hours:g} h" if one.tune.trials is None else str(one.tune.trials)
        way = (one.tune.sampler, one.tune.pruner, budget)
        lines.append(_line((*way, *regrets, *counts, f"{one.virtual_hours:.2f}")))
    return lines


def _regret(points: float, step: float) -> str:
    return f"{points / step:.3g}" if math.isfinite(points) else "none"


def _line(words: Sequence[str]) -> str:
    named, numbers = zip(words[:2], _WIDTHS, strict=False), zip(words[2:], _WIDTHS[2:], strict=True)
    cells = [*(word.ljust(width) for word, width in named), *(word.rjust(width) for word, width in numbers)]
    return "  " + " ".join(cells)


def _is_whole(table: Table) -> bool:
    """Whether every point of the space was recorded."""
    if any(domain.kind not in ("int", "choice") for domain in table.space.values()):
        return False
    return len({tuple(one.params[name] for name in table.space) for one in table.trials}) == grid_size(table.space)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
