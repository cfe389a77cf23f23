"""What a command reads from the environment before it works."""

from __future__ import annotations

from argparse import Namespace

import pytest

from orchestrator.errors import UsageError
from orchestrator.session import open_session


@pytest.mark.parametrize(("given", "bound"), [(None, None), ("", None), ("0", 0.0), ("12.5", 12.5)])
def test_the_bound_of_the_image_cache_is_a_number_of_gib(tmp_path, monkeypatch, given, bound):
    monkeypatch.delenv("SWEEPBOARD_CACHE_GIB", raising=False)
    if given is not None:
        monkeypatch.setenv("SWEEPBOARD_CACHE_GIB", given)
    with open_session(Namespace(home=tmp_path)) as session:
        assert session.cache_gib == bound


@pytest.mark.parametrize("given", ["many", "-1", "nan", "inf"])
def test_any_other_bound_is_refused_before_the_store_is_opened(tmp_path, monkeypatch, given):
    monkeypatch.setenv("SWEEPBOARD_CACHE_GIB", given)
    with (
        pytest.raises(UsageError, match=rf"SWEEPBOARD_CACHE_GIB is '{given}'; expected GiB"),
        open_session(Namespace(home=tmp_path)),
    ):
        pytest.fail("it was opened")
    assert not (tmp_path / "store.db").exists()
