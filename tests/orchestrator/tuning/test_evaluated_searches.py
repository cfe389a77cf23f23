"""What comes after a search: other test sets, merging off the shelf. And searches on masks, which go by Dice."""

import math
from dataclasses import replace

import pytest

from orchestrator.catalogue import installed_catalogue
from orchestrator.errors import UsageError
from orchestrator.plan import plan
from orchestrator.report.build import leaderboard
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.tuning.freezing import frozen_recipe
from orchestrator.tuning.outcomes import DONE, PRUNED
from orchestrator.tuning.report import study_reports
from storage.records import EpochMetrics, Phase, Result, Status
from tests.orchestrator.tuning.searches import EPOCHS, Killed, Search, planned, spec_text
from workers.pools.scripted import Answer

LORA = "{lora: {rank: 4}}"
SHELF = f"[{LORA}, {{tome: {{mode: off_the_shelf, merge_rate: [low, high]}}}}]"
SPACE = "trials: 6, space: {lr: {log: [1e-4, 1e-1]}}"


def scored(name):
    """Training whose score is best at a rate of 3e-3 and grows with the epochs."""

    def answer(job, lease_epoch):
        if job.makes is not None:
            files = {"artifact": f"artifacts/{job.makes.key_id}.safetensors"}
            return Answer(5.0, Result(job_id=job.job_id, status=Status.DONE, files=files))
        best = 90 - 25 * (math.log10(job.recipe.lr) - math.log10(3e-3)) ** 2
        curve = tuple(
            EpochMetrics(at, {f"val_{name}": best * (1 - math.exp(-at)), "val_loss": 1 / at}, 5.0 * at)
            for at in range(1, EPOCHS + 1)
        )
        metrics = dict(curve[-1].metrics) if job.phase is Phase.SEARCH else {f"test_{name}": best}
        epochs = curve if job.phase is Phase.SEARCH else ()
        result = Result(job_id=job.job_id, status=Status.DONE, metrics=metrics | {"wall_s": 50.0}, epochs=epochs)
        return Answer(50.0, result, epochs=epochs)

    return answer


def by_phase(one, phase):
    return [state for state in one.store.jobs("s") if state.job.phase is phase]


@pytest.mark.parametrize("methods", [f"[{SHELF}]", f"[{LORA}, {SHELF}]"])
def test_tuned_models_are_evaluated_at_every_merge_rate_off_the_shelf(search, methods):
    one = search(SPACE, script=scored("top1_pct"), methods=methods, datasets="[embedded/digits]")
    for events in (5, 25, 60):
        with pytest.raises(Killed):
            one.drive(kill_after=events)
    assert one.drive().failed == 0
    finals, children = by_phase(one, Phase.FINAL), by_phase(one, Phase.EVALUATE)
    (study,) = one.tuner.studies
    assert {state.job.recipe.lr for state in finals} == {study.trials[study.best.number].params["train.lr"]}
    assert sorted(state.job.parent for state in children) == sorted(2 * [state.job.job_id for state in finals])
    assert {state.row for state in children} == {
        f"lora+tome(off_the_shelf,merge_rate={rate})" for rate in ("low", "high")
    }
    assert {state.tuned for state in children} == {state.tuned for state in finals} != {None}
    assert {state.status for state in (*finals, *children)} == {Status.DONE}


def test_tuned_models_are_evaluated_on_other_test_sets(search):
    one = search(
        SPACE,
        script=scored("top1_pct"),
        methods=f"[{LORA}]",
        datasets="[embedded/digits@5shot]",
        rest="seeds: 2\nalso_evaluate: embedded/digits",
    )
    assert one.drive().failed == 0
    finals, children = by_phase(one, Phase.FINAL), by_phase(one, Phase.EVALUATE)
    assert len(finals) == 2
    assert {state.job.parent for state in children} == {state.job.job_id for state in finals}
    assert {state.job.dataset.name for state in children} == {"embedded/digits"}
    assert all(state.tuned == finals[0].tuned and state.status is Status.DONE for state in children)
    made = len(one.attempts)
    assert one.drive().ran == 0
    assert len(one.attempts) == made


