"""The board as tidy CSV: one line per row, data set and seed, finished or not, with unrounded numbers.

A job that is not done is a line with its status and empty numbers: a missing result must not look like a smaller table.
Columns come in a fixed order; `param.<method>.<field>` columns are those that the methods of the board have, sorted.
Speed and memory are the row's, on each of its lines; there are no such columns where nothing was measured.
"""

from __future__ import annotations

import csv
import io
import json
from functools import lru_cache

from orchestrator.report.board import MCE, Leaderboard, Row, Section, Task
from orchestrator.report.measured import Measured
from orchestrator.report.scores import score
from storage.records import (
    METRICS,
    SEGMENTATION,
    SEGMENTATION_METRICS,
    SPEED_METRICS,
    BackboneRef,
    Job,
    MethodCall,
    Recipe,
    canonical_json,
    thawed,
)
from storage.records.recipe import recipe_fields
from storage.store import JobState

_OF_VAL = tuple(name for name in SEGMENTATION_METRICS if not name.startswith("test_"))
_EPOCH_ONLY = ("train_loss", "train_top1_pct", "lr", "val_loss", "val_top1_pct", *_OF_VAL)
"""Metrics that a final job has per epoch or not at all."""

_ROW = ("suite", "group", "row", "stack", "backbone", "rank")
_JOB = ("dataset", "seed", "status", "job_id", "protocol_id")
_PROTOCOL = ("protocol", "train_split", "score_split", "data_hash")
_MEASURED_AT = ("measured_device", "measured_threads", "measured_precision", "measured_batch_size")
_SOURCE = ("trained_on", "trained_on_hash", "parent")
"""Of evaluate jobs; no such columns where there are none."""
_INPUT = ("weights_hash", "mean", "std", "interpolation", "crop_pct")


def render(board: Leaderboard) -> str:
    """CSV as in RFC 4180, but with `\\n` as line end. Lists stand as JSON."""
    rows = [row for section in board.sections for row in section.rows]
    has_masks = any(section.task == SEGMENTATION for section in board.sections)
    lacking = () if any(MCE in row.metric_means for row in rows) else (MCE,)
    left_out = (*_EPOCH_ONLY, *SPEED_METRICS, *lacking, *(() if has_masks else SEGMENTATION_METRICS))
    metrics = [name for name in board.metrics if name not in left_out]
    facts = [name for name in metrics if not METRICS[name].is_cost]
    costs = [name for name in metrics if METRICS[name].is_cost]
    params = sorted({name for row in rows for name in _params(row.methods)})
    recipe = [f"recipe.{name}" for name in recipe_fields()]
    revisions = ["trainer_revision", "method_revisions", "schema"]
    is_measured = any(row.measured for row in rows)
    source = [*_SOURCE] if any(state.job.trained_on for row in rows for state in row.states[:1]) else []
    speed = [*SPEED_METRICS, *_MEASURED_AT] if is_measured else []
    names = [*_ROW, *_JOB, *facts, *params, *_PROTOCOL, *source, *_INPUT, *recipe, *revisions, *costs, *speed]
    sink = io.StringIO()
    writer = csv.DictWriter(sink, names, restval="", extrasaction="raise", lineterminator="\n")
    writer.writeheader()
    for section in board.sections:
        tasks = {(task.dataset, task.data_hash): task for task in section.tasks}
        for row in section.rows:
            shared = _row_values(section, row)
            for state in row.states:
                dataset = state.job.dataset
                writer.writerow(shared | _job_values(state, tasks[dataset.name, dataset.data_hash], metrics))
    return sink.getvalue()


@lru_cache
def _params(methods: tuple[MethodCall, ...]) -> dict[str, str]:
    return {f"param.{call.name}.{name}": _text(value) for call in methods for name, value in call.params}


def _row_values(section: Section, row: Row) -> dict[str, str]:
    revisions = {call.name: call.revision for call in row.methods}
    return {
        "suite": section.suite,
        "row": row.title,
        "stack": row.stack,
        "backbone": row.backbone.label,
        "rank": _text(row.rank),
        "trainer_revision": str(row.trainer_revision),
        "method_revisions": canonical_json(revisions),
    } | _speed_values(row.measured)


def _speed_values(measured: Measured | None) -> dict[str, str]:
    if measured is None:
        return {}
    setting = measured.setting
    where = (setting.device, setting.threads, setting.precision, setting.batch_size)
    values = {name: _text(measured.metrics.get(name)) for name in SPEED_METRICS}
    return values | {name: _text(value) for name, value in zip(_MEASURED_AT, where, strict=True)}


def _job_values(state: JobState, task: Task, metrics: list[str]) -> dict[str, str]:
    job = state.job
    known = state.result.metrics if state.result is not None and score(state) is not None else {}
    return {
        "group": task.place.group,
        "dataset": job.dataset.name,
        "seed": str(job.seed),
        "status": state.status.value,
        "job_id": job.job_id,
        "protocol_id": job.protocol_id,
        "protocol": job.protocol,
        "train_split": job.train_split,
        "score_split": job.score_split,
        "data_hash": job.dataset.data_hash,
        "schema": str(job.schema),
        **_params(job.methods),
        **_source_values(job),
        **_input_values(job.backbone),
        **_recipe_values(job.recipe),
        **{name: _text(known[name]) for name in metrics if name in known},
    }


def _source_values(job: Job) -> dict[str, str]:
    if job.trained_on is None:
        return {}
    return dict(zip(_SOURCE, (job.trained_on.name, job.trained_on.data_hash, job.parent or ""), strict=True))


@lru_cache
def _input_values(backbone: BackboneRef) -> dict[str, str]:
    return {name: _text(getattr(backbone, name)) for name in _INPUT}


@lru_cache
def _recipe_values(recipe: Recipe) -> dict[str, str]:
    return {f"recipe.{name}": _text(getattr(recipe, name)) for name in recipe_fields()}


def _text(value: object) -> str:
    """Nothing for None, text as it is, everything else as JSON (shortest form that reads back as the same number)."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(thawed(value))
