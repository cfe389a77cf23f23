"""A plan compared with what the store holds: cache hits, changes of the sweep, stale results, hours."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from orchestrator.catalogue import Catalogue
from orchestrator.plan import Plan
from orchestrator.plan_estimate import Estimate, estimate
from storage.records import Job, Status
from storage.store import Entry, JobState, Store


@dataclass(frozen=True)
class PlanReport:
    """`known`: planned jobs in the store by status. `added` and `dropped` compare with the stored sweep of that name
    (None when the store has none); `stale` are its results of older revisions of a method or of the trainer."""

    plan: Plan
    known: Counter[Status]
    todo: int
    estimate: Estimate
    added: tuple[Entry, ...] | None
    dropped: tuple[JobState, ...] | None
    stale: tuple[JobState, ...]


def compare(plan: Plan, store: Store, catalogue: Catalogue) -> PlanReport:
    """The report; reads the store and changes nothing."""
    ids = [entry.job.job_id for entry in plan.entries]
    known = store.known(ids)
    todo = [entry for entry, job_id in zip(plan.entries, ids, strict=True) if known.get(job_id) is not Status.DONE]
    finished = store.jobs(status=Status.DONE) if todo else []
    stored = store.jobs(plan.spec.name) if plan.spec.name in store.sweeps() else None
    planned = set(ids)
    dropped = None if stored is None else tuple(state for state in stored if state.job.job_id not in planned)
    before = set() if stored is None else {state.job.job_id for state in stored}
    return PlanReport(
        plan=plan,
        known=Counter(known.values()),
        todo=len(todo),
        estimate=estimate(todo, finished, catalogue),
        added=None if stored is None else tuple(one for one in plan.entries if one.job.job_id not in before),
        dropped=dropped,
        stale=_stale(plan, dropped or ()),
    )


def _stale(plan: Plan, dropped: tuple[JobState, ...]) -> tuple[JobState, ...]:
    """Done jobs that are planned again only because a revision was raised."""
    done = [state for state in dropped if state.status is Status.DONE]
    if not done:
        return ()
    planned = {_without_revisions(entry.job) for entry in plan.entries}
    return tuple(state for state in done if _without_revisions(state.job) in planned)


def _without_revisions(job: Job) -> str:
    """The id that the job would have if nothing had a revision; shared artifacts and parents carry revisions too."""
    return replace(
        job,
        methods=tuple(replace(call, revision=0) for call in job.methods),
        trainer_revision=0,
        needs=(),
        makes=None,
        parent=None,
    ).job_id
