"""Homes to carry results between."""

import pytest

from storage.home import SUBFOLDERS
from storage.open import open_store


@pytest.fixture
def home_of(tmp_path):
    """Makes homes by name; each is (store, folder)."""
    opened = []

    def make(name):
        folder = tmp_path / name
        for part in SUBFOLDERS:
            (folder / part).mkdir(parents=True, exist_ok=True)
        opened.append(open_store(folder / "store.db"))
        return opened[-1], folder

    yield make
    for store in opened:
        store.close()
