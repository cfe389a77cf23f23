"""How long the jobs to run may take: from finished jobs of the same kind, else from MACs at a measured rate."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from methods.token_schedule import Shape, mac_ratio
from orchestrator.catalogue import Catalogue
from storage.records import FEATURES, Job, Phase
from storage.store import Entry, JobState
from workers.backbone_facts import facts_at
from workers.errors import WorkerError

_TRAINING_MACS = 3  # a backward pass costs about two forward passes
_SCHEDULE = "schedule"  # tokens removed per block, in every method that removes some
_Kind = tuple[str, str, str, int | None, tuple[object, ...]]


@dataclass(frozen=True)
class Estimate:
    """`siblings` and `by_macs` say from what; jobs of neither are `unknown`. Hours are of slots: GPUs where a job asks
    for some, CPU slots otherwise."""

    gpu_h: float
    cpu_h: float
    siblings: int
    by_macs: int
    unknown: int
    finished: int

    def __str__(self) -> str:
        known = self.siblings + self.by_macs
        if known == 0:
            return "unknown (no finished job to measure by)" if self.unknown else "nothing to run"
        hours = [f"{self.gpu_h:.2g} GPU-hours"] if self.gpu_h else []
        hours += [f"{self.cpu_h:.2g} slot-hours on CPU"] if self.cpu_h else []
        basis = [f"{self.siblings} jobs by the median of finished siblings"] if self.siblings else []
        basis += [f"{self.by_macs} from MACs at the rate of {self.finished} finished jobs"] if self.by_macs else []
        basis += [f"{self.unknown} unknown and left out"] if self.unknown else []
        return f"{' + '.join(hours)} ({'; '.join(basis)})"


def estimate(todo: Sequence[Entry], finished: Iterable[JobState], catalogue: Catalogue) -> Estimate:
    """The sum over the jobs to run; `finished` are done jobs of any sweep."""
    per_epoch_s: dict[_Kind, list[float]] = defaultdict(list)
    rates: list[float] = []
    for state in finished:
        wall_s = state.result.metrics.get("wall_s") if state.result else None
        if wall_s:
            per_epoch_s[_kind(state.job)].append(wall_s / _epochs(state.job))
            macs = _macs(state.job, catalogue)
            rates += [macs / wall_s] if macs else []
    rate = statistics.median(rates) if rates else None
    medians = {kind: statistics.median(values) for kind, values in per_epoch_s.items()}
    hours = {"gpu": 0.0, "cpu": 0.0}
    basis = {"siblings": 0, "by_macs": 0, "unknown": 0}
    for entry in todo:
        gpus = float(entry.resources.get("gpus", 0))
        kind = _kind(entry.job)
        macs = _macs(entry.job, catalogue) if rate else None
        if kind in medians:
            basis["siblings"] += 1
            wall_s = medians[kind] * _epochs(entry.job)
        elif rate and macs:
            basis["by_macs"] += 1
            wall_s = macs / rate
        else:
            basis["unknown"] += 1
            continue
        hours["gpu" if gpus else "cpu"] += wall_s / 3600 * (gpus or 1)
    return Estimate(hours["gpu"], hours["cpu"], finished=len(rates), **basis)


def _kind(job: Job) -> _Kind:
    """What siblings have in common; the time of one epoch is then nearly the same."""
    stack = job.makes.kind if job.makes else job.stack
    test = job.dataset.name if job.phase is Phase.EVALUATE else ""  # from 7,500 to 3,750,000 images
    return (f"{stack} {test}".strip(), str(job.phase), job.backbone.name, job.recipe.image_size, tuple(_schedules(job)))


def _schedules(job: Job) -> list[tuple[int, ...]]:
    given = [dict(call.params).get(_SCHEDULE) for call in job.methods]
    return [tuple(int(str(removed)) for removed in one) for one in given if isinstance(one, tuple) and one]


def _macs(job: Job, catalogue: Catalogue) -> float | None:
    """Multiply-accumulates of the job: training and evaluation passes of the backbone at its input size, without what
    adapts it but with the tokens that are removed. None where they do not tell its time: on frozen features."""
    if any(key.kind == FEATURES for key in job.needs):
        return None
    try:
        facts = catalogue.backbone_facts(job.backbone.name)
        train, test = catalogue.images(job.dataset.name)
    except WorkerError:
        return None
    if facts is None or not facts.macs:
        return None
    scale = ((job.recipe.image_size or facts.image_size) / facts.image_size) ** 2
    for schedule in _schedules(job):
        scale *= mac_ratio(Shape.of(facts_at(facts, job.recipe.image_size)), schedule)
    if job.makes is not None and job.makes.kind == FEATURES:
        return facts.macs * scale * (test if job.train_split == "test" else train)
    if job.phase is Phase.EVALUATE:
        return facts.macs * scale * test
    evaluated = test if job.phase is Phase.FINAL else 0
    return facts.macs * scale * (_TRAINING_MACS * train * job.recipe.total_epochs + evaluated)


def _epochs(job: Job) -> int:
    """Passes that the job's time grows with."""
    return 1 if job.phase is Phase.EVALUATE else job.recipe.total_epochs
