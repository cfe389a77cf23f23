"""Plans on data with masks: kind of task, defaults, refusals, names of jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalogue import Catalogue, installed_catalogue
from orchestrator.plan import Plan, plan
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from storage.records import CLASSIFICATION, SEGMENTATION, DatasetRef, Job, Phase

SAM_B = "{name: samvit_base_patch16.sa1b, weights: random}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of six images: one with masks, one with classes. Nothing is decoded by a plan."""
    root = tmp_path_factory.mktemp("data")
    for name, second in (("masked", "masks/{}.png"), ("classed", "{}")):
        (root / name / "images").mkdir(parents=True)
        (root / name / "masks").mkdir()
        for at, split in enumerate(("train", "train", "val", "test", "test", "test")):
            (root / name / "images" / f"{at}.png").write_bytes(bytes([at]))
            (root / name / "masks" / f"{at}.png").write_bytes(bytes([at]))
            with (root / name / f"{split}.txt").open("a") as file:
                file.write(f"images/{at}.png {second.format(at if name == 'masked' else at % 2)}\n")
    return root


@pytest.fixture
def catalogue(root: Path, tmp_path: Path) -> Catalogue:
    return installed_catalogue(root, tmp_path)


def planned(catalogue: Catalogue, methods: str, more: str = "", backbones: str = "[nano_vit]") -> Plan:
    datasets = "[local/masked]" if "datasets" not in more else ""
    head = f"datasets: {datasets}\n" if datasets else ""
    return plan(parse_spec(f"name: x\n{head}backbones: {backbones}\nmethods: {methods}\n{more}\n"), catalogue)


def jobs(made: Plan, phase: Phase = Phase.FINAL) -> list[Job]:
    return [entry.job for entry in made.entries if entry.job.phase is phase]


def test_the_kind_of_task_is_known_from_the_lists(catalogue: Catalogue) -> None:
    made = planned(catalogue, "[linear]", "datasets: [local/masked, local/classed]")
    assert {job.dataset.name: (job.dataset.task, job.dataset.classes) for job in jobs(made)} == {
        "local/masked": (SEGMENTATION, 1),
        "local/classed": (CLASSIFICATION, 2),
    }


def test_kvasir_is_planned_without_its_images(catalogue: Catalogue) -> None:
    made = planned(catalogue, "[gps]", "datasets: [segmentation/kvasir_seg]", f"[{SAM_B}]")
    (waiting,) = [entry.job for entry in made.unresolved if entry.job.phase is Phase.FINAL]
    assert (waiting.dataset.task, waiting.recipe.image_size, waiting.recipe.lr) == (SEGMENTATION, 1024, 2e-4)


def test_gps_scores_by_the_task_loss_one_image_at_a_time(catalogue: Catalogue) -> None:
    (job,) = jobs(planned(catalogue, "[gps]"))
    assert {name: job.methods[0].kwargs[name] for name in ("loss", "selection_batch_size")} == {
        "loss": "task",
        "selection_batch_size": 1,
    }
    assert dict(job.needs[0].inputs)["gps.loss"] == "task"
    assert dict(job.needs[0].inputs)["split"] == "train800val200", "training images, not the test images of the release"


def test_what_the_spec_gives_goes_before_the_defaults_of_the_task(catalogue: Catalogue) -> None:
    made = planned(catalogue, "[{gps: {selection_batch_size: 4}}]", "train: {lr: [2e-3, 4e-3]}")
    assert [job.recipe.lr for job in jobs(made)] == [2e-3, 4e-3]
    assert {job.methods[0].kwargs["selection_batch_size"] for job in jobs(made)} == {4}


def test_the_released_quirk_is_a_switch_in_the_job_and_only_where_it_is_on(catalogue: Catalogue) -> None:
    made = planned(catalogue, "[gps, {gps: {preset: release, label: released}}]", backbones=f"[{SAM_B}]")
    plain, released = (job.methods[0].kwargs for job in jobs(made))
    assert {"preset", "train_neck_norm_biases"} & set(plain) == set()
    assert (released["preset"], released["train_neck_norm_biases"]) == ("release", True)


def test_jobs_on_classes_keep_their_names(catalogue: Catalogue) -> None:
    """The record of a classification job has neither the task nor fields that GPS got later."""
    (job,) = jobs(planned(catalogue, "[gps]", "datasets: [embedded/digits]"))
    record = job.to_json()
    assert "task" not in record["dataset"]
    assert set(record["methods"][0]["params"]) == {
        "connections_per_neuron", "criterion", "exclude_blocks", "level", "loss", "selection_batch_size", "temperature",
    }  # fmt: skip
    assert record["methods"][0]["params"]["loss"] == "supcon"


def test_a_record_with_masks_comes_back_as_it_was_and_has_a_name_of_its_own(catalogue: Catalogue) -> None:
    (job,) = jobs(planned(catalogue, "[linear]"))
    assert Job.from_json(job.to_json()) == job
    assert replace(job, dataset=replace(job.dataset, task=CLASSIFICATION)).job_id != job.job_id
    assert DatasetRef("a/b", "h", 2).canonical == '{"classes":2,"data_hash":"h","name":"a/b"}'


def test_features_of_a_probe_are_not_shared_where_the_head_is_a_decoder(catalogue: Catalogue) -> None:
    made = planned(catalogue, "[linear]", "seeds: 2")
    assert len(made.entries) == 2
    assert all(not job.needs for job in jobs(made))


@pytest.mark.parametrize(
    ("methods", "more", "backbone", "reason"),
    [
        ("[tome]", "", "nano_vit", "'tome' removes tokens, and a mask decoder needs the token of every patch"),
        ("[linear]", "", "convnext_tiny", "reads a map of patches, of a backbone of family vit or sam, not 'convnext'"),
        ("[linear]", "train: {augment: crop_flip}", "nano_vit", "masks are not cropped with their images"),
        ("[linear]", "train: {label_smoothing: 0.1}", "nano_vit", "are for classes; leave them out on masks"),
        ("[tome]", "", SAM_B, "cannot adapt backbones of family 'sam'"),
    ],
)
def test_what_masks_do_not_allow_is_refused(
    methods: str, more: str, backbone: str, reason: str, catalogue: Catalogue
) -> None:
    with pytest.raises(SpecError, match="is refused") as caught:
        planned(catalogue, methods, more, f"[{backbone}]")
    assert reason in str(caught.value)


def test_a_refusal_on_masks_leaves_the_classes_of_the_same_spec_alone(catalogue: Catalogue) -> None:
    made = planned(catalogue, "[tome]", "datasets: [local/masked, local/classed]")
    assert [job.dataset.name for job in jobs(made)] == ["local/classed"]
    assert [(one.row, one.jobs) for one in made.refused] == [("tome", 1)]


def test_speed_is_measured_apart_for_masks_and_classes(catalogue: Catalogue) -> None:
    made = planned(catalogue, "[linear]", "datasets: [local/masked, local/classed]\nmeasure: true\ntrain: {lr: 1e-3}")
    assert {job.dataset.task for job in jobs(made, Phase.MEASURE)} == {SEGMENTATION, CLASSIFICATION}
