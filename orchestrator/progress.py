"""How far a sweep is: counts, the best so far of every row, and when it will be done."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from storage.records import PRIMARY, Job, Phase, Result, Status
from storage.store import Entry, JobState

_STUCK = frozenset({Status.FAILED, Status.CANCELLED, Status.HELD})
_SHOWN_REASONS = 5


@dataclass
class RowProgress:
    """One row of the live table. `scores`: top-1 (Dice of masks) in % of its finished jobs (test for final, val for
    search)."""

    total: int = 0
    done: int = 0
    failed: int = 0
    scores: list[float] = field(default_factory=list)

    @property
    def best(self) -> float | None:
        return max(self.scores, default=None)


@dataclass
class SweepProgress:
    """Kept up to date by the loop; drawn by whoever watches. Durations in seconds."""

    sweep: str
    rows: dict[str, RowProgress] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)  # job_id -> what it does just now
    already_done: int = 0
    retries: int = 0
    to_come: int = 0  # jobs that a search will add, as far as its budget tells
    _row_of: dict[str, str] = field(default_factory=dict)
    _walls_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _left: dict[str, str] = field(default_factory=dict)  # unfinished job_id -> cost group

    @classmethod
    def of(cls, sweep: str, states: Iterable[JobState]) -> SweepProgress:
        """Where the sweep stands, read from the store once."""
        progress = cls(sweep)
        for state in states:
            job_id = state.job.job_id
            row = row_title(state.job, state.row)
            progress._row_of[job_id] = row
            progress.rows.setdefault(row, RowProgress()).total += 1
            progress._left[job_id] = _cost_group(state.job)
            if state.status.is_finished:
                progress.finished(job_id, state.result or Result(job_id=job_id, status=state.status))
                progress.already_done += state.status is Status.DONE
        return progress

    def joined(self, entries: Iterable[Entry]) -> None:
        """Count jobs that came to the sweep while it ran."""
        for entry in entries:
            if entry.job.job_id not in self._row_of:
                row = row_title(entry.job, entry.row)
                self._row_of[entry.job.job_id] = row
                self.rows.setdefault(row, RowProgress()).total += 1
                self._left[entry.job.job_id] = _cost_group(entry.job)

    @property
    def total(self) -> int:
        return sum(row.total for row in self.rows.values()) + self.to_come

    @property
    def done(self) -> int:
        return sum(row.done for row in self.rows.values())

    @property
    def failed(self) -> int:
        return sum(row.failed for row in self.rows.values())

    def title_of(self, job_id: str) -> str:
        return self._row_of.get(job_id, job_id)

    def finished(self, job_id: str, result: Result) -> None:
        """Count a job's end."""
        row = self.rows[self._row_of[job_id]]
        self.running.pop(job_id, None)
        group = self._left.pop(job_id, "")
        if result.status in (Status.DONE, Status.PRUNED):
            row.done += 1
            scores = [f"{kind}_{name}" for kind in ("test", "val") for name in PRIMARY.values()]
            row.scores += [result.metrics[name] for name in scores if name in result.metrics][:1]
            if "wall_s" in result.metrics:
                self._walls_s[group].append(result.metrics["wall_s"])
        else:
            row.failed += 1

    def eta_s(self, slots: int) -> tuple[float, float] | None:
        """Seconds to go and their uncertainty (±), from the medians of finished jobs of the same cost; None if none is
        finished yet."""
        known = [wall_s for walls_s in self._walls_s.values() for wall_s in walls_s]
        if not known:
            return None
        overall = statistics.median(known)
        spread = statistics.pstdev(known)
        each = [
            statistics.median(self._walls_s[group]) if self._walls_s.get(group) else overall
            for group in self._left.values()
        ]
        each += [overall] * self.to_come
        unknown = self.to_come + sum(1 for group in self._left.values() if not self._walls_s.get(group))
        return sum(each) / slots, (unknown * spread + spread * len(each) ** 0.5) / slots


def waiting(states: Sequence[JobState]) -> list[str]:
    """Pending jobs whose parent, or the maker of what they need, will not be done by itself: one line per reason."""
    stuck = {state.job.job_id: state for state in states if state.status in _STUCK}
    makers = {state.job.makes.key_id: state for state in stuck.values() if state.job.makes is not None}
    found: Counter[tuple[str, Status]] = Counter()
    for state in states:
        if state.status is Status.PENDING:
            needed = [makers[key.key_id] for key in state.job.needs if key.key_id in makers]
            needed += [stuck[parent] for parent in (state.job.parent,) if parent in stuck]
            for one in needed[:1]:
                found[f"{one.job.phase} job {one.job.job_id}", one.status] += 1
    lines = [f"{number} wait for {name}, which is {status}" for (name, status), number in found.items()]
    more = len(lines) - _SHOWN_REASONS
    return [*lines[:_SHOWN_REASONS], *([f"… and {more} more such jobs are waited for"] if more > 0 else [])]


def row_title(job: Job, row: str) -> str:
    """The name of the job's row: prepare, evaluate and measure jobs are kept apart from the rows they serve."""
    if job.phase is Phase.MEASURE:
        return "measure speed and memory"
    title = row or job.stack
    if job.phase is Phase.EVALUATE:
        return f"evaluate {title}"
    return f"prepare {job.makes.kind}" if job.phase is Phase.PREPARE and job.makes else title


def _cost_group(job: Job) -> str:
    return f"{job.phase}/{job.stack}/{job.backbone.name}/{job.dataset.name}"
