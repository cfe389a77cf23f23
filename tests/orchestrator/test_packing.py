"""Packing: jobs ask for the memory that preflight measured, and what cannot fit is told before the first job."""

import doctest
from dataclasses import replace

import pytest

from orchestrator import packing as module
from orchestrator.loop import Loop
from orchestrator.packing import DoesNotFit, measured, packing, requests_of
from orchestrator.plan import plan
from orchestrator.preflight import PreflightFailed, combination_id, preflight
from orchestrator.spec import parse_spec
from orchestrator.testing import shipped_catalogue
from storage.open import open_store
from storage.records import FailureClass, Phase, Result, Status
from workers.pools.protocol import Request
from workers.pools.ray_shapes import Node
from workers.pools.scripted import Answer, ScriptedPool, VirtualClock, failed

SPEC = """\
name: s
datasets: [embedded/digits]
backbones: [nano_vit]
methods: [linear, {lora: {rank: [4, 8]}}, gps]
seeds: 2
"""
GIB = 2**30
NODES = [Node("small", {"CPU": 4.0, "memory": 4.0 * GIB}), Node("large", {"CPU": 4.0, "GPU": 1.0, "memory": 8.0 * GIB})]


def entries_of(text=SPEC):
    return plan(parse_spec(text), shipped_catalogue()).entries


def taking(peaks, **more):
    """A script whose checks of a stack take those MiB of the host; `more` metrics are the same for all."""

    def script(job, epoch):
        metrics = {"host_peak_mem_mib": peaks.get(job.stack, 300.0), **more}
        return Answer(1.0, Result(job_id=job.job_id, status=Status.DONE, metrics=metrics, facts={"device": "T4"}))

    return script


@pytest.fixture
def store():
    store = open_store("sqlite://")
    yield store
    store.close()


@pytest.fixture
def packed(store):
    """packed(script, text): what jobs ask for after a preflight, and the entries."""

    def pack(script, text=SPEC, *, on_gpus=False):
        entries = entries_of(text)
        store.save_sweep("s", text, entries)
        pool = ScriptedPool(script, VirtualClock(), slots=3, nodes=NODES)
        preflight(store, entries, pool)
        return packing(store, entries, pool, on_gpus=on_gpus), entries

    return pack


def finish(store, *entries):
    for entry in entries:
        ((_, lease),) = store.claim("s", "test", 1, 60.0, [entry.job.job_id])
        store.finish(lease, Result(job_id=entry.job.job_id, status=Status.DONE))


def mib_by_stack(packing_, entries, phase=Phase.FINAL):
    return {one.job.stack: packing_.request(one).mem_mib for one in entries if one.job.phase is phase}


def test_every_job_of_a_combination_asks_for_its_peak_and_some_headroom_rounded_up(packed):
    found, entries = packed(taking({"linear": 200.0, "lora": 1000.0, "gps": 2000.0}))
    assert mib_by_stack(found, entries) == {"linear": 768.0, "lora": 2048.0, "gps": 3072.0}
    assert all(found.request(one).mem_mib == 2048.0 for one in entries if one.job.stack == "lora")


def test_a_prepare_job_asks_for_what_the_jobs_ask_that_need_its_artifact(packed):
    found, entries = packed(taking({"linear": 200.0, "gps": 2000.0}))
    makers = {one.job.makes.kind: found.request(one).mem_mib for one in entries if one.job.phase is Phase.PREPARE}
    assert makers == {"features": 768.0, "gps_scores": 3072.0}


def test_memory_that_the_spec_names_wins_over_the_measured(packed):
    found, entries = packed(taking({"lora": 2000.0}), SPEC + "resources: {memory_gib: 1}\n")
    assert set(mib_by_stack(found, entries).values()) == {1024.0}


def test_an_override_names_the_memory_of_some_jobs(packed):
    text = SPEC + "overrides: [{match: {method: lora}, set: {resources.memory_gib: 6}}]\n"
    found, entries = packed(taking({"lora": 100.0}), text)
    assert mib_by_stack(found, entries) == {"linear": 1024.0, "lora": 6144.0, "gps": 1024.0}


def test_memory_is_no_part_of_a_jobs_identity():
    named = entries_of(SPEC + "resources: {memory_gib: 3.5}\n")
    assert [one.job.job_id for one in named] == [one.job.job_id for one in entries_of()]
    assert requests_of(named) == [Request(mem_mib=3584.0)]


def test_a_resume_uses_what_was_measured_before(packed, store):
    _, entries = packed(taking({"lora": 1000.0}))
    finish(store, next(one for one in entries if one.job.stack == "lora"))
    again = packing(store, entries, ScriptedPool(taking({}), VirtualClock(), nodes=NODES), on_gpus=False)
    assert mib_by_stack(again, entries) == {"linear": 1024.0, "lora": 2048.0, "gps": 1024.0}


def test_the_newest_measurement_counts(packed):
    packed(taking({"lora": 2000.0}))
    found, entries = packed(taking({"lora": 1000.0}))
    assert mib_by_stack(found, entries)["lora"] == 2048.0


def test_what_was_never_measured_asks_for_nothing(store):
    entries = entries_of()
    store.save_sweep("s", SPEC, entries)
    found = packing(store, entries, ScriptedPool(taking({}), VirtualClock()), on_gpus=False)
    assert [found.request(one) for one in entries] == [Request.of(one.resources) for one in entries]


