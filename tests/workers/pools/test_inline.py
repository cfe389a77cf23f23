"""The inline pool keeps the pool contract."""

from collections.abc import Iterator

import pytest

from workers.pools.inline import InlinePool
from workers.testing import PoolContract, probe_runner


class TestInlinePool(PoolContract):
    @pytest.fixture
    def pool(self) -> Iterator[InlinePool]:
        pool = InlinePool(probe_runner)
        yield pool
        pool.close()
