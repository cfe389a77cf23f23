"""What the parts of the contract share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from storage.records import Job, Lease
from storage.store import Entry, Store
from storage.testing.samples import VirtualClock, entries_of

Connect = Callable[[], Store]


class StoreFixtures:
    """A store with virtual time. Implementers override `connect`."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def connect(self, clock: VirtualClock) -> Connect:
        """Each call gives a store on one and the same database, empty at first, that tells time by `clock`."""
        pytest.fail("a contract's subclass gives the fixture `connect`")

    @pytest.fixture
    def store(self, connect: Connect) -> Iterator[Store]:
        store = connect()
        yield store
        store.close()


def save(store: Store, *jobs: Job, sweep: str = "s") -> None:
    store.save_sweep(sweep, "spec", entries_of(*jobs))


def claim(store: Store, limit: int = 1, *, sweep: str = "s", owner: str = "me", ttl_s: float = 60.0) -> list[Lease]:
    return [lease for _, lease in store.claim(sweep, owner, limit, ttl_s)]


def claim_one(store: Store, *, sweep: str = "s", owner: str = "me") -> tuple[Entry, Lease]:
    """The next job; fails the test when there is none."""
    ((entry, lease),) = store.claim(sweep, owner, 1, 60.0)
    return entry, lease