def test_a_peak_that_fits_only_without_its_headroom_is_not_refused(packed):
    found, entries = packed(taking({"gps": 6500.0, "lora": 8000.0}))
    assert mib_by_stack(found, entries) == {"linear": 1024.0, "lora": 8000.0, "gps": 6500.0 * 1.25}


def test_a_peak_above_every_nodes_memory_is_refused_before_the_first_job(packed):
    with pytest.raises(DoesNotFit) as error:
        packed(taking({"lora": 10240.0, "gps": 9216.0}))
    text = str(error.value)
    assert "lora(rank=4) on nano_vit took 10 GiB of memory in preflight" in text
    assert "gps on nano_vit took 9 GiB" in text
    assert "the nearest that fits is cpus: 1, memory_gib: 8 (node large)" in text
    assert "no job was started" in text
    assert error.value.exit_code == 2


def test_finished_jobs_need_no_room(packed, store):
    _, entries = packed(taking({"lora": 2000.0}))
    finish(store, *(one for one in entries if one.job.stack == "lora"))
    tiny = ScriptedPool(taking({}), VirtualClock(), nodes=[Node("tiny", {"CPU": 1.0, "memory": 0.5 * GIB})])
    found = packing(store, entries, tiny, on_gpus=False)
    assert mib_by_stack(found, entries) == {"linear": 375.0, "lora": 0.0, "gps": 375.0}


GPU_SPEC = SPEC + "resources: {gpus: 0.25}\n"


def test_jobs_that_do_not_fit_on_one_gpu_together_are_refused_with_the_part_that_would_fit(packed):
    script = taking({}, device_peak_mem_mib=6000.0, device_total_mem_mib=16384.0)
    with pytest.raises(DoesNotFit, match=r"gps on nano_vit took 5\.86 GiB of the 16 GiB of T4") as error:
        packed(script, GPU_SPEC, on_gpus=True)
    assert "`gpus: 0.25` puts 4 jobs on it; `gpus: 0.5` would fit" in str(error.value)
    assert str(error.value).count("would fit") == 3


@pytest.mark.parametrize(("peak_mib", "text"), [(3000.0, GPU_SPEC), (16000.0, SPEC + "resources: {gpus: 1}\n")])
def test_jobs_that_fit_on_their_part_of_a_gpu_or_have_one_alone_are_not_refused(packed, peak_mib, text):
    script = taking({}, device_peak_mem_mib=peak_mib, device_total_mem_mib=16384.0)
    found, entries = packed(script, text, on_gpus=True)
    assert set(mib_by_stack(found, entries).values()) == {1024.0}


def test_another_part_of_a_gpu_is_judged_by_what_was_measured_before(packed, store):
    packed(taking({}, device_peak_mem_mib=6000.0, device_total_mem_mib=16384.0), SPEC + "resources: {gpus: 0.5}\n")
    pool = ScriptedPool(taking({}), VirtualClock(), nodes=NODES)
    with pytest.raises(DoesNotFit, match=r"`gpus: 0\.5` would fit"):
        packing(store, entries_of(GPU_SPEC), pool, on_gpus=True)


def test_without_gpus_no_part_of_one_is_judged(packed):
    script = taking({}, device_peak_mem_mib=6000.0, device_total_mem_mib=16384.0)
    found, entries = packed(script, GPU_SPEC, on_gpus=False)
    assert len(found.mem_mib) == len(entries)


@pytest.mark.parametrize("failure_class", [FailureClass.HOST_OOM, FailureClass.CUDA_OOM])
def test_a_check_that_ran_out_of_memory_beside_others_is_made_again_alone(packed, failure_class):
    tries = []

    def script(job, epoch):
        tries.append(job.stack)
        first = tries.count("lora") == 1 and job.stack == "lora"
        return Answer(1.0, failed(job, failure_class)) if first else taking({"lora": 3000.0})(job, epoch)

    found, entries = packed(script)
    assert tries == ["linear", "lora", "gps", "lora"]
    assert mib_by_stack(found, entries)["lora"] == 6144.0


def test_a_check_that_runs_out_of_memory_alone_fails(packed):
    with pytest.raises(PreflightFailed, match="host_oom"):
        packed(lambda job, epoch: Answer(1.0, failed(job, FailureClass.HOST_OOM)))


class _Recording(ScriptedPool):
    """Remembers what was asked for each job."""

    def submit(self, job, lease, request, then=()):
        self.asked = {**getattr(self, "asked", {}), job.job_id: request}
        super().submit(job, lease, request, then)


def test_the_loop_asks_the_pool_for_what_packing_says(packed, store, tmp_path):
    found, entries = packed(taking({"lora": 1000.0}), SPEC.replace("linear", "bitfit").replace(", gps", ""))
    clock = VirtualClock()
    pool = _Recording(taking({}), clock, slots=2)
    Loop(store, "s", pool, tmp_path, clock=clock, request=found.request).run()
    assert pool.asked == {one.job.job_id: found.request(one) for one in entries}
    assert {request.mem_mib for request in pool.asked.values()} == {1024.0, 2048.0}


def test_an_event_of_a_version_that_named_no_combination_is_passed_over(store):
    store.append_event("preflight", {"stack": "lora", "train_peak_mem_mib": 1.0})
    assert measured(store) == {}


def test_the_same_combination_is_recognised_whatever_its_seed_and_slot():
    one = entries_of()[-1]
    other = replace(one, job=replace(one.job, seed=9), resources={"cpus": 3.0})
    assert combination_id(one) == combination_id(other)
    assert combination_id(one) != combination_id(replace(one, resources={"gpus": 0.5}))


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(module).failed == 0
