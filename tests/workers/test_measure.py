"""Measure jobs: real numbers from a process of their own, which never outlives the one that asked."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from mmap import ACCESS_READ, mmap

import psutil
import pytest
import torch

from storage.records import SPEED_METRICS, DatasetRef, FailureClass, Phase, Status
from workers.data.batches import Batch
from workers.measure import site_from_json, site_to_json, speed_of
from workers.measure_memory import PeakMemory
from workers.pools.protocol import Verdict


@pytest.fixture
def measure_job(a_job):
    """measure_job("lora", rank=2): as the plan makes them."""

    def make(*methods, device="cpu", batch_size=4, **changes):
        job = a_job(*methods, **changes)
        return replace(
            job,
            phase=Phase.MEASURE,
            dataset=DatasetRef("synthetic/noise", "none", 100),
            train_split="",
            score_split="",
            recipe=job.recipe.of_cost(batch_size),
            device=device,
        )

    return make


def test_a_measure_job_fills_every_speed_metric_and_spends_its_time_measuring(run, measure_job):
    result = run(measure_job("lora", rank=2))
    assert result.status is Status.DONE, result.failure
    assert set(SPEED_METRICS) <= set(result.metrics)
    assert all(result.metrics[name] > 0 for name in SPEED_METRICS)
    assert result.metrics["overhead_s"] < 0.5
    assert {"device", "threads"} <= set(result.facts)


def test_a_device_of_another_kind_is_refused(run, measure_job):
    result = run(measure_job("linear", device="cuda"))
    assert result.failure.failure_class is FailureClass.USER_ERROR
    assert "cuda" in result.failure.message


def test_a_failure_in_the_measuring_process_keeps_its_class_and_words(run, measure_job):
    job = measure_job("linear")
    result = run(replace(job, backbone=replace(job.backbone, weights_hash="0" * 64)))
    assert result.failure.failure_class is FailureClass.USER_ERROR
    assert "00000000" in result.failure.message


def test_a_stopped_measure_job_leaves_no_process(run, measure_job):
    began_s = time.monotonic()
    result = run(measure_job("linear"), report=lambda progress: Verdict.STOP)
    assert result.status is Status.CANCELLED
    assert time.monotonic() - began_s < 5
    assert not [child for child in psutil.Process().children() if "workers.measure" in " ".join(child.cmdline())]


def test_the_measuring_process_ends_with_the_one_that_asked(site, measure_job, tmp_path):
    question = {"job": measure_job("full", batch_size=4096).to_json(), "site": site_to_json(site)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", "workers.measure"]
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=environment)
        process.communicate(f"{json.dumps(question)}\n".encode(), timeout=60)  # closes its standard input
    assert process.returncode == 1
    assert (tmp_path / "out").read_text() == ""


def test_a_site_travels_as_json(site):
    assert site_from_json(json.loads(json.dumps(site_to_json(site)))) == site


def test_speed_counts_images_of_a_window(site):
    batch = Batch(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.long), torch.zeros(4))
    speed = speed_of(lambda steps: time.sleep(0.01 * steps), batch)
    assert 200 < speed.img_per_s <= 400
    assert speed.spread_pct >= 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a peak can be reset on Linux only")
def test_peak_memory_sees_what_is_gone_again_and_forgets_it():
    memory = PeakMemory(torch.device("cpu"))
    large = torch.ones(64, 2**18)  # 64 MiB
    del large
    assert memory.mib() > 60
    memory.reset()
    assert memory.mib() < 30


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mapped files are told apart on Linux only")
def test_the_footprint_of_a_process_counts_its_own_memory_and_no_mapped_files(tmp_path):
    (tmp_path / "images").write_bytes(b"x" * 64 * 2**20)
    memory = PeakMemory(torch.device("cpu"))
    before_mib = memory.footprint()["host_peak_mem_mib"]
    with (tmp_path / "images").open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        touched = sum(mapped[:: 2**12])
        with_images_mib = memory.footprint()["host_peak_mem_mib"]
    large = torch.ones(64, 2**18)  # 64 MiB
    assert (touched, float(large.sum())) == (64 * 2**8 * ord("x"), 64 * 2**18)
    assert abs(with_images_mib - before_mib) < 20
    assert memory.footprint()["host_peak_mem_mib"] - before_mib > 44
