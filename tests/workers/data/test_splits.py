"""Splits by phase: what may be read, and what may not, whoever asks."""

from __future__ import annotations

import pytest

from storage.records import Phase
from workers.data.splits import open_split
from workers.errors import DataChanged, DataMissing, SplitForbidden
from workers.site import Site


def _ignore(done: int, total: int) -> None:
    """Progress is of no interest here."""


@pytest.mark.parametrize(
    ("phase", "split"),
    [
        (Phase.SEARCH, "test"),
        (Phase.SEARCH, "train800val200"),
        (Phase.PREPARE, "test"),
        (Phase.PREPARE, "val200"),
        (Phase.FINAL, "val200"),
        (Phase.MEASURE, "test"),
    ],
)
def test_a_phase_cannot_open_what_it_must_not_see(a_job, site, phase, split):
    with pytest.raises(SplitForbidden, match=split):
        open_split(a_job("linear", phase=phase), split, site, _ignore)
    assert not site.cache.exists(), "it did not even look"


def test_a_warm_process_refuses_the_test_split_to_a_search_job_too(a_job, site):
    opened = open_split(a_job("linear"), "test", site, _ignore)
    assert len(opened.labels) == 20
    with pytest.raises(SplitForbidden):
        open_split(a_job("linear", phase=Phase.SEARCH), "test", site, _ignore)


def test_final_trains_on_train_and_val_together(a_job, site):
    opened = open_split(a_job("linear"), "train800val200", site, _ignore)
    assert opened.images.shape == (32, 32, 32, 3)
    assert opened.labels.tolist() == [index % 4 for index in range(24)] + [index % 4 for index in range(8)]


def test_embedded_splits_are_drawn_once_and_resized_where_asked(a_job, site):
    from storage.records import DatasetRef
    from workers.data.catalogue import data_hash

    dataset = DatasetRef("embedded/count", data_hash("embedded/count"), 8)
    native = open_split(a_job("linear", dataset=dataset, phase=Phase.SEARCH), "val200", site, _ignore)
    larger = open_split(
        a_job("linear", dataset=dataset, phase=Phase.SEARCH, recipe={"image_size": 48}), "val200", site, _ignore
    )
    assert native.images.shape == (200, 32, 32, 3)
    assert larger.images.shape == (200, 48, 48, 3)
    assert native.labels.tolist() == larger.labels.tolist()
    again = open_split(a_job("linear", dataset=dataset, phase=Phase.SEARCH), "val200", site, _ignore)
    assert again is native


def test_data_that_changed_since_the_plan_are_refused(a_job, own_data_root, tmp_path):
    (own_data_root / "corners" / "val200.txt").write_text("images/val200/000.png 1\n")
    site = Site(tmp_path / "home", tmp_path / "cache", data={"local/corners": own_data_root / "corners"})
    with pytest.raises(DataChanged, match="changed since the plan"):
        open_split(a_job("linear"), "test", site, _ignore)


def test_a_site_without_the_data_says_where_it_looked(a_job, site, monkeypatch, tmp_path):
    monkeypatch.setenv("SWEEPBOARD_DATA", str(tmp_path))
    with pytest.raises(DataMissing, match=str(tmp_path)):
        open_split(a_job("linear"), "test", Site(site.home, site.cache), _ignore)
