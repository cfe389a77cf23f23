"""Delta checkpoints: small, and enough to have the trained model again."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from workers.checkpoint import restore, save_delta
from workers.data.batches import Batches
from workers.data.splits import open_split
from workers.errors import DeltaMismatch
from workers.predictions import Predictions, load_predictions, save_predictions


@pytest.mark.parametrize("method", ["lora", "full", "linear"])
def test_a_restored_delta_gives_the_predictions_of_the_trained_model(a_job, run, site, method):
    job = a_job(method, recipe={"drop_path": 0.1, "ema_decay": 0.5})
    result = run(job)
    adapted, restored_job = restore(site.home / result.files["delta"], site)
    assert restored_job == job
    batches = Batches(open_split(job, "test", site, lambda done, total: None), job, torch.device("cpu"))
    adapted.model.eval()
    with torch.no_grad():
        logits = torch.cat([adapted.model(batch.images) for batch in batches.in_order()])
    saved = load_predictions(site.home / result.files["predictions"])
    probability, predicted = logits.softmax(dim=1).max(dim=1)
    assert torch.equal(predicted, torch.from_numpy(saved.predicted))
    assert torch.equal(probability.half(), torch.from_numpy(saved.probability))
    assert (
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(saved.labels)).item() == result.metrics["test_loss"]
    )


def test_saving_a_restored_model_gives_the_same_bytes(a_job, run, site, tmp_path):
    first = site.home / run(a_job("lora", rank=2)).files["delta"]
    adapted, job = restore(first, site)
    assert save_delta(tmp_path / "again.safetensors", adapted, job) == first.stat().st_size
    assert (tmp_path / "again.safetensors").read_bytes() == first.read_bytes()


def test_a_delta_holds_no_more_than_was_trained(a_job, run, site):
    result = run(a_job("lora", rank=2))
    values = result.metrics["trainable_params"] + result.metrics["head_params"]
    assert result.metrics["delta_bytes"] < 4 * values + 5_000, "the job's record and the names, no base weights"


def test_a_file_that_is_no_delta_or_does_not_fit_is_refused(a_job, run, site, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(DeltaMismatch, match="expected a delta of format"):
        restore(tmp_path / "other.safetensors", site)
    path = site.home / run(a_job("lora", rank=2)).files["delta"]
    tensors = load_file(path)
    name = next(iter(tensors))
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({key: value for key, value in tensors.items() if key != name}, tmp_path / "cut.safetensors", metadata)
    with pytest.raises(DeltaMismatch, match=name.removeprefix("trained/")):
        restore(tmp_path / "cut.safetensors", site)


def test_predictions_are_named_by_content_and_come_back(tmp_path):
    import numpy as np

    given = Predictions(np.array([0, 300]), np.array([1, 300]), np.array([0.5, 0.25], dtype=np.float16))
    path = save_predictions(tmp_path, given)
    assert save_predictions(tmp_path, given) == path
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    back = load_predictions(path)
    assert back.labels.tolist() == [0, 300]
    assert back.predicted.tolist() == [1, 300]
    assert back.probability.tolist() == [0.5, 0.25]
    other = Predictions(given.labels, given.labels, given.probability)
    assert save_predictions(tmp_path, other) != path
