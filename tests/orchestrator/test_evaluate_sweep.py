"""Evaluate jobs in a sweep: a real one from spec to board, and the order that the loop keeps."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.cli import main
from orchestrator.errors import EXIT_JOBS_FAILED
from orchestrator.loop import Loop
from orchestrator.progress import waiting
from storage.home import store_url
from storage.open import open_store
from storage.records import DatasetRef, FailureClass, Job, Phase, Status
from storage.store import Entry, JobState
from workers.pools.scripted import Answer, ScriptedPool, VirtualClock, failed
from workers.testing import probe_job

INLINE = ("--pool", "inline", "--mlflow", "off", "--device", "cpu")
SPEC = """name: moved
datasets: [local/train@4shot]
also_evaluate: [local/other, local/strange]
backbones: [{name: nano_vit, weights: random}]
methods: [{lora: {rank: 2}}, linear]
seeds: 2
train: {epochs: 1, batch_size: 8}
"""


def draw(folder: Path, names: str, splits: dict[str, int]) -> None:
    """Classes are called by one letter each, which says which rows are bright."""
    draws = np.random.default_rng(len(names))
    folder.mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(names) + "\n")
    for split, count in splits.items():
        lines = []
        for index in range(count):
            pixels = draws.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            row = 8 * "abcd".find(names[index % len(names)])
            pixels[max(row, 0) : max(row, 0) + 8] += 130
            Image.fromarray(pixels).save(folder / f"{split}{index}.png")
            lines.append(f"{split}{index}.png {index % len(names)}\n")
        (folder / f"{split}.txt").write_text("".join(lines))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, a spec and a home to be."""
    draw(tmp_path / "data" / "train", "abcd", {"train": 24, "val": 8, "test": 12})
    draw(tmp_path / "data" / "other", "db", {"test": 10})
    draw(tmp_path / "data" / "strange", "ae", {"test": 4})
    for name in ("data", "cache", "home"):
        monkeypatch.setenv(f"SWEEPBOARD_{name.upper()}", str(tmp_path / name))
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def states(place: Path) -> list[JobState]:
    store = open_store(store_url(place / "home", {}))
    found = store.jobs("moved")
    store.close()
    return found


