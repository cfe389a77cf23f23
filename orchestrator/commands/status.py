"""`sweepboard status`: how far the sweeps are, what failed and why."""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from typing import Any

from orchestrator.progress import row_title, waiting
from orchestrator.session import Session, add_command, add_home_argument, open_session, out, pick_sweep
from orchestrator.tuning.report import StudyReport, study_reports, totals
from storage.records import Status
from storage.store import JobState


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "status", run, "how far a sweep is, what failed and why")
    command.add_argument("sweep", nargs="?", help="name of the sweep (default: the latest)")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        if not session.store.sweeps():
            out("{}" if args.json else "no sweep yet; `sweepboard run SPEC` makes one")
            return 0
        name = pick_sweep(session, args.sweep)
        states = session.store.jobs(name)
        studies = study_reports(session.store, name)
        if args.json:
            out(json.dumps(_record(name, states, studies), sort_keys=True, indent=1))
        else:
            out(_text(session, name, states, studies))
    return 0


def _record(name: str, states: list[JobState], studies: list[StudyReport]) -> dict[str, object]:
    counts = Counter(str(state.status) for state in states)
    return {
        "version": 1,
        "sweep": name,
        "jobs": len(states),
        "by_status": dict(sorted(counts.items())),
        "overhead_s_median": _median_overhead_s(states),
        "tuning": {
            "studies": len(studies),
            "chosen": sum(study.chosen is not None for study in studies),
            "trials": sum(len(study.trials) for study in studies),
            "epochs_saved": sum(study.epochs_saved for study in studies),
            "epochs_planned": sum(study.epochs_planned for study in studies),
        },
        "failed": [
            {"job_id": state.job.job_id, "row": row_title(state.job, state.row), "class": _class(state)}
            for state in states
            if state.status is Status.FAILED
        ],
    }


def _text(session: Session, name: str, states: list[JobState], studies: list[StudyReport]) -> str:
    counts = Counter(state.status for state in states)
    lines = [f"{name}: {counts[Status.DONE]}/{len(states)} done"]
    lines += [f"  {status}: {counts[status]}" for status in Status if status is not Status.DONE and counts[status]]
    lines += [f"  {line}" for line in waiting(states)]
    overhead_s = _median_overhead_s(states)
    if overhead_s is not None:
        lines.append(f"  outside training and evaluation: {overhead_s:.2f} s per job (median)")
    if studies:
        lines.append(f"  {totals(studies)}")
    failed = [state for state in states if state.status is Status.FAILED]
    for state in failed[:10]:
        job = state.job
        lines.append(
            f"  {job.job_id} {row_title(job, state.row)} on {job.dataset.name}, seed {job.seed}: {_class(state)}"
        )
    if len(failed) > 10:
        lines.append(f"  … and {len(failed) - 10} more")
    excused = {one.trial.job_id for study in studies if study.chosen is not None for one in study.trials}
    if failed and all(state.job.job_id in excused for state in failed):
        lines.append(f"see `sweepboard show {failed[0].job.job_id}`; their searches have chosen without them")
    elif failed:
        lines.append(f"see `sweepboard show {failed[0].job.job_id}`; try again: `sweepboard retry {name}`, then `run`")
    others = [other for other in session.store.sweeps() if other != name]
    if others:
        lines.append(f"other sweeps: {', '.join(others[-10:])}")
    return "\n".join(lines)


def _class(state: JobState) -> str:
    failure = state.result.failure if state.result else None
    return "unknown" if failure is None else f"{failure.failure_class}: {failure.message}"


def _median_overhead_s(states: list[JobState]) -> float | None:
    known = [
        state.result.metrics["overhead_s"] for state in states if state.result and "overhead_s" in state.result.metrics
    ]
    return statistics.median(known) if known else None
