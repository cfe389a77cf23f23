"""One golden number per method: results may change only together with a revision, so that no store mixes two meanings.

When this fails after a change that was meant to change numbers: raise the `revision` of the method (or
TRAINER_REVISION in workers/revision.py when all change), then accept with SWEEPBOARD_ACCEPT_GOLDEN=1.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from methods import registry
from methods.params import resolve_params
from storage.records import ArtifactKey, Phase, frozen
from workers.backbone_facts import facts_at, table
from workers.revision import TRAINER_REVISION

GOLDEN = Path(__file__).parents[1] / "golden" / "numbers" / "methods.json"
RECIPE = {"epochs": 3, "lr": 2e-3, "weight_decay": 0.05, "drop_path": 0.1, "label_smoothing": 0.1}
TOLERANCE_NATS = 2e-3  # CPU models differ in the last bits of a sum; a change of algorithm shows far above


def numbers_of(name, a_job, run):
    job = a_job(name, recipe=RECIPE)
    call = job.methods[0]
    method = registry.facts(name)
    params, _ = resolve_params(method, call.kwargs)
    backbone = facts_at(table()[job.backbone.name].facts, job.recipe.image_size)
    job = replace(job, methods=(replace(call, params=method.settled(params, backbone)),))
    keys = []
    for kind, params in registry.facts(name).needs_for(job.methods[0].params):
        key = ArtifactKey(kind, frozen(dict(params)))
        maker = run(replace(job, phase=Phase.PREPARE, makes=key, score_split=""))
        assert maker.failure is None, maker.failure
        keys.append(key)
    result = run(replace(job, needs=tuple(keys)))
    assert result.failure is None, result.failure
    return {
        "revision": registry.facts(name).revision,
        "trainer_revision": TRAINER_REVISION,
        "test_loss": round(result.metrics["test_loss"], 5),
        "train_loss": round(result.epochs[-1].metrics["train_loss"], 5),
        "trainable_params": result.metrics["trainable_params"],
    }


@pytest.mark.parametrize("name", list(registry.METHODS))
def test_results_change_only_with_a_revision(name, a_job, run):
    found = numbers_of(name, a_job, run)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("SWEEPBOARD_ACCEPT_GOLDEN"):
        GOLDEN.write_text(json.dumps({**golden, name: found}, indent=1, sort_keys=True) + "\n")
        return
    expected = golden[name]
    for loss in ("test_loss", "train_loss"):
        assert found.pop(loss) == pytest.approx(expected.pop(loss), abs=TOLERANCE_NATS), f"{name}: see the docstring"
    assert found == expected, f"{name}: see the docstring of this file"


def test_every_method_has_its_number():
    assert set(json.loads(GOLDEN.read_text())) == set(registry.METHODS)
