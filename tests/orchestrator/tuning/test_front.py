"""Searches after several objectives: the Pareto set is kept, and each of its points has its final jobs."""

import json
import random

import pytest

from orchestrator.cli import main
from orchestrator.report.build import leaderboard
from orchestrator.tuning.front_rows import front_rows
from orchestrator.tuning.outcomes import DONE, FAILED, LOSS, PRUNED, SCORE, SIZE, Outcome, best_of, front_of
from orchestrator.tuning.report import study_reports
from storage.records import Phase
from tests.orchestrator.tuning.searches import AFTER_TWO, MERGING, Search, merged, spec_text


def outcomes_of(dice, objectives):
    """As many ties as on 200 images, and every kind of trial that is on no front."""
    found = []
    for _ in range(dice.randrange(1, 40)):
        metrics = {SCORE: dice.randrange(8) / 2, "macs": float(dice.randrange(6)), SIZE: float(dice.randrange(4))}
        metrics[LOSS] = dice.randrange(3) / 2
        if dice.random() < 0.1:
            del metrics[dice.choice(objectives)]
        state = dice.choice([DONE] * 6 + [PRUNED, FAILED])
        found.append(Outcome(state, metrics, violation=dice.choice([None, -0.5, 0.0, 0.3])))
    return [*found, None]


def is_as_good(one, other, objectives):
    return all(
        one.metrics[name] >= other.metrics[name] if name == SCORE else one.metrics[name] <= other.metrics[name]
        for name in objectives
    )


@pytest.mark.parametrize("objectives", [(SCORE,), (SCORE, "macs"), (SCORE, SIZE), (SCORE, "macs", SIZE)])
@pytest.mark.parametrize("seed", range(50))
def test_the_front_is_what_no_other_trial_beats(seed, objectives):
    outcomes = outcomes_of(random.Random(seed), objectives)
    able = {
        number: one
        for number, one in enumerate(outcomes)
        if one is not None and one.state == DONE and one.is_feasible and set(objectives) <= set(one.metrics)
    }
    unbeaten = {
        number
        for number, one in able.items()
        if not any(
            is_as_good(other, one, objectives) and not is_as_good(one, other, objectives) for other in able.values()
        )
    }
    front = front_of(outcomes, objectives)
    assert {number for one in front for number in (one.number, *one.tied)} == unbeaten
    assert len({able[one.number].values(objectives) for one in front}) == len(front)
    scores = [able[one.number].score for one in front]
    assert scores == sorted(scores, reverse=True)
    for one in front:
        assert all(able[one.number].values(objectives) == able[other].values(objectives) for other in one.tied)
        order = [(able[at].metrics[LOSS], able[at].metrics.get(SIZE, 1e9), at) for at in (one.number, *one.tied)]
        assert order == sorted(order)


def test_the_front_of_accuracy_alone_is_the_best_trial():
    for seed in range(50):
        outcomes = outcomes_of(random.Random(seed), (SCORE,))
        assert front_of(outcomes) == tuple(one for one in [best_of(outcomes)] if one is not None)


def test_points_are_named_by_the_values_of_their_methods_as_short_as_tells_them_apart():
    lr = {"train.lr": 1e-3}
    assert front_rows("lora+pyra", [{"pyra.mac_ratio": value, **lr} for value in (0.71423, 0.40611)]) == [
        "lora+pyra mac_ratio=0.714",
        "lora+pyra mac_ratio=0.406",
    ]
    assert front_rows("r", [{"t.rate": 0.5}, {"t.rate": 0.5001}]) == ["r rate=0.5", "r rate=0.5001"]
    assert front_rows("r", [{"a.rank": 1, "b.rank": 2}]) == ["r a.rank=1 b.rank=2"]
    sizes = [{"train.image_size": size, "gps.k": 3} for size in (32, 64)]
    assert front_rows("gps", sizes) == ["gps image_size=32 k=3", "gps image_size=64 k=3"]
    assert front_rows("gps", [lr]) == ["gps"]


def test_every_point_of_the_front_has_its_final_jobs_and_no_other_trial_has_any(search):
    one = search(AFTER_TWO, script=merged, **MERGING)
    outcome = one.drive()
    (study,) = one.tuner.studies
    done = {number: told.values((SCORE, "macs")) for number, told in enumerate(study.outcomes) if told.state == DONE}
    unbeaten = {
        number
        for number, (score, macs) in done.items()
        if not any(a >= score and b <= macs and (a, b) != (score, macs) for a, b in done.values())
    }
    finals = [state for state in one.store.jobs("s") if state.job.phase is Phase.FINAL]
    behind = {state.tuned.best for state in finals}
    assert len(unbeaten) > 2 < len(done) - len(unbeaten)  # or this would show nothing
    assert behind <= unbeaten
    assert {done[number] for number in behind} == {done[number] for number in unbeaten}
    assert len(finals) == 2 * len(behind)
    for state in finals:
        values = study.trials[state.tuned.best].params
        assert state.job.methods[1].kwargs["mac_ratio"] == values["pyra.mac_ratio"]
        assert state.job.recipe.lr == pytest.approx(values["train.lr"])
    assert (outcome.failed, outcome.blocked) == (0, 0)