def test_models_are_trained_then_evaluated_and_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", *INLINE, "--no-preflight", str(place / "spec.yaml")]
    assert main(run) == 0
    told = capsys.readouterr().err
    assert "left out: also_evaluate local/strange of local/train@4shot on nano_vit (4 jobs): 1 of its 2 classes" in told
    by_phase = Counter(state.job.phase for state in states(place) if state.status is Status.DONE)
    assert (by_phase[Phase.FINAL], by_phase[Phase.EVALUATE]) == (4, 4)
    assert {state.job.class_map for state in states(place) if state.job.parent} == {(3, 1)}
    assert main(run) == 0
    assert "0 jobs run" in capsys.readouterr().err
    assert main(["leaderboard", "moved", "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    evaluated = [line for line in lines if line["dataset"] == "local/other"]
    assert {line["trained_on"] for line in evaluated} == {"local/train@4shot"}
    assert all(0 <= float(line["test_top1_pct"]) <= 100 for line in evaluated)
    assert {line["suite"] for line in lines} == {"local", "local@4shot"}


def test_evaluation_that_is_asked_for_later_trains_nothing_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SPEC.replace("seeds: 2", "seeds: 1")
    (place / "spec.yaml").write_text(text.replace("also_evaluate: [local/other, local/strange]\n", ""))
    run = ["run", *INLINE, "--no-preflight", str(place / "spec.yaml")]
    assert main(run) == 0
    (place / "spec.yaml").write_text(text)
    assert main([*run, "--only", "dataset=local/other", "--only", "method=lora"]) == 0
    assert "1 jobs run" in capsys.readouterr().err
    assert main(run) == 0
    assert "1 jobs run" in capsys.readouterr().err


def test_results_that_came_without_files_cannot_be_evaluated_and_say_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "spec.yaml").write_text(SPEC.replace("seeds: 2", "seeds: 1").replace(", linear]", "]"))
    run = ["run", *INLINE, "--no-preflight", str(place / "spec.yaml")]
    assert main([*run, "--only", "dataset=local/train@4shot"]) in (0, EXIT_JOBS_FAILED)
    assert main(["store", "export", "--no-files", str(place / "export")]) == 0
    shutil.rmtree(place / "home")
    assert main(["store", "import", "--no-files", str(place / "export")]) == 0
    assert main(run) == EXIT_JOBS_FAILED
    capsys.readouterr()
    main(["status", "moved"])
    assert "its result came without files" in capsys.readouterr().out


def a_child(parent: Job) -> Job:
    return replace(
        parent,
        phase=Phase.EVALUATE,
        dataset=DatasetRef("probe/moved", "none", 2),
        parent=parent.job_id,
        trained_on=parent.dataset,
        class_map=(0, 1),
    )


@pytest.fixture
def loop_over(tmp_path: Path) -> Callable[..., Loop]:
    """A loop over a final job, behind its child in the sweep, in virtual time."""

    def make(script: Callable[[Job, int], Answer]) -> Loop:
        clock, parent = VirtualClock(), probe_job("ok")
        store = open_store("sqlite://", clock=clock)
        store.save_sweep("s", "spec", [Entry(a_child(parent), 0), Entry(parent, 1)])
        return Loop(store, "s", ScriptedPool(script, clock, 2), tmp_path, clock=clock)

    return make


def test_an_evaluate_job_runs_after_its_parent_though_slots_are_free(loop_over: Callable[..., Loop]) -> None:
    ran: list[Phase] = []

    def script(job: Job, epoch: int) -> Answer:
        ran.append(job.phase)
        return Answer(5.0)

    assert loop_over(script).run().done == 2
    assert ran == [Phase.FINAL, Phase.EVALUATE]


def test_an_evaluate_job_of_a_failed_parent_is_not_run_and_the_reason_is_told(loop_over: Callable[..., Loop]) -> None:
    loop = loop_over(lambda job, epoch: Answer(1.0, failed(job, FailureClass.DIVERGED)))
    outcome = loop.run()
    assert (outcome.failed, outcome.blocked, outcome.ran) == (1, 1, 1)
    parent = probe_job("ok").job_id
    assert waiting(loop.store.jobs("s")) == [f"1 wait for final job {parent}, which is failed"]


def test_an_evaluate_job_that_a_killed_driver_left_goes_on(loop_over: Callable[..., Loop]) -> None:
    loop = loop_over(lambda job, epoch: Answer(1.0))
    loop.watch = lambda progress, event: loop.drain() if progress.done else None
    assert loop.run().blocked == 1
    again = Loop(loop.store, "s", loop.pool, loop.home, clock=loop.clock)
    assert again.run().done == 2


def test_merge_rates_off_the_shelf_run_on_one_trained_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = "[{lora: {rank: 2}}, {tome: {mode: off_the_shelf, mac_ratio: [0.5, 0.8]}}]"
    text = SPEC.replace("{lora: {rank: 2}}, linear", rates).replace("seeds: 2", "seeds: 1")
    (place / "spec.yaml").write_text(text.replace("also_evaluate: [local/other, local/strange]\n", ""))
    assert main(["run", *INLINE, "--no-preflight", str(place / "spec.yaml")]) == 0
    assert "3 jobs run" in capsys.readouterr().err
    assert main(["leaderboard", "moved", "--format", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    macs = {line["row"]: float(line["macs"]) for line in lines}
    assert sorted(macs, key=lambda row: macs[row]) == [
        "lora+tome(off_the_shelf,mac_ratio=0.5)",
        "lora+tome(off_the_shelf,mac_ratio=0.8)",
        "lora(rank=2)",
    ]
    assert len({line["protocol_id"] for line in lines}) == 1
