"""Evaluate jobs: the model of a real, tiny final job on other test sets; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.records import (
    METRICS,
    BackboneRef,
    DatasetRef,
    FailureClass,
    Job,
    MethodCall,
    Phase,
    Result,
    Status,
    frozen,
)
from workers.corruptions import mean_corruption_error_pct
from workers.data.catalogue import data_hash
from workers.data.suite_files import shipped_suites
from workers.predictions import load_predictions
from workers.site import Site

NAMES = ("n01", "n02", "n03", "n04")


def a_picture(label: int, draws: np.random.Generator) -> Image.Image:
    """The quarter that the class names is bright, as in the training set."""
    pixels = draws.integers(0, 120, (40, 36, 3), dtype=np.uint8)
    row, column = divmod(label, 2)
    pixels[20 * row : 20 * row + 20, 18 * column : 18 * column + 18] += 130
    return Image.fromarray(pixels)


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`local/rest`: a test list alone, classes 3 and 1 of the four. `my/broken`: two corruptions in class folders."""
    root, draws = tmp_path / "others", np.random.default_rng(1)
    monkeypatch.setenv("SWEEPBOARD_DATA", str(root))
    (root / "rest" / "images").mkdir(parents=True)
    lines = []
    for index in range(9):
        label = index % 2
        a_picture((3, 1)[label], draws).save(root / "rest" / "images" / f"{index}.png")
        lines.append(f"images/{index}.png {label}\n")
    (root / "rest" / "test.txt").write_text("".join(lines))
    for corruption in ("fog", "snow"):
        for severity in range(1, 6):
            for label, name in enumerate(NAMES):
                folder = root / "broken" / corruption / str(severity) / name
                folder.mkdir(parents=True)
                for index in range(2):
                    a_picture((label + (corruption == "snow")) % 4, draws).save(folder / f"{index}.png")
    (root / "datasets.yaml").write_text(
        "name: my\ndatasets:\n"
        "  broken: {layout: class_folders, classes: 4, test: 80, corruptions: {fog: 80, snow: 40}}\n"
    )
    return root


@pytest.fixture
def parent(a_job: Callable[..., Job]) -> Job:
    return a_job("lora", rank=2, recipe={"epochs": 2})


def child_of(parent: Job, name: str, class_map: tuple[int, ...], root: Path | None = None) -> Job:
    dataset = parent.dataset if root is None else DatasetRef(name, data_hash(name, root), len(class_map))
    return replace(
        parent,
        phase=Phase.EVALUATE,
        dataset=dataset,
        needs=(),
        parent=parent.job_id,
        trained_on=parent.dataset,
        class_map=class_map,
    )


def test_on_the_parents_own_test_set_it_gives_the_parents_number_and_predictions(
    run: Callable[..., Result], parent: Job, site: Site
) -> None:
    trained, found = run(parent), run(child_of(parent, "", (0, 1, 2, 3)))
    assert found.status is Status.DONE, found.failure
    for name in ("test_top1_pct", "test_loss", "trainable_params", "head_params", "macs"):
        assert found.metrics[name] == trained.metrics[name]
    assert found.files["predictions"] == trained.files["predictions"]  # named by content
    assert found.epochs == ()
    assert "delta" not in found.files
    assert set(found.metrics) <= set(METRICS)


def test_a_linear_probe_trained_on_features_is_evaluated_on_images(
    run: Callable[..., Result], a_job: Callable[..., Job]
) -> None:
    parent = a_job("linear")
    trained, found = run(parent), run(child_of(parent, "", (0, 1, 2, 3)))
    assert found.metrics["test_top1_pct"] == trained.metrics["test_top1_pct"]
    assert found.metrics["test_loss"] == pytest.approx(trained.metrics["test_loss"], rel=1e-5)


def test_random_weights_are_the_parents(run: Callable[..., Result], a_job: Callable[..., Job]) -> None:
    parent = a_job("linear", seed=7, backbone=BackboneRef("nano_vit", "random"))
    trained, found = run(parent), run(child_of(parent, "", (0, 1, 2, 3)))
    assert found.metrics["test_top1_pct"] == trained.metrics["test_top1_pct"]


def test_only_the_logits_of_its_classes_compete_and_labels_are_its_own(
    run: Callable[..., Result], parent: Job, site: Site, others: Path
) -> None:
    run(parent)
    found = run(child_of(parent, "local/rest", (3, 1), others))
    assert found.status is Status.DONE, found.failure
    told = load_predictions(site.home / found.files["predictions"])
    assert list(told.labels) == [0, 1] * 4 + [0]
    assert set(told.predicted) <= {0, 1}
    assert found.metrics["test_top1_pct"] == pytest.approx(100 * np.mean(told.predicted == told.labels))
    assert (told.probability >= 0.5).all()  # of two classes, the likelier one


def test_another_map_is_another_job_with_another_number(run: Callable[..., Result], parent: Job, others: Path) -> None:
    run(parent)
    right, wrong = (child_of(parent, "local/rest", one, others) for one in ((3, 1), (1, 3)))
    assert right.job_id != wrong.job_id
    assert right.protocol_id != wrong.protocol_id
    tops = [run(one).metrics["test_top1_pct"] for one in (right, wrong)]
    assert sum(tops) == pytest.approx(100.0)  # two classes, swapped


