"""Hand-made jobs and results for the boards under test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest

from orchestrator.report.board import Place
from storage.home import store_url
from storage.open import open_store
from storage.records import (
    BackboneRef,
    DatasetRef,
    Failure,
    FailureClass,
    Job,
    MethodCall,
    Phase,
    Recipe,
    Result,
    Status,
    frozen,
)
from storage.store import Entry, JobState, Store

PLACES = {
    "toy/digits": Place("toy", "natural"),
    "toy/birds": Place("toy", "natural"),
    "toy/count": Place("toy", "structured"),
}
COSTS = {"wall_s": 12.5, "cpu_s": 12.25, "train_s": 10.5, "eval_s": 1.5, "overhead_s": 0.5, "peak_mem_mib": 321.5}
NANO = BackboneRef("nano_vit", "a" * 64)
SHORT = Recipe(image_size=32, epochs=20)
FACTS = {"device": "Test CPU", "torch": "9.9.9", "sweepboard": "0.0.1"}


@dataclass(frozen=True)
class Run:
    """One final job as a test writes it; `top1_pct` None: failed, "pending": not yet run."""

    stack: str = "lora"
    params: dict[str, object] = field(default_factory=dict)
    dataset: str = "toy/digits"
    seed: int = 0
    top1_pct: float | str | None = 50.0
    label: str = ""
    backbone: BackboneRef = NANO
    recipe: Recipe = SHORT
    data_hash: str = "d" * 64
    protocol: str = "honest"
    phase: Phase = Phase.FINAL

    @property
    def job(self) -> Job:
        return Job(
            phase=self.phase,
            methods=tuple(MethodCall(name, 1, frozen(self.params)) for name in self.stack.split("+")),
            backbone=self.backbone,
            dataset=DatasetRef(self.dataset, self.data_hash, 10),
            train_split="train800val200",
            score_split="test",
            recipe=self.recipe,
            seed=self.seed,
            trainer_revision=1,
            protocol=self.protocol,
        )

    @property
    def result(self) -> Result:
        if self.top1_pct is None:
            failure = Failure(FailureClass.DIVERGED, "the loss became NaN")
            return Result(job_id=self.job.job_id, status=Status.FAILED, failure=failure, facts=FACTS)
        metrics = {"test_top1_pct": float(self.top1_pct), "test_loss": 1.25, "trainable_params": 27840.0}
        sizes = {"head_params": 970.0, "total_params": 600000.0, "macs": 45.3e6}
        return Result(job_id=self.job.job_id, status=Status.DONE, metrics=metrics | sizes | COSTS, facts=FACTS)

    @property
    def state(self) -> JobState:
        if self.top1_pct == "pending":
            return JobState(self.job, Status.PENDING, 0, self.label)
        return JobState(self.job, self.result.status, 1, self.label, self.result)


def fill(store: Store, sweep: str, runs: Sequence[Run]) -> None:
    """Save the runs as a sweep and finish all but the pending ones, as the loop would."""
    by_id = {run.job.job_id: run for run in runs}
    store.save_sweep(sweep, f"name: {sweep}\n", [Entry(run.job, order, run.label) for order, run in enumerate(runs)])
    for entry, lease in store.claim(sweep, "test", len(runs), 60.0):
        run = by_id[entry.job.job_id]
        if run.top1_pct == "pending":
            store.release(lease, "put back by the test")
        else:
            store.start(lease)
            store.finish(lease, run.result)


def golden_runs() -> list[Run]:
    """Two seeds, three tasks in two groups: complete, failing, unfinished, awkwardly labelled and bf16 rows."""
    lora = Run(params={"rank": 8, "targets": ["qkv"]})
    gps = Run(stack="gps", params={"connections_per_neuron": 1}, label="GPS")
    linear = Run(stack="linear", recipe=Recipe(image_size=32, epochs=20, lr=0.01))
    pico = BackboneRef("pico_vit", "b" * 64, mean=(0.4, 0.4, 0.4))
    odd = replace(linear, label='odd | "label",\n<b>*x*', backbone=pico)
    half = replace(linear, recipe=replace(linear.recipe, precision="bf16"))
    return [
        *_row(linear, (40.0, 52.25, 31.0)),
        *_row(lora, (71.5, 63.75, 55.125), broken={("toy/birds", 1): None}),
        *_row(gps, (72.0, 66.5, 58.0)),
        *_row(replace(gps, params={"connections_per_neuron": 2}), (73.0, 65.5, 59.0)),
        *_row(odd, (38.0, 50.0, 30.0), broken={("toy/count", 0): "pending", ("toy/count", 1): "pending"}),
        *_row(replace(lora, backbone=pico), (60.0, 61.0, 50.0)),
        *_row(half, (39.5, 51.5, 30.5)),
    ]


def _row(
    kind: Run, means: tuple[float, ...], broken: Mapping[tuple[str, int], str | None] = MappingProxyType({})
) -> list[Run]:
    wanted = [
        (dataset, seed, mean + 1.5 * (seed - 0.5))
        for dataset, mean in zip(PLACES, means, strict=True)
        for seed in (0, 1)
    ]
    return [
        replace(kind, dataset=dataset, seed=seed, top1_pct=broken.get((dataset, seed), top1_pct))
        for dataset, seed, top1_pct in wanted
    ]


@pytest.fixture
def toy() -> SimpleNamespace:
    """What the tests of this folder write their jobs with."""
    return SimpleNamespace(Run=Run, places=PLACES, costs=COSTS, facts=FACTS, row=_row, golden_runs=golden_runs)


@pytest.fixture
def filled_store(tmp_path: Path) -> Iterator[Callable[[Sequence[Run]], Store]]:
    """Makes SQLite stores; each holds the given runs as sweep "golden"."""
    opened: list[Store] = []

    def make(runs: Sequence[Run]) -> Store:
        store = open_store(tmp_path / f"store{len(opened)}.db")
        opened.append(store)
        fill(store, "golden", runs)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def filled_home(tmp_path: Path) -> Callable[..., Path]:
    """Makes a home whose store holds the given runs as a sweep."""

    def make(runs: Sequence[Run], sweep: str = "golden") -> Path:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        store = open_store(store_url(home, {}))
        fill(store, sweep, runs)
        store.close()
        return home

    return make
