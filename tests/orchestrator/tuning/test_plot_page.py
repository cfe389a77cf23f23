"""Figures of a search: what they show, and that equal searches give equal files."""

import re
import xml.etree.ElementTree as ET

import pytest

from orchestrator.errors import UsageError
from orchestrator.tuning import figures
from orchestrator.tuning.plot_page import write_plots
from orchestrator.tuning.study_record import study_records
from tests.orchestrator.tuning.searches import SPACE, Killed, Search, spec_text


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    one = Search(spec_text(f"trials: 24, {SPACE}"), tmp_path_factory.mktemp("search"))
    one.drive()
    yield study_records(one.store, "s")
    one.store.close()


def drawn(figure):
    """Label of the legend -> points."""
    return {
        line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for axes in figure.axes
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def test_the_history_has_every_trial_as_it_ended_and_the_best_so_far(studies):
    for study in studies:
        with figures.style():
            found = drawn(figures.history(study))
        assert found["trial"] == [(one.number, one.score) for one in study.finished]
        assert len(found["pruned, where it stopped"]) == study.report.count("pruned")
        best = max(one.score for one in study.finished)
        assert found["best so far"][-1] == (23, best)
        assert found[f"chosen: trial {study.report.chosen}"] == [(study.report.chosen, best)]
        if study.report.best.tied:
            assert {number for number, _ in found["tied with the best"]} == set(study.report.best.tied)
    assert any(
        study.report.count("diverged") and "diverged or failed" in drawn(figures.history(study)) for study in studies
    )


def test_each_parameter_has_a_panel_with_its_whole_domain(studies):
    with figures.style():
        rate, count = figures.slices(studies[0]).axes
    assert (rate.get_xlabel(), rate.get_xscale()) == ("train.lr (log scale)", "log")
    assert (count.get_xlabel(), count.get_xscale()) == ("gps.connections_per_neuron", "linear")
    assert rate.get_xlim()[0] <= 1e-4 and rate.get_xlim()[1] >= 1e-1
    assert count.get_xlim()[0] < 1 and count.get_xlim()[1] > 15
    assert rate.get_ylabel() == "validation accuracy (%)"


def test_the_curve_over_k_has_the_best_of_each_value_and_names_that_of_one(studies):
    name = "gps.connections_per_neuron"
    for study in studies:
        assert figures.method_counts(study) == [name]
        with figures.style():
            found = drawn(figures.count_curve(study, name))
        best = {}
        for one in study.finished:
            value = one.report.trial.params[name]
            best[value] = max(best.get(value, 0), one.score)
        assert found["best at each value"] == sorted(best.items())
        assert (
            (f"best at 1: {best[1]:.1f} %" in found) if 1 in best else not any("best at 1" in label for label in found)
        )
        places = [place for label in ("trial", "pruned, where it stopped") for place in found.get(label, [])]
        assert len(set(places)) == len(places)  # none hides another


def test_a_difference_of_one_image_does_not_fill_the_axis(search):
    one = search(tune="trials: 4, pruner: none, space: {lr: {log: [2.9e-3, 3.1e-3]}}")
    one.drive()
    with figures.style():
        low, high = figures.history(study_records(one.store, "s")[0]).axes[0].get_ylim()
    assert high - low >= 5


def test_the_page_needs_nothing_else_and_has_every_number_in_words(studies, tmp_path):
    page, *pictures = write_plots("s", studies, tmp_path / "plots")
    text = page.read_text()
    assert not re.findall(r"<script|<link|<img|src=|url\((?!#)|@import", text)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(set(ids)) == len(ids)
    used = re.findall(r'(?:url\(#|href="#)([^)"]*)', text)
    assert set(used) <= set(ids)
    for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL):
        assert "aria-label" in ET.fromstring(svg).attrib
    assert text.count("<tr") == 2 + sum(len(study.trials) for study in studies)
    assert all(f"{one.score:.1f}" in text for study in studies for one in study.finished)
    assert len(pictures) == 6
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in pictures)


def test_the_same_search_gives_the_same_bytes(studies, tmp_path):
    first, second = (write_plots("s", studies[:1], tmp_path / name) for name in ("a", "b"))
    assert [file.name for file in first] == [file.name for file in second]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_names_from_a_spec_are_text_and_no_markup(search, tmp_path):
    one = search(tune="trials: 2, space: {lr: {log: [1e-3, 1e-2]}}", methods="[{gps: {label: '<b>&'}}]")
    one.drive()
    text = write_plots("s<i>", study_records(one.store, "s"), tmp_path)[0].read_text()
    assert "<b>" not in text and "<i>" not in text
    assert "&lt;b&gt;&amp;" in text


def test_a_search_that_has_brought_nothing_yet_can_be_drawn(search, tmp_path):
    one = search(tune=f"trials: 3, {SPACE}")
    with pytest.raises(Killed):
        one.drive(kill_after=6)
    studies = study_records(one.store, "s")
    assert studies and not any(study.finished for study in studies)
    assert "no trial has brought values yet" in write_plots("s", studies, tmp_path)[0].read_text()


def test_a_page_of_somebody_else_is_left_alone(studies, tmp_path):
    (tmp_path / "index.html").write_text("<html>mine</html>")
    with pytest.raises(UsageError, match=r"has an index\.html that is not ours"):
        write_plots("s", studies, tmp_path)
    assert (tmp_path / "index.html").read_text() == "<html>mine</html>"
    assert len(list(tmp_path.iterdir())) == 1