def test_corruptions_give_their_mean_top1_and_the_mean_corruption_error(
    run: Callable[..., Result], parent: Job, site: Site, others: Path
) -> None:
    run(parent)
    found = run(child_of(parent, "my/broken", (0, 1, 2, 3), others))
    assert found.status is Status.DONE, found.failure
    told = load_predictions(site.home / found.files["predictions"])
    hits = np.asarray(told.predicted == told.labels).reshape(2, 5, 8)  # corruption, severity, image
    errors_pct = 100 * (1 - hits.mean(axis=(1, 2)))
    assert found.metrics["test_mce_pct"] == pytest.approx(100 * np.mean(errors_pct / np.array([80.0, 40.0])))
    assert found.metrics["test_top1_pct"] == pytest.approx(100 * hits.mean())
    assert len(list((site.cache / "images").glob("*/card.json"))) == 2  # the parent's splits: these were streamed


def test_tokens_are_merged_in_a_model_that_was_trained_without(
    run: Callable[..., Result], parent: Job, site: Site
) -> None:
    trained = run(parent)
    none, some = (
        MethodCall("tome", 1, frozen({"schedule": schedule, "prop_attn": True}))
        for schedule in ((0,) * 6, (20, 10, 5, 0, 0, 0))
    )
    plain, merged = (
        run(replace(child_of(parent, "", (0, 1, 2, 3)), methods=(*parent.methods, tome))) for tome in (none, some)
    )
    assert plain.metrics["test_loss"] == pytest.approx(trained.metrics["test_loss"], rel=1e-5)
    assert merged.status is Status.DONE, merged.failure
    assert merged.metrics["test_loss"] != trained.metrics["test_loss"]
    assert merged.metrics["macs"] < 0.6 * plain.metrics["macs"]
    assert merged.metrics["trainable_params"] == trained.metrics["trainable_params"]


def test_a_stack_that_trains_other_values_than_the_parent_is_refused(run: Callable[..., Result], parent: Job) -> None:
    run(parent)
    failure = run(replace(child_of(parent, "", (0, 1, 2, 3)), methods=(MethodCall("full", 1),))).failure
    assert failure is not None
    assert "does not fit the model" in failure.message


def test_a_parent_without_its_files_is_told_apart_from_a_lost_artifact(
    run: Callable[..., Result], parent: Job, site: Site
) -> None:
    run(parent)
    site.delta_path(parent.job_id).unlink()
    failure = run(child_of(parent, "", (0, 1, 2, 3))).failure
    assert failure is not None
    assert failure.failure_class is FailureClass.USER_ERROR
    assert "store import" in failure.message


def test_the_delta_of_another_job_is_refused(
    run: Callable[..., Result], parent: Job, a_job: Callable[..., Job], site: Site
) -> None:
    other = a_job("lora", rank=2, seed=5)
    run(other)
    site.delta_path(other.job_id).rename(site.delta_path(parent.job_id))
    failure = run(child_of(parent, "", (0, 1, 2, 3))).failure
    assert failure is not None
    assert other.job_id in failure.message


def test_it_cannot_open_training_images(run: Callable[..., Result], parent: Job) -> None:
    run(parent)
    failure = run(replace(child_of(parent, "", (0, 1, 2, 3)), score_split="train800")).failure
    assert failure is not None
    assert "evaluate job asked for split 'train800'" in failure.message


def test_images_that_changed_since_the_plan_are_refused(run: Callable[..., Result], parent: Job, others: Path) -> None:
    run(parent)
    child = child_of(parent, "my/broken", (0, 1, 2, 3), others)
    (others / "broken" / "fog" / "3" / "n02" / "extra.png").write_bytes(b"x")
    failure = run(child).failure
    assert failure is not None
    assert "changed since the plan" in failure.message


def test_the_mean_corruption_error_by_hand() -> None:
    """Noise: errors 40 and 60, AlexNet 80. Blur: 20 and 20, AlexNet 40. (50/80 + 20/40) / 2."""
    top1 = {"noise/1": 60.0, "noise/2": 40.0, "blur/1": 80.0, "blur/2": 80.0}
    assert mean_corruption_error_pct(top1, {"noise": 80.0, "blur": 40.0}) == pytest.approx(56.25)


def test_alexnet_has_a_mean_corruption_error_of_100() -> None:
    (suite,) = (one for one in shipped_suites() if one.name == "robustness")
    dataset = suite.dataset("imagenet_c")
    assert dataset is not None
    assert len(dataset.parts) == 75
    published = [88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7]
    assert [round(error + 1e-9, 1) for error in dataset.corruptions.values()] == published
    alexnet = {part: 100 - dataset.corruptions[part.partition("/")[0]] for part in dataset.parts}
    assert mean_corruption_error_pct(alexnet, dataset.corruptions) == pytest.approx(100.0)
