"""What the loop has claimed and not yet handed to a slot: jobs one by one, or bundles that one slot trains together.

Linear probes that differ in rate and decay alone cost little more together than one of them (workers.bundle). When the
first of a kind is claimed, others of that kind are claimed with it, in equal parts for all slots. A job is bundled
once: what comes back, for whatever reason, runs by itself the next time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from storage.records import EpochMetrics, Job, Lease
from storage.store import Entry, Store
from workers.bundle import MOST, kind_of

_LEAST = 8
"""Jobs that are not worth a part of their own."""


@dataclass
class InFlight:
    """A claimed job. `epochs`: those reported so far. `pruned`: it was asked to stop, and ends at the last of them.
    `begun`: its turn in its slot has come, as far as the store knows."""

    entry: Entry
    lease: Lease
    epochs: list[EpochMetrics] = field(default_factory=list)
    pruned: bool = False
    begun: bool = False

    @property
    def is_alone(self) -> bool:
        """Measurements run while nothing else does."""
        return bool(self.entry.resources.get("exclusive"))


class Claims:
    """Claims the jobs of one sweep; `only` restricts it to those ids. `waiting`: what goes to the next slots."""

    def __init__(self, store: Store, sweep: str, owner: str, only: Sequence[str] | None, ttl_s: float) -> None:
        self._store, self._sweep, self._owner, self._only, self._ttl_s = store, sweep, owner, only, ttl_s
        self._kinds: dict[str, dict[str, None]] = {}  # kind -> ids in order, of jobs that were not claimed yet
        self._slots = 1  # the most that were free at once
        self.waiting: list[list[InFlight]] = []

    def know(self, jobs: Iterable[Job]) -> None:
        """Take in jobs that may come to be claimed."""
        for job in jobs:
            kind = kind_of(job)
            if kind is not None:
                self._kinds.setdefault(kind, {})[job.job_id] = None

    def refill(self, free: int) -> None:
        """Claim for so many slots, unless something waits already."""
        if self.waiting:
            return
        self._slots = max(self._slots, free)
        firsts = self._claim(free, self._only)
        shares = [self._share(flight) for flight in firsts]
        self._forget(firsts)
        self.waiting = [[one, *self._beside(one, share - 1)] for one, share in zip(firsts, shares, strict=True)]

    @property
    def leases(self) -> list[Lease]:
        return [flight.lease for bundle in self.waiting for flight in bundle]

    def renewed(self, valid: Mapping[str, Lease]) -> None:
        """Keep what is still valid, with its new lease."""
        for bundle in self.waiting:
            for flight in bundle:
                flight.lease = valid.get(flight.lease.job_id, flight.lease)
            bundle[:] = [flight for flight in bundle if flight.lease.job_id in valid]
        self.waiting = [bundle for bundle in self.waiting if bundle]

    def _share(self, flight: InFlight) -> int:
        """How many jobs of its kind a slot gets: its part, also where other slots are busy just now. One that was
        claimed before has come back, and is by itself."""
        alike = self._alike(flight)
        if flight.entry.job.job_id not in alike:
            return 1
        return min(MOST, max(_LEAST, math.ceil(len(alike) / self._slots)))

    def _beside(self, flight: InFlight, most: int) -> list[InFlight]:
        alike = self._alike(flight)[: 2 * MOST]  # some of them may be somebody else's by now
        found = self._claim(most, alike) if most > 0 and alike else []
        self._forget(found)
        return found

    def _alike(self, flight: InFlight) -> list[str]:
        kind = kind_of(flight.entry.job)
        return [] if kind is None else list(self._kinds.get(kind, ()))

    def _claim(self, most: int, only: Sequence[str] | None) -> list[InFlight]:
        found = self._store.claim(self._sweep, self._owner, most, self._ttl_s, only)
        return [InFlight(entry, lease) for entry, lease in found]

    def _forget(self, flights: Iterable[InFlight]) -> None:
        for flight in flights:
            kind = kind_of(flight.entry.job)
            if kind is not None:
                self._kinds.get(kind, {}).pop(flight.entry.job.job_id, None)
