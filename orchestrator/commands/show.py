"""`sweepboard show JOB`: all that decides a job's number, and all that came out of it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from orchestrator.session import add_command, add_home_argument, open_session, out, pick_job
from storage.records import SEGMENTATION, BackboneRef, DatasetRef
from storage.store import JobState


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "show", run, "one job: what decides its number, and what came out of it")
    command.add_argument("job", help="id of the job, or the beginning of it")
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        state = pick_job(session, args.job)
        out(json.dumps(_record(state), sort_keys=True, indent=1) if args.json else _text(state))
    return 0


def _record(state: JobState) -> dict[str, object]:
    return {
        "version": 1,
        "job_id": state.job.job_id,
        "status": state.status,
        "attempts": state.attempts,
        "row": state.row,
        "job": state.job.to_json(),
        "result": None if state.result is None else state.result.to_json(),
    }


def _forced(backbone: BackboneRef) -> str:
    return f", forced mean {list(backbone.mean)} std {list(backbone.std)}" if backbone.forced else ""


def _outputs(dataset: DatasetRef) -> str:
    return "masks" if dataset.task == SEGMENTATION else f"{dataset.classes} classes"


def _text(state: JobState) -> str:
    job, result = state.job, state.result
    lines = [
        f"job {job.job_id}: {state.status}, {state.attempts} attempts",
        f"  row        {state.row or job.stack}",
        f"  phase      {job.phase}: trains on {job.train_split}, scored on {job.score_split}",
        *(f"  method     {call.name} r{call.revision} {json.dumps(call.kwargs)}" for call in job.methods),
        f"  backbone   {job.backbone.name}, weights {job.backbone.weights_hash[:16]}{_forced(job.backbone)}",
        f"  data set   {job.dataset.name}, {_outputs(job.dataset)}, data {job.dataset.data_hash[:16]}",
        f"  recipe     {json.dumps(job.to_json()['recipe'], sort_keys=True)}",
        f"  seed       {job.seed}",
        *(f"  needs      {key.key_id}" for key in job.needs),
    ]
    if result is not None:
        lines += [f"  {name:<22} {value:g}" for name, value in sorted(result.metrics.items())]
        lines += [f"  {role:<22} {path}" for role, path in sorted(result.files.items())]
        lines += [f"  {name:<22} {value}" for name, value in sorted(result.facts.items())]
        if result.failure is not None:
            lines += [f"  failed: {result.failure.failure_class}: {result.failure.message}", result.failure.detail]
    return "\n".join(lines)
