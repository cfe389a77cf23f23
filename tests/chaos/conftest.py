"""Processes that tests start take Ctrl-C as those of a terminal do."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def heard() -> Iterator[None]:
    """A shell that puts the tests into the background has SIGINT ignored, and what is ignored stays so in children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
