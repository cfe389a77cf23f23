"""What MLflow shows of a sweep, a job and a cell: names, tags and parameters. Plain records; mlflow is not needed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from storage.records import EpochMetrics, Job, Phase, Result, Status, Value, digest, thawed
from storage.records.recipe import recipe_fields
from storage.store import JobState

PREFIX = "sweepboard"
PRIMARY_METRIC = "test_top1_pct"
KIND, STORE, SWEEP, VERSION = f"{PREFIX}.kind", f"{PREFIX}.store", f"{PREFIX}.sweep", f"{PREFIX}.version"
STATUS, CAUSE, JOB = f"{PREFIX}.status", f"{PREFIX}.cause", f"{PREFIX}.job"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"

RUN_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.DONE: "FINISHED",
    Status.FAILED: "FAILED",
    Status.CANCELLED: "KILLED",
    Status.PRUNED: "KILLED",
}
"""A job's state -> the status of its run; in all other states the attempt is over without a result: KILLED."""

_LONGEST_PARAM = 6000  # characters, MLflow's limits
_LONGEST_TAG = 8000
_LONGEST_NOTE = 4000


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as it must be. `key` names it within `kind`; a run of the same key and another `version` is superseded."""

    experiment: str
    kind: str
    key: str
    version: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def key_tag(self) -> str:
        return f"{PREFIX}.{self.kind}"


@dataclass(frozen=True)
class Point:
    """One metric value. `at_s`: seconds since the run began."""

    name: str
    value: float
    step: int
    at_s: float


def experiment_name(dataset: str) -> str:
    """One experiment per suite: `embedded/digits` -> `sweepboard/embedded`."""
    return f"{PREFIX}/{dataset.partition('/')[0]}"


def member_tag(sweep: str) -> str:
    """Set on every run whose job belongs to the sweep, whichever sweep ran it."""
    return f"{PREFIX}.in.{sweep}"


def job_record(state: JobState, sweep: str | None, parent: str | None) -> RunRecord:
    """The run of the job's present attempt."""
    job = state.job
    row = state.row or job.stack
    tags = {
        "row": row,
        "phase": job.phase.value,
        f"{PREFIX}.attempt": str(state.attempts),
        "mlflow.source.name": f"{PREFIX} show {job.job_id}",
    }
    if sweep is not None:
        tags |= {SWEEP: sweep, member_tag(sweep): "yes"}
    if parent is not None:
        tags[PARENT] = parent
    return RunRecord(
        experiment=experiment_name(job.dataset.name),
        kind="job",
        key=job.job_id,
        version=str(state.attempts),
        name=_short(f"{row} / {job.backbone.name} / {_set_of(job)} / s{job.seed}", 250),
        tags={name: _short(value, _LONGEST_TAG) for name, value in tags.items()},
        params={"seed": str(job.seed), **params(job)},
    )


def sweep_record(sweep: str, experiment: str, spec: str) -> RunRecord:
    """The parent of the sweep's runs in this experiment."""
    return RunRecord(
        experiment=experiment,
        kind="parent",
        key=sweep,
        version="1",
        name=sweep,
        tags={SWEEP: sweep, NOTE: f"```yaml\n{_short(spec, _LONGEST_NOTE)}\n```", "mlflow.source.name": PREFIX},
    )


def params(job: Job) -> dict[str, str]:
    """All that decides the job's number but the seed, each value under one name in every run."""
    found: dict[str, Value] = {
        "method": job.stack,
        "backbone": job.backbone.name,
        "weights": job.backbone.weights_hash[:16],
        "dataset": job.dataset.name,
        "data": job.dataset.data_hash[:16],
        "classes": job.dataset.classes,
        "phase": job.phase.value,
        "protocol": job.protocol,
        "train_split": job.train_split,
        "score_split": job.score_split,
        "trainer_revision": job.trainer_revision,
        **({} if job.device is None else {"device": job.device}),
        **({} if job.trained_on is None else {"trained_on": job.trained_on.name, "parent": job.parent}),
    }
    times: Counter[str] = Counter()
    for call in job.methods:
        times[call.name] += 1
        owner = call.name if times[call.name] == 1 else f"{call.name}.{times[call.name]}"
        found |= {f"{owner}.{name}": value for name, value in call.params}
        found[f"{owner}.revision"] = call.revision
    found |= {f"train.{name}": getattr(job.recipe, name) for name in recipe_fields()}
    return {name: _short(_text(value), _LONGEST_PARAM) for name, value in found.items()}


