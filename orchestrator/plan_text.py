"""A plan for people (text) and for programs (JSON, versioned)."""

from __future__ import annotations

from typing import Any

from orchestrator.plan import Counts, Plan
from orchestrator.plan_report import PlanReport
from orchestrator.tuning.plan_text import tuning_lines, tuning_record, without_sharing
from storage.records import Status
from storage.store import Entry, JobState

JSON_VERSION = 1
_MOST_LINES = 20
_MOST_NAMES = 5


def formula(counts: Counts) -> str:
    """`5 methods × 2 backbones × 3 datasets × 2 seeds = 60 − 24 excluded + 0 included = 36 jobs + 6 prepare`."""
    signed = [
        ("−", counts.excluded, "excluded"),
        ("+", counts.included, "included"),
        ("−", counts.refused, "refused"),
        ("−", counts.off_the_shelf, "off the shelf"),
        ("+", counts.parents, "parents"),
        ("−", counts.duplicates, "duplicates"),
    ]
    changed = "".join(f" {sign} {number} {what}" for sign, number, what in signed if number)
    total = f" = {counts.jobs} jobs" if changed else " jobs"
    prepare = f" + {counts.prepare} prepare" if counts.prepare else ""
    evaluate = f" + {counts.evaluate} evaluate" if counts.evaluate else ""
    measure = f" + {counts.measure} measure" if counts.measure else ""
    return f"{' × '.join(counts.factors)} = {counts.product}{changed}{total}{prepare}{evaluate}{measure}"


def plan_text(report: PlanReport, show: int, *, diff: bool) -> str:
    """The plan as `sweepboard plan` prints it, with the first `show` jobs."""
    plan = report.plan
    head = f"{plan.spec.name}: {formula(plan.counts)}"
    lines = [head, *_rules(plan), *_recipes(plan), *tuning_lines(plan, report.search.trials)]
    lines += [_shared(plan)] if plan.counts.prepare else []
    lines += _cache(report)
    lines += [f"time: {report.estimate}"] if plan.entries else []
    lines += _diff(report) if diff else []
    lines += _listing([*plan.entries, *plan.unresolved], show)
    return "\n".join(lines)


def plan_record(report: PlanReport, show: int) -> dict[str, Any]:
    """The plan as JSON; keys are only ever added within one version."""
    plan, counts = report.plan, report.plan.counts
    jobs = sorted([*plan.entries, *plan.unresolved], key=lambda entry: entry.order)
    unresolved = {id(entry) for entry in plan.unresolved}
    return {
        "version": JSON_VERSION,
        "sweep": plan.spec.name,
        "formula": formula(counts),
        "counts": {name: number for name, number in vars(counts).items() if isinstance(number, int)},
        "by_rule": counts.by_rule,
        "known": {str(status): number for status, number in sorted(report.known.items())},
        "todo": report.todo,
        "unresolved": len(plan.unresolved),
        "missing": list(plan.missing),
        "refused": [vars(one) for one in plan.refused],
        "left_out": [{"row": one.row, "methods": list(one.methods), "reason": one.reason} for one in plan.left_out],
        "recipes": [vars(use) for use in plan.recipes],
        "hours": {"gpu": report.estimate.gpu_h, "cpu": report.estimate.cpu_h, "basis": str(report.estimate)},
        "added": None if report.added is None else [entry.job.job_id for entry in report.added],
        "dropped": None if report.dropped is None else [state.job.job_id for state in report.dropped],
        "stale": [state.job.job_id for state in report.stale],
        "tune": tuning_record(plan, report.search.trials),
        "jobs": [_job(entry, is_resolved=id(entry) not in unresolved) for entry in jobs[:show]],
    }


def listing(entries: list[Entry]) -> list[str]:
    """One line per job, in order: order, phase, row, backbone, data set, seed."""
    jobs = sorted(entries, key=lambda entry: entry.order)
    cells = [
        (str(one.order), str(one.job.phase), one.row, one.job.backbone.name, one.job.dataset.name, str(one.job.seed))
        for one in jobs
    ]
    widths = [max((len(cell[column]) for cell in cells), default=0) for column in range(6)]
    return ["  ".join(text.ljust(width) for text, width in zip(cell, widths, strict=True)).rstrip() for cell in cells]


