"""A store in memory on a clock that moves only when told to, for tests of what drives a sweep."""

import pytest

from storage.open import open_store
from workers.pools.scripted import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def store(clock):
    store = open_store("sqlite://", clock=clock)
    yield store
    store.close()
