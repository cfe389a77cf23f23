"""Figures, exports and importances of a search after several objectives."""

import warnings

import optuna
import pytest

from orchestrator.tuning import figures
from orchestrator.tuning.optuna_export import export_studies
from orchestrator.tuning.plot_page import write_plots
from orchestrator.tuning.study_record import study_records
from tests.orchestrator.tuning.searches import AFTER_TWO, MERGING, Search, merged, spec_text


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    one = Search(spec_text(AFTER_TWO, **MERGING), tmp_path_factory.mktemp("search"), 4, merged)
    one.drive()
    yield study_records(one.store, "s")
    one.store.close()


def front_of(study):
    return [study.trials[one.number].outcome.values(study.report.objectives) for one in study.report.front]


def test_the_front_is_drawn_over_its_cost(records, tmp_path):
    (study,) = records
    with figures.style():
        (axes,) = figures.fronts(study).axes
    assert axes.get_xlabel().startswith("macs")
    drawn = axes.get_lines()[0]
    points = sorted((cost, score) for score, cost in front_of(study))
    assert len(points) > 1
    assert list(zip(drawn.get_xdata(), drawn.get_ydata(), strict=True)) == points
    written = write_plots("s", records, tmp_path / "plots")
    assert f"{study.report.study}-front.png" in {path.name for path in written}


def test_optuna_reads_the_same_front_from_an_export(records, tmp_path):
    (study,) = records
    (name,) = export_studies("s", records, tmp_path / "s.db")
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 's.db'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = optuna.load_study(study_name=name, storage=storage)
        assert read.metric_names == ["val_top1_pct", "macs"]
    assert {tuple(one.values) for one in read.best_trials} == set(front_of(study))
    chosen = {one.number for one in read.trials if one.user_attrs.get("chosen")}
    assert chosen == {one.number for one in study.report.front}
    storage.engine.dispose()
