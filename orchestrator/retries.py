"""Attempts that brought no result: which are tried again, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.policy import POLICY, pause_s
from storage.records import Failure, Lease
from storage.store import Store


@dataclass
class Retries:
    """Counts failures and keeps the leases that wait. Times in seconds of the loop's clock."""

    store: Store
    _paused: list[tuple[float, Lease]] = field(default_factory=list)
    _uncounted: Counter[str] = field(default_factory=Counter)

    def wait_s(self, job_id: str, failure: Failure) -> float | None:
        """How long to wait before the next attempt, after one more failure; None when there is to be none."""
        rule = POLICY[failure.failure_class]
        self._uncounted[job_id] += 1
        counted = self.store.counted_failures(job_id) + 1 if rule.counted else self._uncounted[job_id]
        return pause_s(failure.failure_class, counted)

    def pause(self, lease: Lease, until_s: float) -> None:
        self._paused.append((until_s, lease))

    def due(self, now_s: float) -> list[Lease]:
        """Leases whose pause is over; they are no longer kept here."""
        due = [lease for wake_s, lease in self._paused if wake_s <= now_s]
        self._paused = [item for item in self._paused if item[0] > now_s]
        return due

    @property
    def leases(self) -> list[Lease]:
        return [lease for _, lease in self._paused]

    def renewed(self, valid: Mapping[str, Lease]) -> None:
        """Keep the leases that are still valid, in their new form."""
        self._paused = [(wake_s, valid[lease.job_id]) for wake_s, lease in self._paused if lease.job_id in valid]
