"""The contract on SQLite, in memory and in a file."""

import pytest

from storage.open import open_store
from storage.testing import StoreContract


class TestSqliteInMemory(StoreContract):
    @pytest.fixture
    def connect(self, clock):
        store = open_store("sqlite://", clock=clock)  # another connection would be another database
        yield lambda: store
        store.close()


class TestSqliteFile(StoreContract):
    @pytest.fixture
    def connect(self, clock, tmp_path):
        opened = []

        def open_again():
            opened.append(open_store(tmp_path / "store.db", clock=clock))
            return opened[-1]

        yield open_again
        for store in opened:
            store.close()
