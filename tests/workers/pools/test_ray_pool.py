"""The Ray pool keeps the pool contract, with real actors; what its slots do beyond it, and what Ray's errors mean."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray

from storage.records import DatasetRef, Failure, FailureClass, Job, Lease, Result, Status
from workers.bundle import Bundle
from workers.pools.protocol import Done, Lost, PoolError, PoolEvent, Progress, Request
from workers.pools.ray_pool import RayPool
from workers.pools.ray_session import RayOptions
from workers.site import Report
from workers.testing import PoolContract, probe_job, probe_lease, probe_runner, until_end


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """One local Ray for all pools of this file; a pool that finds one leaves it alone."""
    first = RayPool(probe_runner, RayOptions(slots=2))
    yield
    first.close()


@pytest.fixture
def pool(local_ray) -> Iterator[RayPool]:
    pool = RayPool(naughty_runner, RayOptions(slots=2))
    yield pool
    pool.close()


def naughty_runner(job: Job, lease: Lease, report: Report, bundle: Bundle | None = None) -> Result:
    """The contract's probes, and some that end their process or say where they ran."""
    what = job.dataset.name.removeprefix("probe/")
    if what == "where":
        return Result(job_id=job.job_id, status=Status.DONE, facts={"pid": str(os.getpid())})
    if what == "environment":
        return Result(job_id=job.job_id, status=Status.DONE, facts={"omp": os.environ["OMP_NUM_THREADS"]})
    if what == "exits":
        os._exit(3)
    if what == "is killed after a while":
        time.sleep(1.0)  # what was said before is with the driver by then
    if what.startswith("is killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "is deaf":
        time.sleep(60)
    if what == "breaks its process":
        failure = Failure(FailureClass.CUDA_OOM, "as asked")
        return Result(job_id=job.job_id, status=Status.FAILED, failure=failure)
    return probe_runner(job, lease, report)


def end_of(pool: RayPool, job: Job, request: Request | None = None) -> PoolEvent:
    pool.submit(job, probe_lease(job), request or Request())
    return until_end(pool)[-1]


def pid_of(pool: RayPool, job: Job, request: Request | None = None) -> str:
    end = end_of(pool, job, request)
    assert isinstance(end, Done)
    return end.result.facts["pid"]


def on(job: Job, backbone: str, dataset: str) -> Job:
    """The job that says where it ran, on another backbone and data set."""
    return replace(job, backbone=replace(job.backbone, name=backbone), dataset=DatasetRef("probe/where", dataset, 2))


class TestRayPool(PoolContract):
    @pytest.fixture
    def pool(self, local_ray) -> Iterator[RayPool]:
        pool = RayPool(probe_runner, RayOptions(slots=2))
        yield pool
        pool.close()


def test_a_slot_stays_warm_from_job_to_job(pool):
    assert pid_of(pool, probe_job("where", 0)) == pid_of(pool, probe_job("where", 1))


def test_a_slot_is_replaced_after_its_number_of_jobs(local_ray):
    pool = RayPool(naughty_runner, RayOptions(slots=1, jobs_per_slot=2))
    pids = [pid_of(pool, probe_job("where", seed)) for seed in range(3)]
    pool.close()
    assert pids[0] == pids[1] != pids[2]


def test_a_bundle_counts_as_one_job_of_a_slot(local_ray):
    pool = RayPool(naughty_runner, RayOptions(slots=1, jobs_per_slot=2))
    first, *then = [(job, probe_lease(job)) for job in (probe_job("where", seed) for seed in range(3))]
    pool.submit(*first, Request(), then)
    pids = [until_end(pool)[-1].result.facts["pid"] for _ in range(3)]
    pids += [pid_of(pool, probe_job("where", seed)) for seed in (3, 4)]
    pool.close()
    assert pids[0] == pids[1] == pids[2] == pids[3] != pids[4]


def test_a_slot_is_replaced_after_a_failure_of_its_process_and_kept_after_one_of_the_job(pool):
    first = pid_of(pool, probe_job("where", 0))
    end_of(pool, probe_job("fails"))
    assert pid_of(pool, probe_job("where", 1)) == first
    end_of(pool, probe_job("breaks its process"))
    assert pid_of(pool, probe_job("where", 2)) != first


def test_idle_slots_make_room_for_another_shape(pool):
    wide, narrow = Request(cpus=pool_cpus()), Request()
    first = pid_of(pool, probe_job("where", 0), narrow)
    second = pid_of(pool, probe_job("where", 1), wide)
    third = pid_of(pool, probe_job("where", 2), narrow)
    assert len({first, second, third}) == 3


def test_a_slot_serves_jobs_that_need_less_memory_than_it_has_and_makes_room_for_one_that_needs_more(pool):
    first = pid_of(pool, probe_job("where", 0))
    assert pid_of(pool, probe_job("where", 1), Request(mem_mib=64)) == first
    assert pid_of(pool, probe_job("where", 2), Request(mem_mib=memory_mib() * 0.9)) != first


def test_no_more_jobs_are_taken_than_the_memory_of_the_node_holds(local_ray):
    large = Request(cpus=0.1, mem_mib=memory_mib() * 0.6)
    pool = RayPool(naughty_runner, requests=[Request(cpus=0.1)])
    assert pool.free_slots >= 20
    for seed in range(2):
        job = probe_job("waits", seed)
        pool.submit(job, probe_lease(job), large)
    free = pool.free_slots
    pool.close()
    assert free == 0
    assert "nearest that fits is cpus: 1, memory_gib: " in str(pool.feasible(Request(mem_mib=memory_mib() * 1.1)))


def test_a_job_goes_to_the_slot_that_last_had_its_data_set(pool):
    jobs = [on(probe_job("where", seed), "a", f"hash-{seed}") for seed in range(2)]
    for job in jobs:
        pool.submit(job, probe_lease(job), Request())
    ends = {end.job_id: end for end in (until_end(pool)[-1], until_end(pool)[-1])}
    for job in jobs:
        again = replace(job, seed=7)
        assert pid_of(pool, again) == ends[job.job_id].result.facts["pid"]


def test_numerical_libraries_of_a_slot_are_told_their_threads(local_ray):
    pool = RayPool(naughty_runner, RayOptions(slots=1, threads=3))
    end = end_of(pool, probe_job("environment"))
    pool.close()
    assert isinstance(end, Done)
    assert end.result.facts["omp"] == "3"


@pytest.mark.parametrize("death", ["exits", "is killed"])
def test_a_process_that_dies_under_its_job_is_a_crash_and_the_next_job_gets_a_new_one(pool, death):
    end = end_of(pool, probe_job(death))
    assert isinstance(end, Lost)
    assert end.failure.failure_class is FailureClass.CRASH
    assert isinstance(end_of(pool, probe_job("ok")), Done)


def test_an_exception_of_the_runner_is_named_in_the_failure(pool):
    end = end_of(pool, probe_job("raises"))
    assert isinstance(end, Lost)
    assert end.failure.message == "the runner raised RuntimeError: the probe raises, as asked"
    assert "probe_runner" in end.failure.detail


def test_a_slot_killed_between_jobs_is_not_held_against_the_next_job(pool):
    os.kill(int(pid_of(pool, probe_job("where"))), signal.SIGKILL)
    end = end_of(pool, probe_job("ok"))
    assert isinstance(end, Lost)
    assert end.failure.failure_class is FailureClass.TRANSIENT


class Unloadable:
    """Travels to a slot, and cannot be loaded there."""

    def __reduce__(self):
        return _raise, ()


def _raise() -> None:
    raise ImportError("cannot be loaded")


def test_a_runner_that_cannot_be_loaded_is_a_crash(local_ray):
    pool = RayPool(Unloadable(), RayOptions(slots=1))
    end = end_of(pool, probe_job("ok"))
    pool.close()
    assert isinstance(end, Lost)
    assert end.failure.failure_class is FailureClass.CRASH
    assert "cannot be loaded" in end.failure.detail


def test_a_job_that_does_not_listen_is_ended_by_force_after_its_grace(pool):
    job = probe_job("is deaf")
    pool.submit(job, probe_lease(job), Request())
    assert pool.next_event(1.0) is None
    began_s = time.monotonic()
    pool.cancel(job.job_id, grace_s=0.5)
    end = until_end(pool)[-1]
    assert isinstance(end, Done)
    assert end.result.status is Status.CANCELLED
    assert 0.4 < time.monotonic() - began_s < 5


def test_waiting_for_an_event_takes_no_longer_than_asked(pool):
    job = probe_job("is deaf")
    pool.submit(job, probe_lease(job), Request())
    for timeout_s in (0.0, 0.3):
        began_s = time.monotonic()
        assert pool.next_event(timeout_s) is None
        assert time.monotonic() - began_s < timeout_s + 0.2


def test_an_impossible_shape_is_refused_with_the_nearest_that_fits(pool):
    job = probe_job("ok")
    with pytest.raises(PoolError, match=rf"nearest that fits is cpus: {pool_cpus()}"):
        pool.submit(job, probe_lease(job), Request(cpus=4096))
    assert "gpus" in str(pool.feasible(Request(gpus=64)))
    assert pool.feasible(Request()) is None


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001"])
def test_an_address_without_a_cluster_is_refused_at_once(address):
    code = f"""
from workers.pools.protocol import PoolError
from workers.pools.ray_pool import RayPool
from workers.pools.ray_session import RayOptions
try:
    RayPool(print, RayOptions(address={address!r}))
except PoolError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert f"Ray at {address} cannot be used" in done.stdout


def memory_mib() -> float:
    """What the local Ray counts as this machine's memory."""
    return float(ray.cluster_resources()["memory"]) / 2**20


def pool_cpus() -> int:
    return max(2, len(os.sched_getaffinity(0)))


def test_progress_of_two_slots_never_mixes(pool):
    jobs = [probe_job("ok", seed) for seed in range(2)]
    for job in jobs:
        pool.submit(job, probe_lease(job), Request())
    events = until_end(pool) + until_end(pool)
    for job in jobs:
        own = [event for event in events if event.job_id == job.job_id]
        assert [type(event) for event in own] == [Progress] * 3 + [Done]


def test_importing_what_others_import_loads_no_ray():
    code = "import sys, workers.pools.protocol, workers.pools.ray_slot, workers.pools.ray_shapes, orchestrator.cli\n"
    code += "print('ray' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_process_that_dies_leaves_the_jobs_behind_it_to_be_tried_again(pool):
    jobs = [probe_job(what, seed) for seed, what in enumerate(("ok", "is killed after a while", "ok", "ok"))]
    first, *then = [(job, probe_lease(job)) for job in jobs]
    pool.submit(*first, Request(), then)
    ends = [until_end(pool)[-1] for _ in jobs]
    assert [end.job_id for end in ends] == [job.job_id for job in jobs]
    assert isinstance(ends[0], Done)
    assert [end.failure.failure_class for end in ends[1:]] == [FailureClass.CRASH, *[FailureClass.TRANSIENT] * 2]
    assert pool.free_slots == 2
    assert isinstance(end_of(pool, probe_job("ok", 9)), Done)
