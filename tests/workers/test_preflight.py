"""Preflight of real tiny jobs: it does what they do, small, and sees what would break them."""

import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from storage.records import BackboneRef, FailureClass, MethodCall, Phase, Status
from workers.backbones import bare_architecture
from workers.data.splits import open_few
from workers.errors import SplitForbidden
from workers.weights import hash_of

BROKEN = '''
from dataclasses import dataclass
from typing import ClassVar
from methods.api import Adaptation
from methods.linear import Linear


@dataclass(frozen=True)
class Forgetful(Linear):
    """Moves a weight and does not declare it."""

    name: ClassVar[str] = "forgetful_methods:Forgetful"

    def prepare(self, model, data):
        images, _ = next(data.batches(4))
        model.norm.weight.data += images.mean() + 1
        return Adaptation()
'''


@pytest.fixture
def preflight_of(run, a_job):
    def check(*methods, **changes):
        return run(a_job(*methods, phase=Phase.PREFLIGHT, **changes))

    return check


@pytest.mark.parametrize("method", ["linear", "full", "lora", "gps"])
def test_a_sound_job_passes_and_leaves_nothing_behind(preflight_of, site, method):
    result = preflight_of(method, recipe={"ema_decay": 0.9, "epochs": 7, "warmup_epochs": 1.0})
    assert result.status is Status.DONE, result.failure
    assert {"train_peak_mem_mib", "infer_peak_mem_mib", "host_peak_mem_mib"} <= set(result.metrics)
    assert [path.name for path in site.home.iterdir()] == ["logs"]


def test_a_batch_larger_than_the_data_is_filled_up(preflight_of):
    assert preflight_of("linear", recipe={"batch_size": 100}).status is Status.DONE


def test_the_test_split_cannot_be_opened(a_job, site):
    with pytest.raises(SplitForbidden, match="test"):
        open_few(a_job(phase=Phase.PREFLIGHT), "test", site, 4)


def test_few_images_of_a_folder_are_decoded_without_the_rest(a_job, site):
    few = open_few(a_job(phase=Phase.PREFLIGHT), "train800val200", site, 5)
    assert few.images.shape == (5, 32, 32, 3)
    assert len(few.labels) == 5
    assert not (site.cache / "images").exists()


def test_a_precision_that_the_device_lacks_fails(preflight_of):
    result = preflight_of("linear", recipe={"precision": "fp16"})
    assert result.failure.failure_class is FailureClass.USER_ERROR
    assert "fp16" in result.failure.message


def test_weights_that_are_no_numbers_are_seen(run, a_job, site, tmp_path):
    state = {
        name: torch.full_like(value, torch.nan) for name, value in bare_architecture("nano_vit").state_dict().items()
    }
    save_file(state, tmp_path / "nan.safetensors")
    content = hash_of(tmp_path / "nan.safetensors", site.cache)
    job = a_job("full", phase=Phase.PREFLIGHT, backbone=BackboneRef("nano_vit", content))
    result = run(job, at=replace(site, weights={content: tmp_path / "nan.safetensors"}))
    assert result.status is Status.FAILED
    assert result.failure.failure_class is FailureClass.DIVERGED


def test_a_method_whose_delta_does_not_give_its_model_back_fails(preflight_of, tmp_path, monkeypatch):
    (tmp_path / "forgetful_methods.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    result = preflight_of("linear", methods=(MethodCall("forgetful_methods:Forgetful", 1, ()),))
    assert result.status is Status.FAILED
    assert "delta" in result.failure.message
    sys.modules.pop("forgetful_methods", None)


def test_the_job_itself_keeps_its_name(a_job):
    job = a_job("lora", rank=2)
    assert replace(job, device=None).job_id == job.job_id
    assert replace(job, device="cpu").job_id != job.job_id