def test_models_that_are_not_tuned_keep_their_evaluations_beside_a_search(search):
    one = search(
        "trials: 4, space: {lora.rank: {int: [2, 8]}}",
        script=scored("top1_pct"),
        methods=f"[linear, {LORA.replace('{rank: 4}', '{}')}]",
        datasets="[embedded/digits@5shot]",
        rest="seeds: 1\nalso_evaluate: embedded/digits",
    )
    one.drive()
    assert sorted(state.job.stack for state in by_phase(one, Phase.EVALUATE)) == ["linear", "lora"]


def test_what_comes_in_after_training_is_no_part_of_the_space():
    with pytest.raises(SpecError, match=r"tome\.merge_rate.*every value is evaluated"):
        planned(
            spec_text(
                "space: {lr: {log: [1e-4, 1e-1]}, tome.merge_rate: {choice: [low, high]}}",
                methods=f"[[{LORA}, {{tome: {{mode: off_the_shelf}}}}]]",
            )
        )


@pytest.fixture
def masked(tmp_path):
    """A data set with masks; nothing of it is decoded here."""
    root = tmp_path / "data"
    for part in ("images", "masks"):
        (root / "masked" / part).mkdir(parents=True)
    for at, split in enumerate(("train", "train", "val", "test")):
        for part in ("images", "masks"):
            (root / "masked" / part / f"{at}.png").write_bytes(bytes([at]))
        with (root / "masked" / f"{split}.txt").open("a") as file:
            file.write(f"images/{at}.png masks/{at}.png\n")
    catalogue = installed_catalogue(root, tmp_path)
    return lambda text: plan(parse_spec(text), catalogue)


def test_on_masks_a_search_goes_by_dice(masked, tmp_path):
    text = spec_text("trials: 12, space: {lr: {log: [1e-4, 1e-1]}}", methods="[bitfit]", datasets="[local/masked]")
    one = Search(text, tmp_path, script=scored("dice_pct"), plans=masked)
    one.drive()
    (study,) = one.tuner.studies
    assert {outcome.state for outcome in study.outcomes} == {DONE, PRUNED}
    best = study.outcomes[study.best.number]
    assert best.score == max(outcome.score for outcome in study.outcomes if outcome.state == DONE)
    (report,) = study_reports(one.store, "s")
    assert report.score == "val_dice_pct"
    assert report.to_json()["best"]["val_dice_pct"] == best.score
    assert len(by_phase(one, Phase.FINAL)) == 2
    one.store.close()


def test_a_front_on_masks_is_of_dice(masked, tmp_path):
    tune = "trials: 6, objectives: [val_dice_pct, trainable_params], space: {lr: {log: [1e-4, 1e-1]}}"
    one = Search(spec_text(tune, methods="[bitfit]", datasets="[local/masked]"), tmp_path, plans=masked)
    one.script = with_size(scored("dice_pct"))
    one.drive()
    reports = study_reports(one.store, "s")
    board = leaderboard(one.store.jobs("s"), {}, sweeps=("s",))
    one.store.close()
    assert reports[0].to_json()["objectives"] == ["val_dice_pct", "trainable_params"]
    assert any("in all of val_dice_pct, trainable_params" in note for note in board.sections[0].notes)
    with pytest.raises(UsageError, match=r"--trial masked=\d \(val_dice_pct \d+"):
        frozen_recipe("s", reports)


def with_size(script):
    """The better half of the rates trains more values."""

    def answer(job, lease_epoch):
        made = script(job, lease_epoch)
        size = 100.0 + round(made.result.metrics.get("val_dice_pct", 0.0))
        return replace(made, result=replace(made.result, metrics={**made.result.metrics, "trainable_params": size}))

    return answer
