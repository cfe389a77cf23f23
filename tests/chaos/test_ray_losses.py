"""Nodes and memory that vanish under a running job: what the pool tells the loop, provoked with real Ray nodes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from storage.records import FailureClass, Job, Lease, Result, Status
from workers.pools.protocol import Done, Lost, PoolError, Progress, Request
from workers.site import Report
from workers.testing import probe_job, probe_lease, until_end

pytestmark = pytest.mark.slow
OTHER = Request(cpus=1, extra={"other": 1})


def long_runner(job: Job, lease: Lease, report: Report, bundle: object = None) -> Result:
    """Says that it began, then waits until it is killed, or ends at once for "ok"."""
    report(Progress(job.job_id, lease.epoch, "began"))
    if job.dataset.name == "probe/waits":
        time.sleep(120)
    return Result(job_id=job.job_id, status=Status.DONE, facts={"pid": str(os.getpid())})


@pytest.fixture(scope="module")
def cluster() -> Iterator:
    from ray.cluster_utils import Cluster

    small = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **small})
    made.small = small
    yield made
    made.shutdown()


@pytest.fixture
def other_node(cluster) -> Iterator:
    """A node that alone has the resource `other`."""
    node = cluster.add_node(num_cpus=1, resources={"other": 1}, **cluster.small)
    cluster.wait_for_nodes()
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node, allow_graceful=False)


@pytest.fixture
def pool(cluster, other_node) -> Iterator:
    from workers.pools.ray_pool import RayPool
    from workers.pools.ray_session import RayOptions

    pool = RayPool(long_runner, RayOptions(address=cluster.address), [OTHER, Request()])
    yield pool
    pool.close()


def lose(cluster, node) -> None:
    cluster.remove_node(node, allow_graceful=False)


def lose_and_notice(cluster, node, pool) -> None:
    """Ray believes in a dead node for some seconds."""
    lose(cluster, node)
    deadline_s = time.monotonic() + 30
    while pool.feasible(OTHER) is None and time.monotonic() < deadline_s:
        time.sleep(0.5)


def test_a_node_that_dies_under_its_job_is_node_lost_and_other_nodes_go_on(cluster, other_node, pool):
    job = probe_job("waits")
    pool.submit(job, probe_lease(job), OTHER)
    while not isinstance(pool.next_event(1.0), Progress):
        continue
    lose(cluster, other_node)
    end = until_end(pool)[-1]
    assert isinstance(end, Lost)
    assert end.failure.failure_class is FailureClass.NODE_LOST
    job = probe_job("ok")
    pool.submit(job, probe_lease(job), Request())
    assert isinstance(until_end(pool)[-1], Done)


def test_a_node_that_died_while_its_slot_was_idle_is_not_held_against_the_next_job(cluster, other_node, pool):
    first = probe_job("ok", seed=0)
    pool.submit(first, probe_lease(first), OTHER)
    until_end(pool)
    lose(cluster, other_node)
    time.sleep(2.0)
    second = probe_job("ok", seed=1)
    pool.submit(second, probe_lease(second), OTHER)
    end = until_end(pool)[-1]
    assert isinstance(end, Lost)
    assert end.failure.failure_class in (FailureClass.NODE_LOST, FailureClass.TRANSIENT)


def test_a_shape_whose_last_node_vanished_is_node_lost_and_one_that_never_fitted_is_refused(cluster, other_node, pool):
    assert pool.feasible(OTHER) is None
    lose_and_notice(cluster, other_node, pool)
    assert "nearest that fits is cpus: 1, other: 0" in str(pool.feasible(OTHER))
    job = probe_job("ok")
    pool.submit(job, probe_lease(job), OTHER)
    end = until_end(pool)[-1]
    assert isinstance(end, Lost)
    assert end.failure.failure_class is FailureClass.NODE_LOST
    with pytest.raises(PoolError, match="nearest that fits"):
        pool.submit(job, probe_lease(job), Request(cpus=1, extra={"never": 1}))


def test_an_actor_bound_to_a_vanished_node_is_node_lost(cluster, other_node, pool):
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from workers.pools.ray_failures import classified
    from workers.pools.ray_slot import JobSlot

    strategy = NodeAffinitySchedulingStrategy(other_node.node_id, soft=False)
    lose_and_notice(cluster, other_node, pool)
    job = probe_job("ok")
    actor = ray.remote(JobSlot).options(scheduling_strategy=strategy).remote(long_runner)
    stream = actor.run.remote([(job, probe_lease(job))])
    with pytest.raises(ray.exceptions.RayError) as caught:
        ray.get(next(stream), timeout=30)
    assert isinstance(caught.value, ray.exceptions.ActorUnschedulableError)
    assert classified(caught.value, begun=False).failure_class is FailureClass.NODE_LOST


GREEDY = """
import os, sys, time
from storage.records import Result, Status
from workers.pools.protocol import Lost, Request
from workers.pools.ray_pool import RayPool
from workers.pools.ray_session import RayOptions
from workers.testing import probe_job, probe_lease, until_end

def greedy(job, lease, report, bundle):
    hold = []
    for _ in range(60):
        hold.append(b"x" * (64 * 2**20))
        time.sleep(0.02)
    time.sleep(5)
    return Result(job_id=job.job_id, status=Status.DONE)

pool = RayPool(greedy, RayOptions(slots=1))
job = probe_job("ok")
pool.submit(job, probe_lease(job), Request())
end = until_end(pool)[-1]
pool.close()
print(end.failure.failure_class if isinstance(end, Lost) else end)
"""


def test_a_slot_that_eats_the_nodes_memory_is_host_oom():
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + 2.0 * 2**30) / memory.total
    if threshold > 0.95:
        pytest.skip("less than 2 GiB are free here: the memory monitor would hit somebody else")
    env = {
        **os.environ,
        "RAY_memory_usage_threshold": f"{threshold:.3f}",
        "RAY_memory_monitor_refresh_ms": "50",
    }
    done = subprocess.run(
        [sys.executable, "-c", GREEDY], capture_output=True, text=True, timeout=120, env=env, check=True
    )
    assert done.stdout.strip() == "host_oom"
