"""The board as JSON: unrounded, with a version, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from orchestrator.report.board import Backbone, Leaderboard, Row, Section, score_metric
from orchestrator.report.measured import Measured
from storage.records import CLASSIFICATION, thawed

VERSION = 1
"""Raised when a key changes its meaning or goes; new keys do not raise it."""


def render(board: Leaderboard) -> str:
    """Keys in a fixed order, one document, a final line end. Averages that do not exist are null."""
    document = {
        "format": "sweepboard-leaderboard",
        "version": VERSION,
        "sweeps": list(board.sweeps),
        "done": board.done,
        "expected": board.expected,
        "jobs_by_status": {status.value: count for status, count in board.counts.items()},
        "seeds": list(board.seeds),
        "devices": list(board.devices),
        "versions": [list(pair) for pair in board.versions],
        "sections": [_section(section) for section in board.sections],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    return {
        "suite": section.suite,
        "protocol": {name: value for name, value in asdict(section.protocol).items() if name != "trained_on" or value},
        "differs_from_other_sections": {name: list(values) for name, values in section.differs},
        **({} if section.task == CLASSIFICATION else {"score": score_metric(section.task)}),
        "ranked_by": section.averages[-1][0],
        "tasks": [
            {"dataset": task.dataset, "data_hash": task.data_hash, "classes": task.classes, "group": task.place.group}
            for task in section.tasks
        ],
        "groups": list(section.groups),
        "notes": list(section.notes),
        "rows": [_row(row) for row in section.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "row": row.title,
        "methods": [
            {"name": call.name, "revision": call.revision, "params": thawed(dict(call.params))} for call in row.methods
        ],
        "backbone": _backbone(row.backbone),
        "trainer_revision": row.trainer_revision,
        "recipe": {name: thawed(values) for name, values in row.recipe},
        "seeds": list(row.seeds),
        "done": row.done,
        "expected": row.expected,
        "cells": [
            {
                "mean": cell.mean,
                "std": cell.std,
                "n": cell.n,
                "expected": cell.expected,
                "scores": {str(seed): value for seed, value in cell.scores},
            }
            for cell in row.cells
        ],
        "group_means": list(row.group_means),
        "mean_of_tasks": row.mean_of_tasks,
        "mean_of_groups": row.mean_of_groups,
        "metric_means": dict(row.metric_means),
        **({} if row.measured is None else {"measured": _measured(row.measured)}),
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {**asdict(measured.setting), "metrics": dict(measured.metrics)}


def _backbone(backbone: Backbone) -> dict[str, Any]:
    plain = asdict(backbone.ref) | {"image_size": backbone.image_size, "label": backbone.label}
    if not backbone.ref.forced:
        del plain["forced"]
    return {name: thawed(value) for name, value in plain.items()}