def curve(epochs: Iterable[EpochMetrics], after: int) -> list[Point]:
    """The points of the epochs behind epoch `after`."""
    return [
        Point(name, value, one.epoch, one.wall_s)
        for one in epochs
        if one.epoch > after
        for name, value in one.metrics.items()
    ]


def last_points(result: Result) -> list[Point]:
    """What was measured at the end, once; a value that the curve ends with is not repeated."""
    last = result.epochs[-1] if result.epochs else EpochMetrics(0, {}, 0.0)
    at_s = result.metrics.get("wall_s", last.wall_s)
    return [
        Point(name, value, last.epoch, at_s)
        for name, value in sorted(result.metrics.items())
        if name not in last.metrics or not _same(last.metrics[name], value)
    ]


def end_tags(status: Status, result: Result) -> dict[str, str]:
    """How the attempt ended."""
    tags = {STATUS: status.value, **{f"fact.{name}": _short(fact, _LONGEST_TAG) for name, fact in result.facts.items()}}
    if result.failure is not None:
        tags[f"{PREFIX}.failure_class"] = result.failure.failure_class.value
        tags[CAUSE] = _short(result.failure.message, _LONGEST_TAG)
    return tags


@dataclass(frozen=True)
class Summary:
    """A complete (row, data set) of a sweep: its run, and mean and sample standard deviation over the seeds."""

    record: RunRecord
    metrics: Mapping[str, float]


def summaries(sweep: str, states: Iterable[JobState], parents: Mapping[str, str]) -> list[Summary]:
    """One for each cell whose jobs are all done. `parents`: experiment -> the sweep's run there."""
    cells: dict[tuple[object, ...], list[JobState]] = {}
    for state in states:
        if state.job.phase not in (Phase.PREPARE, Phase.MEASURE):
            key = (
                state.row,
                state.job.backbone,
                state.job.dataset,
                state.job.phase,
                state.job.recipe,
                state.job.trained_on,
            )
            cells.setdefault(key, []).append(state)
    whole = (cell for cell in cells.values() if all(state.status is Status.DONE for state in cell))
    return [_summary(sweep, sorted(cell, key=lambda state: state.job.seed), parents) for cell in whole]


def _summary(sweep: str, cell: Sequence[JobState], parents: Mapping[str, str]) -> Summary:
    job = cell[0].job
    row, experiment = cell[0].row or job.stack, experiment_name(job.dataset.name)
    seeds = [state.job.seed for state in cell]
    name = f"mean of {len(seeds)}: {row} / {job.backbone.name} / {_set_of(job)}"
    deciding = [row, job.backbone.canonical, job.dataset.canonical, job.phase.value, job.recipe.canonical]
    deciding += [] if job.trained_on is None else [job.trained_on.canonical]
    record = RunRecord(
        experiment=experiment,
        kind="summary",
        key=digest([sweep, *deciding]),
        version=digest(sorted(state.job.job_id for state in cell)),
        name=_short(name, 250),
        tags={
            SWEEP: sweep,
            member_tag(sweep): "yes",
            "row": _short(row, _LONGEST_TAG),
            "phase": job.phase.value,
            PARENT: parents[experiment],
            STATUS: Status.DONE.value,
        },
        params={"seeds": _text(tuple(seeds)), **_but_parent(params(job))},
    )
    return Summary(record, _mean_and_std([state.result.metrics for state in cell if state.result is not None]))


def _set_of(job: Job) -> str:
    return job.dataset.name if job.trained_on is None else f"{job.dataset.name} of {job.trained_on.name}"


def _but_parent(params: Mapping[str, str]) -> dict[str, str]:
    """Every seed has a parent of its own."""
    return {name: value for name, value in params.items() if name != "parent"}


def _mean_and_std(results: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of every metric that all results have as a finite number."""
    found: dict[str, float] = {}
    for name in sorted(results[0]) if results else []:
        values = [metrics.get(name, math.nan) for metrics in results]
        if not all(math.isfinite(value) for value in values):
            continue
        found[name] = mean = math.fsum(values) / len(values)
        if len(values) > 1:
            found[f"{name}_std"] = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return found


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _text(value: Value) -> str:
    """Text bare, everything else as JSON: what `sweepboard show` prints too."""
    return value if isinstance(value, str) else json.dumps(thawed(value))


def _short(text: str, longest: int) -> str:
    """The text, or its beginning and a digest of the whole: two long texts stay two."""
    return text if len(text) <= longest else f"{text[: longest - 20]} … {digest(text)}"
