"""Searches in virtual time, closed at the end of the test."""

import pytest

from tests.orchestrator.tuning.searches import SPACE, Search, spec_text, trained


@pytest.fixture
def search(tmp_path):
    searches = []

    def make(tune=f"trials: 12, {SPACE}", slots=4, script=trained, **options):
        searches.append(Search(spec_text(tune, **options), tmp_path, slots, script))
        return searches[-1]

    yield make
    for one in searches:
        one.store.close()