def _job(entry: Entry, *, is_resolved: bool) -> dict[str, Any]:
    job = entry.job
    return {
        "order": entry.order,
        "job_id": job.job_id if is_resolved else None,
        "phase": str(job.phase),
        "row": entry.row,
        "backbone": job.backbone.name,
        "dataset": job.dataset.name,
        "seed": job.seed,
        "needs": [key.key_id for key in job.needs] if is_resolved else None,
        "resources": dict(entry.resources),
    }


def _rules(plan: Plan) -> list[str]:
    lines = [f"  {rule}: {number} jobs" for rule, number in plan.counts.by_rule.items()]
    lines += [f"  left out: {one.row}: {one.reason}" for one in plan.left_out]
    for one in plan.refused[:_MOST_LINES]:
        lines.append(f"  refused: {one.row} on {one.backbone} ({one.jobs} jobs): {one.reason}")
    return lines + _more(len(plan.refused), "refused combinations")


def _recipes(plan: Plan) -> list[str]:
    lines = []
    for use in plan.recipes:
        lines.append(f"recipe {use.name} for {', '.join(use.stacks)}; {use.source}")
        if use.without:
            shown = ", ".join(use.without[:_MOST_NAMES]) + (" …" if len(use.without) > _MOST_NAMES else "")
            lines.append(f"  no row for {len(use.without)} of {use.datasets} data sets, only common values: {shown}")
    return lines


def _shared(plan: Plan) -> str:
    needing = sum(1 for entry in (*plan.entries, *plan.unresolved) if entry.job.needs)
    alone = sum(len(entry.job.needs) for entry in (*plan.entries, *plan.unresolved))
    return f"shared: {plan.counts.prepare} prepare jobs serve {needing} jobs" + without_sharing(
        plan.counts.prepare, alone
    )


def _cache(report: PlanReport) -> list[str]:
    plan, known = report.plan, report.known
    done = known[Status.DONE]
    others = [f"{number} {status}" for status, number in sorted(known.items()) if status is not Status.DONE]
    lines = []
    if report.own or known or report.new:
        more = ", and as many trials as their hours hold" if report.search.is_open else ""
        lines.append(f"cache: {', '.join([f'{done} done', *others, f'{report.new} new'])}; {report.todo} to run{more}")
    if plan.unresolved:
        lines.append(f"cache: unknown for {len(plan.unresolved)} jobs; missing here ({len(plan.missing)}):")
        lines += [f"  - {text}" for text in plan.missing]
    if report.stale:
        lines.append(f"stale: {len(report.stale)} results of older revisions, planned again (`--diff` lists them)")
    return lines


def _diff(report: PlanReport) -> list[str]:
    if report.added is None or report.dropped is None:
        return [f"diff: the store has no sweep {report.plan.spec.name!r} yet; every job is new to it"]
    stale = {state.job.job_id for state in report.stale}
    lines = [f"diff: {len(report.added)} jobs added, {len(report.dropped)} dropped (results are kept)"]
    lines += [f"  + {line}" for line in listing(list(report.added[:_MOST_LINES]))]
    lines += _more(len(report.added), "added")
    for state in report.dropped[:_MOST_LINES]:
        lines.append(f"  - {_stored(state)}{', an older revision' if state.job.job_id in stale else ''}")
    return lines + _more(len(report.dropped), "dropped")


def _stored(state: JobState) -> str:
    job = state.job
    return f"{state.row or job.stack}  {job.backbone.name}  {job.dataset.name}  {job.seed}  ({state.status})"


def _listing(entries: list[Entry], show: int) -> list[str]:
    if not show:
        return []
    lines = [f"first {min(show, len(entries))} of {len(entries)} jobs:"]
    first = sorted(entries, key=lambda entry: entry.order)[:show]
    return lines + [f"  {line}" for line in listing(first)]


def _more(number: int, what: str) -> list[str]:
    return [f"  … {number - _MOST_LINES} more {what}"] if number > _MOST_LINES else []
