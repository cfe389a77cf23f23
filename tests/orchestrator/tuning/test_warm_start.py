"""`warm_start: siblings`: a search begins with what other data sets' searches found, whatever happens to the driver."""

import random

import pytest

from orchestrator.plan_report import compare
from orchestrator.plan_text import plan_text
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue
from orchestrator.tuning.report import study_reports
from orchestrator.tuning.warm import Offer, untried
from storage.open import open_store
from storage.records import FailureClass, Phase, Trial
from tests.orchestrator.tuning.searches import SPACE, Killed, planned, spec_text, trained
from workers.pools.scripted import Answer, failed

COLD = f"trials: 6, {SPACE}"
WARM = f"{COLD}, warm_start: siblings"
THREE = "[embedded/digits, embedded/location, embedded/count]"


def said(text):
    store = open_store("sqlite://")
    try:
        return plan_text(compare(planned(text), store, shipped_catalogue()), 0, diff=False)
    finally:
        store.close()


def origins(search):
    """Data set -> what each of its trials says of where its values come from."""
    return {
        report.dataset.rpartition("/")[2]: [one.to_json()["warm_start"] for one in report.trials]
        for report in study_reports(search.store, "s")
    }


def best(search, dataset):
    """The study and the best trial of that data set."""
    return next((one, one.best.number) for one in search.tuner.studies if one.cell.point.dataset.name == dataset)


def test_the_first_trial_of_later_cells_is_the_best_one_of_the_first_and_says_so(search):
    one = search(WARM, datasets=THREE)
    one.drive()
    pilot, number = best(one, "embedded/digits")
    assert origins(one)["digits"] == [None] * 6
    for name in ("location", "count"):
        study, _ = best(one, f"embedded/{name}")
        assert study.trials[0].params == pilot.trials[number].params
        assert origins(one)[name] == [
            {"study": pilot.cell.study, "trial": number, "dataset": "embedded/digits"},
            *[None] * 5,
        ]
    assert len(one.finals()) == 6


def test_a_cell_starts_from_at_most_three_distinct_values_of_its_own_group_first(search):
    tasks = "[vtab1k/svhn, vtab1k/dsprites_loc, vtab1k/cifar100, vtab1k/dtd, vtab1k/caltech101, vtab1k/pets]"
    made = planned(spec_text(WARM, datasets=tasks))
    starts = {
        cell.point.dataset.name.removeprefix("vtab1k/"): [
            one.point.dataset.name.removeprefix("vtab1k/") for one in cell.siblings
        ]
        for cell in made.cells
    }
    assert starts["svhn"] == []
    assert starts["dsprites_loc"] == starts["cifar100"] == ["svhn"]
    assert set(map(tuple, (starts["dtd"], starts["pets"]))) == {("svhn", "cifar100", "dsprites_loc")}


def test_equal_values_of_several_siblings_are_tried_once_and_at_most_three_are():
    def trial(number, value, attrs):
        return Trial("s", number, "job", {"a.b": value}, attrs)

    offers = [Offer({"a.b": value}, "t", 0, f"x/{at}") for at, value in enumerate([5, 5, 7, 5, 8, 9])]
    taken = []
    while offer := next(untried(offers, taken), None):
        taken.append(trial(len(taken), offer.params["a.b"], {"warm_start": offer.origin}))
    assert [one.params["a.b"] for one in taken] == [5, 7, 8]
    of_the_sampler = trial(1, 6, {})
    assert not list(untried(offers, [taken[0], of_the_sampler]))


def test_no_cell_of_a_wave_begins_before_the_searches_before_it_are_over(search):
    one = search(WARM, datasets=THREE)
    began = []

    def script(job, epoch):
        if job.phase is Phase.SEARCH:
            began.append(job.dataset.name)
        return trained(job, epoch)

    one.script = script
    one.drive()
    assert set(began[:6]) == {"embedded/digits"}
    assert "embedded/digits" not in began[6:]
    assert began[6:8] != [began[6]] * 2  # the two of the second wave search at the same time


@pytest.mark.parametrize("more", ["", ", parallel: 3", ", sampler: nsga2", ", sampler: random, pruner: hyperband"])
def test_a_driver_killed_at_any_time_goes_on_with_the_same_trials(search, more):
    whole, broken = (search(f"{WARM}{more}", datasets=THREE) for _ in range(2))
    whole.drive()
    moments = random.Random(more)
    for _ in range(10):
        with pytest.raises(Killed):
            broken.drive(kill_after=moments.randrange(3, 20))
    broken.drive()
    assert broken.trials() == whole.trials()
    assert origins(broken) == origins(whole)


def test_siblings_start_without_a_search_that_found_nothing(search):
    def no_digits(job, epoch):
        if job.dataset.name == "embedded/digits" and job.phase is Phase.SEARCH:
            return Answer(1.0, failed(job, FailureClass.USER_ERROR))
        return trained(job, epoch)

    one = search(WARM, datasets=THREE, script=no_digits)
    outcome = one.drive()
    assert outcome.blocked == 1
    assert origins(one)["location"] == [None] * 6
    assert {dataset for dataset, _ in one.finals()} == {"embedded/location", "embedded/count"}


def test_siblings_start_without_a_search_whose_jobs_can_never_run(search):
    def nothing_prepared(job, epoch):
        if job.dataset.name == "embedded/digits" and job.phase is Phase.PREPARE:
            return Answer(1.0, failed(job, FailureClass.USER_ERROR))
        return trained(job, epoch)

    one = search(WARM, datasets=THREE, script=nothing_prepared)
    assert one.drive().blocked > 0
    assert {dataset for dataset, _ in one.finals()} == {"embedded/location", "embedded/count"}


def test_a_study_is_named_by_its_siblings_only_where_it_has_some():
    cold, warm = ([one.study for one in planned(spec_text(tune, datasets=THREE)).cells] for tune in (COLD, WARM))
    assert (cold[0] == warm[0], cold[1] == warm[1], cold[2] == warm[2]) == (True, False, False)
    assert [one.study for one in planned(spec_text(WARM, datasets="[embedded/location]")).cells] == cold[1:2]
    others = planned(spec_text(WARM, datasets="[embedded/location, embedded/count]")).cells
    assert others[1].study not in (*cold, *warm)


def test_the_plan_says_the_waves():
    text = said(spec_text(WARM, datasets=THREE))
    assert "warm start: embedded/digits, then embedded/location embedded/count" in text


def test_the_plan_says_where_there_is_nothing_to_start_from():
    text = said(spec_text(WARM, datasets="[embedded/count]"))
    assert "warm start: embedded/count alone: there is nothing to start from" in text


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        (
            "sampler: grid, warm_start: siblings, space: {gps.connections_per_neuron: {int: [1, 3]}}",
            "tune.warm_start (line 7): starts a search from values found elsewhere",
        ),
        (f"warm_start: cousins, {SPACE}", "tune.warm_start (line 7): is 'cousins'"),
    ],
)
def test_what_cannot_be_started_warm_is_said_with_its_place(tune, expected):
    with pytest.raises(SpecError, match="line 7") as error:
        planned(spec_text(tune))
    assert expected in str(error.value)
