"""The scripted pool keeps the pool contract, in virtual time."""

from collections.abc import Iterator

import pytest

from workers.pools.protocol import Done, Progress, Request
from workers.pools.scripted import ScriptedPool, VirtualClock
from workers.testing import PoolContract, probe_job, probe_lease, probe_script


class TestScriptedPool(PoolContract):
    @pytest.fixture
    def pool(self) -> Iterator[ScriptedPool]:
        pool = ScriptedPool(probe_script, VirtualClock(), slots=2)
        yield pool
        pool.close()


def test_waiting_moves_the_clock_and_takes_no_time():
    clock = VirtualClock(now_s=0.0)
    pool = ScriptedPool(probe_script, clock)
    job = probe_job("waits")
    pool.submit(job, probe_lease(job), Request())
    assert isinstance(pool.next_event(1e6), Progress)
    assert clock.now_s == pytest.approx(250_000)
    assert pool.next_event(10.0) is None
    assert clock.now_s == pytest.approx(250_010)


def test_jobs_end_in_order_of_their_scripted_duration():
    clock = VirtualClock()
    pool = ScriptedPool(probe_script, clock, slots=2)
    slow, quick = probe_job("waits"), probe_job("ok")
    for job in (slow, quick):
        pool.submit(job, probe_lease(job), Request())
    ends = []
    while len(ends) < 2:
        event = pool.next_event(1e7)
        if isinstance(event, Done):
            ends.append(event.job_id)
    assert ends == [quick.job_id, slow.job_id]
