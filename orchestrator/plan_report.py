"""A plan compared with what the store holds: cache hits, changes of the sweep, stale results, hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace

from orchestrator.catalogue import Catalogue
from orchestrator.plan import Plan
from orchestrator.plan_estimate import Estimate, estimate
from orchestrator.tuning.coming import Coming, coming
from orchestrator.tuning.planning import fixed_entries
from storage.records import Job, Phase, Status
from storage.store import Entry, JobState, Store


@dataclass(frozen=True)
class PlanReport:
    """`known`: planned jobs in the store by status, `new`: those that it does not know, `todo`: those that will run.
    `added` and `dropped` compare with the stored sweep of that name (None when the store has none); `stale` are its
    results of older revisions of a method or of the trainer. `own`: what the plan itself adds to the store, all of it
    where nothing is tuned; `search`: what searches add one by one. The numbers are of both."""

    plan: Plan
    own: tuple[Entry, ...]
    known: Counter[Status]
    new: int
    todo: int
    estimate: Estimate
    added: tuple[Entry, ...] | None
    dropped: tuple[JobState, ...] | None
    stale: tuple[JobState, ...]
    search: Coming = field(default_factory=Coming)


def compare(plan: Plan, store: Store, catalogue: Catalogue) -> PlanReport:
    """The report; reads the store and changes nothing."""
    own = tuple(fixed_entries(plan.spec, plan.entries, plan.cells))
    ids = [entry.job.job_id for entry in own]
    known = store.known(ids)
    todo = [entry for entry, job_id in zip(own, ids, strict=True) if known.get(job_id) is not Status.DONE]
    stored = store.jobs(plan.spec.name) if plan.spec.name in store.sweeps() else None
    search = coming(plan.cells, store, stored or ())
    finished = store.jobs(status=Status.DONE) if todo or search.todo else []
    planned = set(ids)
    dropped = None if stored is None else tuple(state for state in stored if _is_dropped(state, planned, plan))
    before = set() if stored is None else {state.job.job_id for state in stored}
    return PlanReport(
        plan=plan,
        own=own,
        known=Counter([*known.values(), *search.known.values()]),
        new=len(own) - len(known) + search.new,
        todo=len(todo) + len(search.todo),
        estimate=estimate([*todo, *search.todo], finished, catalogue),
        added=None if stored is None else tuple(one for one in own if one.job.job_id not in before),
        dropped=dropped,
        stale=_stale(plan, dropped or ()),
        search=search,
    )


def _is_dropped(state: JobState, planned: Container[str], plan: Plan) -> bool:
    """Jobs that a search has added are not in the plan, and are no change of it."""
    of_search = state.tuned is not None or state.job.phase in (Phase.SEARCH, Phase.PREPARE, Phase.MEASURE)
    return state.job.job_id not in planned and not (plan.cells and of_search)


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
