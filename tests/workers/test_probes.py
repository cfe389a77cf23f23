"""A warm slot keeps the model of a linear probe for the next one; no job can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import METRICS


def found_by(result, site):
    assert result.failure is None, result.failure
    metrics = {name: value for name, value in result.metrics.items() if not METRICS[name].is_cost}
    return metrics, result.files["predictions"], (site.home / result.files["delta"]).read_bytes()


@pytest.mark.parametrize("recipe", [{"lr": 1e-2, "weight_decay": 0.1}, {"head_init": "zero"}, {"precision": "bf16"}])
def test_a_probe_finds_the_same_after_other_probes_and_after_another_method(a_job, run, site, recipe):
    job = replace(a_job("linear", recipe={"epochs": 3, **recipe}), seed=0)
    run(a_job("bitfit"))  # nothing is kept of it
    alone = found_by(run(job), site)
    earlier = run(a_job("linear", recipe={"epochs": 2, "optimizer": "sgd", "lr": 5.0}))
    assert earlier.failure is None
    assert found_by(run(job), site) == alone
    few = replace(job, dataset=replace(job.dataset, classes=5), recipe=replace(job.recipe, epochs=1))
    assert run(few).metrics["head_params"] == 5 * 97
    assert found_by(run(job), site) == alone


def test_a_probe_that_diverged_leaves_nothing_behind(a_job, run, site):
    job = a_job("linear", recipe={"epochs": 2})
    alone = found_by(run(job), site)
    exploding = {"optimizer": "sgd", "schedule": "constant", "lr": 1.0, "weight_decay": 10.0, "epochs": 50}
    assert run(a_job("linear", recipe=exploding)).failure is not None
    assert found_by(run(job), site) == alone
