"""Measure jobs in a plan: one per distinct cost, last, alone."""

from dataclasses import replace

import pytest

from orchestrator.plan import Plan, plan
from orchestrator.plan_text import formula
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue
from storage.records import Job, Phase
from storage.store import Entry

SPEC = """\
name: x
datasets: ["@embedded/*"]
backbones: [nano_vit]
methods: [linear, {lora: {rank: [4, 8]}}, gps]
seeds: 2
"""


def planned(more: str = "", text: str = SPEC, device: str = "cpu") -> Plan:
    return plan(parse_spec(f"{text}{more}\n"), replace(shipped_catalogue(), device=device))


def measured(made: Plan) -> list[Entry]:
    return [entry for entry in made.entries if entry.job.phase is Phase.MEASURE]


@pytest.mark.parametrize("more", ["", "measure: false"])
def test_nothing_is_measured_unless_asked_for(more: str) -> None:
    assert measured(planned(more)) == []


def test_one_measurement_per_row_whatever_the_data_sets_seeds_and_rates() -> None:
    made = planned("measure: true\ntrain: {lr: [1e-3, 1e-2], epochs: 7}")
    assert [entry.job.stack for entry in measured(made)] == ["linear", "lora", "lora", "gps"]
    assert formula(made.counts).endswith("48 jobs + 12 prepare + 4 measure")


def test_measurements_come_last_and_ask_to_be_alone() -> None:
    made = planned("measure: true")
    found = measured(made)
    assert list(made.entries[-len(found) :]) == found
    assert [entry.order for entry in made.entries] == list(range(len(made.entries)))
    assert all(entry.resources["exclusive"] == 1 for entry in found)
    assert not any("exclusive" in entry.resources for entry in made.entries[: -len(found)])


def test_they_wait_for_no_artifact_and_open_no_split() -> None:
    jobs = [entry.job for entry in measured(planned("measure: true"))]
    assert {(job.needs, job.train_split, job.score_split, job.dataset.name) for job in jobs} == {
        ((), "", "", "synthetic/noise")
    }


def test_batch_sizes_are_the_recipes_own_or_the_one_given() -> None:
    sizes = "train: {batch_size: [16, 64]}"
    own = {entry.job.recipe.batch_size for entry in measured(planned(f"measure: true\n{sizes}"))}
    given = {entry.job.recipe.batch_size for entry in measured(planned(f"measure: {{batch_size: 256}}\n{sizes}"))}
    assert (own, given) == ({16, 64}, {256})
    assert len(measured(planned(f"measure: {{batch_size: 256}}\n{sizes}"))) == 4


def test_the_device_names_the_job_and_gpus_in_the_resources_decide_it() -> None:
    cpu, cuda = (measured(planned("measure: true", device=device)) for device in ("cpu", "cuda"))
    assert {entry.job.device for entry in cpu} == {"cpu"}
    assert {entry.job.device for entry in cuda} == {"cuda"}
    assert not {entry.job.job_id for entry in cpu} & {entry.job.job_id for entry in cuda}
    asked = measured(planned("measure: true\nresources: {gpus: 0.5}"))
    assert {entry.job.job_id for entry in asked} == {entry.job.job_id for entry in cuda}


def test_asking_for_measurements_changes_no_other_job() -> None:
    without, measuring = planned(), planned("measure: true")
    assert list(without.entries) == [entry for entry in measuring.entries if entry.job.phase is not Phase.MEASURE]


def test_a_measure_job_survives_json_and_is_named_by_it() -> None:
    job = measured(planned("measure: true"))[0].job
    assert Job.from_json(job.to_json()) == job
    assert job.to_json()["device"] == "cpu"


def test_jobs_without_a_device_have_the_names_that_they_always_had() -> None:
    job = planned().entries[0].job
    assert "device" not in job.to_json()
    assert Job.from_json(job.to_json()).job_id == job.job_id


@pytest.mark.parametrize(
    ("value", "text"),
    [("3", "expected true, false"), ("{batch_size: 0}", "batch_size"), ("{batchsize: 3}", "batch_size")],
)
def test_a_wrong_value_is_a_problem_with_its_place(value: str, text: str) -> None:
    with pytest.raises(SpecError, match="measure") as error:
        planned(f"measure: {value}")
    assert text in str(error.value)
