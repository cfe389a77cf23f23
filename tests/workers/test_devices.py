"""What this machine is as a node of a cluster of one, told without torch and Ray."""

import os
from pathlib import Path

import pytest

from workers.devices import here

_HAS_A_GPU = any(Path("/dev").glob("nvidia[0-9]*")) or Path("/proc/driver/nvidia").exists()
without_a_gpu = pytest.mark.skipif(_HAS_A_GPU, reason="the system itself names GPUs here")


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A machine whose system names no GPU, and whose nvidia-smi names two."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: T4 (UUID: a)'\necho 'GPU 1: T4 (UUID: b)'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux says which CPUs a process may use")
def test_the_cpus_are_those_that_this_process_may_use():
    assert here().resources["CPU"] == len(os.sched_getaffinity(0))


def test_the_memory_is_no_more_than_the_machine_has():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**27 < here().resources["memory"] <= total


@without_a_gpu
def test_gpus_that_only_the_driver_knows_of_are_counted(two_gpus):
    assert here().resources["GPU"] == 2


@without_a_gpu
@pytest.mark.parametrize(("visible", "gpus"), [("1", 1), ("", 0), ("0,1,2,3", 2)])
def test_hidden_gpus_are_not_counted(two_gpus, monkeypatch, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert here().resources["GPU"] == gpus


@without_a_gpu
def test_a_driver_that_fails_has_no_gpus(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2\nexit 9\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert here().resources["GPU"] == 0
