"""Plans of evaluate jobs and few-shot subsets: what is evaluated on what, in which order, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import orchestrator
from orchestrator.catalogue import Catalogue
from orchestrator.plan import Plan, plan
from orchestrator.plan_text import formula
from orchestrator.spec import parse_spec, read_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue
from storage.records import Job, Phase
from workers.data.class_names import class_names

EXAMPLES = Path(orchestrator.__file__).parent / "examples"


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)


def present(catalogue: Catalogue) -> Catalogue:
    """As if every data set were here."""
    return replace(catalogue, data_hash=lambda name: f"{name:_<64.64}")


def planned(more: str, *, datasets: str = "[general/imagenet1k]") -> Plan:
    text = f"name: x\ndatasets: {datasets}\nbackbones: [nano_vit]\nmethods: [linear, lora]\n{more}\n"
    return plan(parse_spec(text, "x.yaml"), present(shipped_catalogue()))


def of_phase(made: Plan, phase: Phase) -> list[Job]:
    return [entry.job for entry in made.entries if entry.job.phase is phase]


def test_every_final_job_is_evaluated_on_every_set_after_all_final_jobs() -> None:
    made = planned("seeds: 2\nalso_evaluate: ['@robustness/*']\nmeasure: true")
    phases = [entry.job.phase for entry in made.entries if entry.job.makes is None]
    assert phases == [Phase.FINAL] * 4 + [Phase.EVALUATE] * 12 + [Phase.MEASURE] * 2
    assert [entry.order for entry in made.entries] == list(range(len(made.entries)))
    finals = {job.job_id: job for job in of_phase(made, Phase.FINAL)}
    assert Counter(job.parent for job in of_phase(made, Phase.EVALUATE)) == dict.fromkeys(finals, 3)
    assert "+ 12 evaluate + 2 measure" in formula(made.counts)


def test_an_evaluate_job_is_its_parent_on_another_test_set() -> None:
    made = planned("also_evaluate: robustness/imagenet_a")
    parent, child = of_phase(made, Phase.FINAL)[1], of_phase(made, Phase.EVALUATE)[1]
    assert (child.parent, child.trained_on, child.needs) == (parent.job_id, parent.dataset, ())
    assert (child.methods, child.backbone, child.recipe, child.seed) == (
        parent.methods,
        parent.backbone,
        parent.recipe,
        parent.seed,
    )
    assert (child.dataset.name, child.dataset.classes, child.score_split) == ("robustness/imagenet_a", 200, "test")
    names = class_names("imagenet1k")
    assert child.class_map is not None
    assert tuple(names[place] for place in child.class_map) == class_names("imagenet_a")
    assert Job.from_json(child.to_json()) == child
    assert child.protocol_id != parent.protocol_id


def test_final_jobs_are_the_same_with_and_without_evaluation() -> None:
    without, with_it = planned(""), planned("also_evaluate: ['@robustness/*']")
    assert of_phase(without, Phase.FINAL) == of_phase(with_it, Phase.FINAL)


def test_rows_keep_their_names() -> None:
    made = planned("also_evaluate: ['@robustness/*']")
    assert {entry.row for entry in made.entries if entry.job.phase is Phase.EVALUATE} == {"linear", "lora"}


def test_classes_that_do_not_fit_are_refused_with_the_reason_and_the_rest_is_planned() -> None:
    made = planned(
        "also_evaluate: [embedded/digits, embedded/count, robustness/imagenet_a]", datasets="[embedded/digits@5shot]"
    )
    assert [job.dataset.name for job in of_phase(made, Phase.EVALUATE)] == ["embedded/digits"] * 2
    reasons = {one.row: (one.jobs, one.reason) for one in made.refused}
    assert reasons["also_evaluate embedded/count of embedded/digits@5shot"][0] == 2
    assert "has 8 classes and the model 10" in reasons["also_evaluate embedded/count of embedded/digits@5shot"][1]
    assert "no names" in reasons["also_evaluate robustness/imagenet_a of embedded/digits@5shot"][1]


def test_the_training_set_itself_is_not_evaluated_twice() -> None:
    made = planned("also_evaluate: ['@embedded/*']", datasets="[embedded/digits]")
    (own,) = [one for one in made.refused if "itself" in one.reason]
    assert own.row == "also_evaluate embedded/digits of embedded/digits"


def test_a_test_set_alone_is_not_trained_on() -> None:
    with pytest.raises(SpecError, match=r"datasets\[0\].*robustness/imagenet_a, .*name it under also_evaluate"):
        planned("", datasets="['@robustness/*']")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("also_evaluate: [robustness/imagenet_b]", r"also_evaluate\[0\].*Did you mean 'robustness/imagenet_"),
        ("also_evaluate: [robustness/imagenet_a]\nphase: search", "also_evaluate.*phase is search"),
        ("also_evaluate: [embedded/count, embedded/count]", "has 'embedded/count' twice"),
        ("also_evaluate: ['@robustness/*']\nmax_jobs: 5", "makes more than 5 jobs"),
    ],
)
def test_what_cannot_be_asked_for_is_a_problem_of_the_spec(more: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        planned(more)


def test_without_data_the_evaluation_is_shown_and_waits_for_them() -> None:
    text = "name: x\ndatasets: [general/imagenet1k]\nbackbones: [nano_vit]\nmethods: [lora]\n"
    made = plan(parse_spec(text + "also_evaluate: ['@robustness/*']"), shipped_catalogue())
    assert made.entries == ()
    assert [entry.job.phase for entry in made.unresolved] == [Phase.FINAL, *[Phase.EVALUATE] * 3]
    assert any("robustness/imagenet_c" in text for text in made.missing)


def test_the_robustness_example_trains_three_models_and_evaluates_nine_times() -> None:
    made = plan(read_spec(EXAMPLES / "robustness.yaml"), present(shipped_catalogue()))
    assert (made.counts.jobs, made.counts.evaluate, made.refused) == (3, 9, ())


def test_the_few_shot_example_has_draws_and_shots_as_data_sets() -> None:
    made = plan(read_spec(EXAMPLES / "few-shot.yaml"), present(shipped_catalogue()))
    finals = of_phase(made, Phase.FINAL)
    shots = Counter(job.dataset.name.partition("@")[2] for job in finals)
    assert shots["1shot"] == shots["8shot.1"] == 5 * 3 * 3
    assert shots["16shot"] == 3 * 3 * 3
    assert made.counts.jobs == sum(shots.values()) == len({job.job_id for job in finals})


def test_too_many_shots_are_told_with_what_is_missing() -> None:
    text = "name: x\ndatasets: [embedded/digits@81shot]\nbackbones: [nano_vit]\nmethods: [linear]\n"
    made = plan(parse_spec(text), shipped_catalogue())
    assert any("class 0 has 80" in text for text in made.missing)


def off_the_shelf(methods: str, more: str = "") -> Plan:
    text = f"name: x\ndatasets: [embedded/digits]\nbackbones: [nano_vit]\nmethods: {methods}\nseeds: 2\n{more}\n"
    return plan(parse_spec(text, "x.yaml"), shipped_catalogue())


TOME = "{tome: {mode: off_the_shelf, merge_rate: [low, high]}}"


def test_a_merge_rate_off_the_shelf_is_evaluated_on_the_model_trained_without_it() -> None:
    made = off_the_shelf(f"[{{lora: {{rank: 4}}}}, [{{lora: {{rank: 4}}}}, {TOME}]]")
    finals, children = of_phase(made, Phase.FINAL), of_phase(made, Phase.EVALUATE)
    assert [job.stack for job in finals] == ["lora"] * 2
    assert Counter(job.parent for job in children) == dict.fromkeys([job.job_id for job in finals], 2)
    assert {job.stack for job in children} == {"lora+tome"}
    assert {job.protocol_id for job in children} == {job.protocol_id for job in finals}
    rows = [entry.row for entry in made.entries if entry.job.parent]
    assert set(rows) == {f"lora+tome(off_the_shelf,merge_rate={rate})" for rate in ("low", "high")}
    assert formula(made.counts).endswith("= 6 − 4 off the shelf = 2 jobs + 4 evaluate")


def test_a_parent_that_the_spec_does_not_ask_for_is_planned_beside_it() -> None:
    made = off_the_shelf(f"[[{{lora: {{rank: [2, 4]}}}}, {TOME}]]", "also_evaluate: [embedded/count]")
    rows = Counter(entry.row for entry in made.entries if entry.job.phase is Phase.FINAL)
    assert rows == {"lora(rank=2)": 2, "lora(rank=4)": 2}
    assert (made.counts.jobs, made.counts.parents, made.counts.off_the_shelf) == (4, 4, 8)


def test_a_stack_that_is_trained_with_merging_is_another_row_and_another_job() -> None:
    made = off_the_shelf(f"[[lora, {{tome: {{merge_rate: high}}}}], [lora, {TOME}]]")
    trained = [entry for entry in made.entries if entry.job.stack == "lora+tome" and entry.job.phase is Phase.FINAL]
    later = [entry for entry in made.entries if entry.job.parent]
    assert not {entry.row for entry in trained} & {entry.row for entry in later}
    assert not {entry.job.job_id for entry in trained} & {entry.job.job_id for entry in later}


@pytest.mark.parametrize(
    ("methods", "problem"),
    [
        ("[[lora, {pyra: {mode: off_the_shelf}}]]", "pyra has to be trained"),
        ("[[linear, {lora: {mode: off_the_shelf}}]]", "lora has to be trained"),
        ("[{tome: {mode: off_the_shelf, merge_rate: low}}]", "has nothing that is trained"),
        ("[[lora, {tome: {mode: shelf, merge_rate: low}}]]", "is 'shelf'; expected trained or off_the_shelf"),
    ],
)
def test_what_must_be_trained_cannot_come_off_the_shelf(methods: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        off_the_shelf(methods)


def test_searches_leave_no_model_to_take_off_the_shelf() -> None:
    with pytest.raises(SpecError, match="phase is search"):
        off_the_shelf(f"[[lora, {TOME}]]", "phase: search")
