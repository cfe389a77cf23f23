"""Searches in virtual time: real plans, real stores, real studies; only the training is a formula."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.loop import Loop
from orchestrator.owners import this_owner
from orchestrator.plan import plan
from orchestrator.spec import parse_spec
from orchestrator.testing import shipped_catalogue
from orchestrator.tuning.planning import fixed_entries
from orchestrator.tuning.tuner import Tuner
from storage.open import open_store
from storage.records import EpochMetrics, FailureClass, Phase, Result, Status
from workers.pools.scripted import Answer, ScriptedPool, VirtualClock, failed

EPOCHS = 8
DEAD = f"{this_owner().rpartition(':')[0]}:{2**22 + 1}"  # above the largest process id of Linux: seen to be dead


def spec_text(tune="trials: 12", methods="[gps]", datasets="[embedded/digits, embedded/location]", rest="seeds: 2"):
    return (
        f"name: s\ndatasets: {datasets}\nbackbones: [nano_vit]\nmethods: {methods}\ntrain: {{epochs: {EPOCHS}}}\n"
        f"{rest}\ntune: {{{tune}}}\n"
    )


SPACE = "space: {lr: {log: [1e-4, 1e-1]}, gps.connections_per_neuron: {int: [1, 15]}}"


def planned(text):
    return plan(parse_spec(text), shipped_catalogue())


def accuracy(job, epoch):
    """Validation accuracy in % on 200 images: best near lr 3e-3, and at another K on every data set."""
    connections = dict(job.methods[0].params).get("connections_per_neuron", 5)
    peak = {"digits": 4, "location": 11, "count": 7}[job.dataset.name.rpartition("/")[2]]
    off = (math.log10(job.recipe.lr) - math.log10(3e-3)) ** 2 + ((connections - peak) / 8) ** 2
    return round(2 * (90 - 25 * off) * (1 - math.exp(-0.5 * epoch))) / 2


def trained(job, lease_epoch):
    """What training would bring: diverges at large rates, takes longer with more connections."""
    took_s = 40.0 + 2.0 * dict(job.methods[0].params or ()).get("connections_per_neuron", 0) if job.methods else 5.0
    if job.phase is Phase.PREPARE:
        files = {"artifact": f"artifacts/{job.makes.key_id}.safetensors"}
        return Answer(5.0, Result(job_id=job.job_id, status=Status.DONE, files=files))
    if job.recipe.lr > 0.05:
        return Answer(took_s / 4, failed(job, FailureClass.DIVERGED))
    if job.phase is Phase.FINAL:
        metrics = {"test_top1_pct": accuracy(job, EPOCHS), "wall_s": took_s}
        return Answer(took_s, Result(job_id=job.job_id, status=Status.DONE, metrics=metrics))
    curve = tuple(
        EpochMetrics(
            epoch,
            {"val_top1_pct": accuracy(job, epoch), "val_loss": 5 - accuracy(job, epoch) / 20},
            took_s * epoch / EPOCHS,
        )
        for epoch in range(1, EPOCHS + 1)
    )
    metrics = dict(curve[-1].metrics) | {"wall_s": took_s, "trainable_params": 1000.0}
    return Answer(took_s, Result(job_id=job.job_id, status=Status.DONE, metrics=metrics, epochs=curve), epochs=curve)


MERGING = {"methods": "[[{lora: {rank: 4}}, {pyra: {w_r_init: uniform}}]]", "datasets": "[embedded/digits]"}
AFTER_TWO = (
    "trials: 16, objectives: [val_top1_pct, macs], "
    "space: {lr: {log: [1e-4, 1e-1]}, pyra.mac_ratio: {uniform: [0.35, 0.95]}}"
)


def merged(job, lease_epoch):
    """What training with merged tokens would bring: every token that is removed saves MACs and costs accuracy."""
    answer = trained(job, lease_epoch)
    if job.phase is not Phase.SEARCH or answer.result.status is not Status.DONE:
        return answer
    removed = sum(job.methods[1].kwargs["schedule"])
    score = round(2 * (80 - removed / 2 - 10 * (math.log10(job.recipe.lr) + 2.5) ** 2)) / 2
    metrics = {
        "val_top1_pct": score,
        "val_loss": 5 - score / 20,
        "macs": 48.7e6 * (1 - removed / 80),
        "trainable_params": 1000.0,
        "wall_s": 30.0 + removed,
    }
    return Answer(30.0 + removed, replace(answer.result, metrics=metrics, epochs=()))


class Killed(BaseException):
    """The driver is gone, in the middle of whatever it did."""


@dataclass
class Search:
    """One home: a store that survives its drivers, and a record of every attempt that was made."""

    text: str
    folder: Path
    slots: int = 4
    script: object = trained
    clock: VirtualClock = field(default_factory=VirtualClock)
    attempts: list = field(default_factory=list)
    seen: object = lambda progress: None
    store_at: object = "sqlite://"
    plans: object = planned

    def __post_init__(self):
        self.store = open_store(self.store_at, clock=self.clock)

    def _scripted(self, job, lease_epoch):
        self.attempts.append((job.job_id, lease_epoch))
        return self.script(job, lease_epoch)

    def drive(self, kill_after=None):
        """One driver from its start to its end, or to the event after which it is killed."""
        made = self.plans(self.text)
        tuner = Tuner(self.store, "s", made.cells)
        entries = [*fixed_entries(made.spec, made.entries, made.cells), *tuner.members()]
        self.store.save_sweep("s", self.text, entries, [cell.study for cell in made.cells])
        left = [kill_after]

        def watch(progress, event):
            self.seen(progress)
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

        pool = ScriptedPool(self._scripted, self.clock, self.slots)
        loop = Loop(self.store, "s", pool, self.folder, clock=self.clock, guide=tuner, owner=DEAD, watch=watch)
        self.tuner = tuner
        return loop.run()

    def trials(self):
        """Of every cell: what was asked, in order."""
        made = planned(self.text)
        return {
            (cell.row, cell.point.dataset.name): [
                (one.number, one.job_id, one.params) for one in self.store.trials([cell.study])
            ]
            for cell in made.cells
        }

    def finals(self):
        """(data set, seed) -> (learning rate, methods) of the final jobs that are done."""
        return {
            (state.job.dataset.name, state.job.seed): (state.job.recipe.lr, state.job.methods)
            for state in self.store.jobs("s", Status.DONE)
            if state.job.phase is Phase.FINAL
        }

    def final_jobs(self):
        """(job id, row, the search behind it) of all final jobs of the sweep, in the order of their ids."""
        states = [state for state in self.store.jobs("s") if state.job.phase is Phase.FINAL]
        return sorted((state.job.job_id, state.row, state.tuned.best) for state in states)

    def states(self, status):
        return [state for state in self.store.jobs("s", status) if state.job.phase is Phase.SEARCH]