def test_the_same_search_again_runs_nothing_and_a_larger_budget_goes_on(search):
    one = search(AFTER_TWO, script=merged, **MERGING)
    one.drive()
    before = one.trials()
    assert one.drive().ran == 0
    one.text = spec_text(AFTER_TWO.replace("16", "30"), **MERGING)
    one.drive()
    assert {cell: trials[:16] for cell, trials in one.trials().items()} == before
    assert {state.tuned.trials for state in one.store.jobs("s") if state.tuned} == {30}
    front = {best.number for best in one.tuner.studies[0].front}
    assert {number for _, _, number in one.final_jobs()} == front


def test_a_constraint_bounds_the_front(search):
    one = search(f"{AFTER_TWO}, constraint: macs <= 0.6", script=merged, **MERGING)
    one.drive()
    (study,) = one.tuner.studies
    assert any(not told.is_feasible for told in study.outcomes)
    assert 0 < max(study.outcomes[best.number].metrics["macs"] for best in study.front) <= study.cell.bound[1]


def test_a_search_that_still_runs_shows_its_front_by_now(search):
    one = search(AFTER_TWO, script=merged, **MERGING)
    one.drive()
    (whole,) = study_reports(one.store, "s")
    one.text = spec_text(AFTER_TWO.replace("16", "6"), **MERGING)
    one.drive()
    (few,) = study_reports(one.store, "s")
    assert [best.number for best in whole.front] != [best.number for best in few.front]
    assert (few.best, few.chosen) == (few.front[0], few.front[0].number)
    assert max(best.number for best in few.front) < 6


def test_points_of_a_front_are_rows_of_their_own_that_owe_their_own_task_alone(search):
    one = search(AFTER_TWO, script=merged, **{**MERGING, "datasets": "[embedded/digits, embedded/location]"})
    one.drive()
    board = leaderboard(one.store.jobs("s"), {}, sweeps=("s",))
    (section,) = board.sections
    points = [best for study in one.tuner.studies for best in study.front]
    assert len(section.rows) == len(points)
    assert board.done == board.expected == 2 * len(points)
    for row in section.rows:
        assert row.title.startswith("lora+pyra mac_ratio=0.")
        assert " (tuned: 16 trials, on the front)" in row.title
        assert sorted((cell.n, cell.expected) for cell in row.cells) == [(0, 0), (2, 2)]
        assert row.rank is None
    notes = "\n".join(section.notes)
    assert "as good in all of val_top1_pct, macs on val200" in notes
    assert "digits train.lr=" in notes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    one = Search(spec_text(AFTER_TWO, **MERGING), folder, 4, merged, store_at=folder / "store.db")
    one.drive()
    one.store.close()
    return folder


def said(capsys, home, *words, code=0):
    capsys.readouterr()
    assert main([*words, "--home", str(home)]) == code
    return capsys.readouterr().out if code == 0 else capsys.readouterr().err


def test_the_front_is_shown_with_its_costs(home, capsys):
    (study,) = json.loads(said(capsys, home, "tune", "best", "s", "--json"))["studies"]
    assert study["objectives"] == ["val_top1_pct", "macs"]
    assert study["final_jobs_from_trial"] == study["front"][0]["number"] == study["best"]["number"]
    assert [one["macs"] for one in study["front"]] == sorted((one["macs"] for one in study["front"]), reverse=True)
    text = said(capsys, home, "tune", "best", "s")
    assert f"a front of {len(study['front'])} trials of 16" in text
    assert text.count(" macs ") == len(study["front"])
    marked = [line for line in said(capsys, home, "tune", "show", "s").splitlines() if line.startswith(" * ")]
    assert sorted(int(line.split()[1]) for line in marked) == sorted(one["number"] for one in study["front"])
    assert "1 of 1 studies have chosen; 16 trials" in said(capsys, home, "status", "s")


def test_a_point_of_the_front_is_frozen_by_its_number(home, capsys):
    refused = said(capsys, home, "tune", "freeze", "s", code=2)
    (study,) = json.loads(said(capsys, home, "tune", "best", "s", "--json"))["studies"]
    for point in study["front"]:
        assert f"digits={point['number']} (val_top1_pct {point['val_top1_pct']:.4g}, macs " in refused
    last = study["front"][-1]
    for asked in (f"{last['number']}", f"digits={last['number']}", f"embedded/digits={last['number']}"):
        record = json.loads(said(capsys, home, "tune", "freeze", "s", "--trial", asked, "--json"))
        assert record["tasks"]["embedded/digits"]["pyra.mac_ratio"] == last["params"]["pyra.mac_ratio"]
    assert "choose one trial" in said(capsys, home, "tune", "freeze", "s", "--trial", "99", code=2)
    assert "no front of that data set" in said(capsys, home, "tune", "freeze", "s", "--trial", "birds=1", code=2)
