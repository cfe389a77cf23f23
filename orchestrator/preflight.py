"""Preflight: before the first job, each combination of stack, backbone and recipe shape shows that it can run.

A wrong key, too little memory or a recipe that cannot be trained then costs seconds, and all of them are told at once.
The checks run in the pool's own slots, as jobs of phase `preflight` that are never stored; imports, weights and images
stay there, warm, for the jobs that follow. What a job needs from a prepare job (GPS: scores) a check makes itself, on a
few images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from orchestrator.errors import OrchestratorError
from orchestrator.owners import this_owner
from storage.records import CLASSIFICATION, Failure, FailureClass, Lease, Phase, Recipe, Result, Status, Value
from storage.records.canonical import text_digest
from storage.store import Entry, Store
from workers.pools.protocol import Done, Lost, Pool, Request

EVENT = "preflight"
_LISTEN_S = 0.5
_SHOWN_ROWS = 3
_NOT_THE_SPECS_FAULT = frozenset({FailureClass.NODE_LOST, FailureClass.PREEMPTED, FailureClass.TRANSIENT})
_OUT_OF_MEMORY = frozenset({FailureClass.HOST_OOM, FailureClass.CUDA_OOM})
_ADVICE = {
    FailureClass.CUDA_OOM: "lower train.batch_size, or give a job more of a GPU (resources: {gpus: …})",
    FailureClass.HOST_OOM: "lower train.batch_size, or run fewer jobs at once",
    FailureClass.DIVERGED: "lower train.lr, or lengthen train.warmup_epochs",
    FailureClass.CRASH: "leave the combination out with `exclude`, or correct the method or backbone",
    FailureClass.USER_ERROR: "correct the spec, or leave the combination out with `exclude`",
}


@dataclass(frozen=True)
class Combination:
    """Entries that run the same code in the same memory; `sample` is the largest of them."""

    sample: Entry
    rows: tuple[str, ...]
    jobs: int

    def __str__(self) -> str:
        rows = ", ".join(self.rows[:_SHOWN_ROWS]) + (" …" if len(self.rows) > _SHOWN_ROWS else "")
        return f"{rows} on {self.sample.job.backbone.name}"


@dataclass(frozen=True)
class PreflightReport:
    """`unchecked`: the slot or its node failed, not the check; their jobs are tried as usual."""

    passed: tuple[Combination, ...]
    unchecked: tuple[Combination, ...]
    known: int  # combinations with finished jobs: they have shown it already

    def __str__(self) -> str:
        parts = [f"{len(self.passed)} combinations can run"]
        parts += [f"{len(self.unchecked)} could not be checked"] if self.unchecked else []
        parts += [f"{self.known} ran before"] if self.known else []
        return f"preflight: {', '.join(parts)}"


class PreflightFailed(OrchestratorError):
    """Some combinations cannot run: every one with its rows, failure class and advice."""

    def __init__(self, failed: Sequence[tuple[Combination, Failure, str]]) -> None:
        lines = [_failure_text(*one) for one in failed]
        head = f"preflight: {len(failed)} combinations cannot run; no job was started (--no-preflight skips this)"
        super().__init__("\n".join([head, *lines]))
        self.failed = tuple(failed)


def preflight(store: Store, entries: Sequence[Entry], pool: Pool) -> PreflightReport:
    """Check every combination among the entries that has no finished job; what it took of memory is logged as events.

    Raises PreflightFailed.
    """
    known = store.known(entry.job.job_id for entry in entries)
    done = frozenset(job_id for job_id, status in known.items() if status is Status.DONE)
    todo, ran_before = combinations(entries, done)
    results = _checked(todo, pool)
    for place, result in enumerate(results):
        if len(todo) > 1 and result.failure is not None and result.failure.failure_class in _OUT_OF_MEMORY:
            (results[place],) = _checked([todo[place]], pool)  # alone: how many fit beside each other is not known yet
    passed, unchecked, failed = [], [], []
    for one, result in zip(todo, results, strict=True):
        if result.status is Status.DONE:
            passed.append(one)
            store.append_event(EVENT, _event(one, result), job_id=one.sample.job.job_id)
        elif result.failure is None or result.failure.failure_class in _NOT_THE_SPECS_FAULT:
            unchecked.append(one)
        else:
            failed.append((one, result.failure, result.files.get("log", "")))
    if failed:
        raise PreflightFailed(failed)
    return PreflightReport(tuple(passed), tuple(unchecked), ran_before)


def combinations(entries: Sequence[Entry], done: frozenset[str]) -> tuple[list[Combination], int]:
    """What is to be checked, in the order of the plan, and how many combinations have a job among the `done`."""
    found = groups(entries)
    todo = [group for group in found if not any(entry.job.job_id in done for entry in group)]
    return [
        Combination(max(group, key=_size), tuple(dict.fromkeys(entry.row for entry in group)), len(group))
        for group in todo
    ], len(found) - len(todo)


def groups(entries: Iterable[Entry], phases: Sequence[Phase] = (Phase.FINAL, Phase.SEARCH)) -> list[list[Entry]]:
    """The entries of each combination among jobs of these phases, in the order of the plan."""
    found: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        if entry.job.phase in phases:
            found.setdefault((*_shape(entry), *sorted(entry.resources.items())), []).append(entry)
    return list(found.values())


def combination_id(entry: Entry) -> str:
    """Of whatever takes the same memory; the same in every run, and whatever part of a GPU or how many CPUs are asked.

    On a GPU and off it are two.
    """
    return text_digest(repr((*_shape(entry), bool(entry.resources.get("gpus")))))


def _shape(entry: Entry) -> tuple[object, ...]:
    """Numbers of a method make it larger or smaller; everything else about it may take another path in the code."""
    job = entry.job
    methods = tuple((call.name, *(pair for pair in call.params if not _is_number(pair[1]))) for call in job.methods)
    task = () if job.dataset.task == CLASSIFICATION else (job.dataset.task,)
    return methods, job.backbone, _recipe_shape(job.recipe), *task


def _recipe_shape(recipe: Recipe) -> tuple[object, ...]:
    """Of most numbers it matters only whether they are zero."""
    values = {item.name: getattr(recipe, item.name) for item in fields(recipe)}
    kept = {"batch_size": recipe.batch_size, "image_size": recipe.image_size}
    return tuple(value if isinstance(value, str) else kept.get(name, bool(value)) for name, value in values.items())


def _size(entry: Entry) -> tuple[float, ...]:
    """Of a method's numbers the larger ones take more memory."""
    return tuple(float(value) for call in entry.job.methods for _, value in call.params if _is_number(value))  # type: ignore[arg-type]


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked(todo: Sequence[Combination], pool: Pool) -> list[Result]:
    """One result per combination; as many at once as the pool has slots."""
    jobs = [replace(one.sample.job, phase=Phase.PREFLIGHT, needs=()) for one in todo]
    results: dict[str, Result] = {}
    waiting, owner = list(zip(jobs, todo, strict=True)), this_owner()
    try:
        while len(results) < len({job.job_id for job in jobs}):
            while waiting and pool.free_slots > 0:
                job, one = waiting.pop(0)
                pool.submit(job, Lease(job.job_id, 0, owner, 0.0), Request.of(one.sample.resources))
            match pool.next_event(_LISTEN_S):
                case Done(job_id, _, result):
                    results[job_id] = result
                case Lost(job_id, _, failure):
                    results[job_id] = Result(job_id=job_id, status=Status.FAILED, failure=failure)
    except BaseException:
        for job in jobs:
            pool.cancel(job.job_id, grace_s=1.0)
        raise
    return [results[job.job_id] for job in jobs]


def _event(one: Combination, result: Result) -> dict[str, object]:
    job = one.sample.job
    memory = {name: value for name, value in result.metrics.items() if name.endswith("_mem_mib")}
    return {
        "combination": combination_id(one.sample),
        "rows": list(one.rows),
        "stack": job.stack,
        "backbone": job.backbone.name,
        "image_size": job.recipe.image_size,
        "batch_size": job.recipe.batch_size,
        "precision": job.recipe.precision,
        "device": result.facts.get("device", ""),
        "wall_s": result.metrics.get("wall_s", 0.0),
        **memory,
    }


def _failure_text(one: Combination, failure: Failure, log: str) -> str:
    where = f" (log: {log} in the home)" if log else ""
    message = failure.message.splitlines()[0] if failure.message else "no message"
    advice = _ADVICE[failure.failure_class]
    return f"  - {one} ({one.jobs} jobs) {failure.failure_class}: {message}{where}\n    {advice}"
