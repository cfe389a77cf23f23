"""An entry that is to be alone runs while nothing else does, whatever happens around it."""

import pytest

from orchestrator.loop import LEASE_S, Loop
from storage.records import FailureClass, Status
from storage.store import Entry
from workers.pools.scripted import Answer, ScriptedPool, failed
from workers.testing import probe_job

ALONE = {"exclusive": 1.0}


@pytest.fixture
def loop_of(store, clock, tmp_path):
    """loop_of(script, alone={3}): six jobs on three slots, of which some are to be alone."""

    def make(script, alone, count=6):
        jobs = [probe_job("ok", seed) for seed in range(count)]
        entries = [Entry(job, at, "row", ALONE if at in alone else {}) for at, job in enumerate(jobs)]
        store.save_sweep("s", "spec", entries)
        return Loop(store, "s", ScriptedPool(script, clock, slots=3), tmp_path, clock=clock)

    return make


def spans_of(loop_of, clock, alone, script=lambda job, epoch: Answer(1.0 + job.seed)):
    """When each attempt began and ended: (seed, begin, end)."""
    spans = []

    def recorded(job, epoch):
        answer = script(job, epoch)
        spans.append((job.seed, clock.now_s, clock.now_s + answer.duration_s))
        return answer

    return loop_of(recorded, alone).run(), spans


@pytest.mark.parametrize("alone", [{4, 5}, {0}, {2, 3}, set(range(6))])
def test_nothing_overlaps_with_what_is_alone_and_the_rest_still_runs_together(loop_of, clock, alone):
    outcome, spans = spans_of(loop_of, clock, alone)
    assert (outcome.done, outcome.ran) == (6, 6)
    together = 0
    for seed, begin, end in spans:
        for other, other_begin, other_end in spans:
            overlaps = other != seed and begin < other_end and other_begin < end
            together += overlaps
            assert not (overlaps and seed in alone)
    assert together > 0 or len(alone) == 6


def test_the_order_of_the_plan_is_kept(loop_of, clock):
    _, spans = spans_of(loop_of, clock, {1, 4})
    assert [seed for seed, _, _ in spans] == list(range(6))


def test_it_may_wait_longer_than_a_lease(loop_of, clock, store):
    outcome, _ = spans_of(loop_of, clock, {2}, lambda job, epoch: Answer(LEASE_S * 5))
    assert outcome.done == 6
    assert {state.attempts for state in store.jobs("s")} == {1}


def test_it_is_alone_again_when_it_is_tried_again(loop_of, clock):
    def script(job, epoch):
        crashed = job.seed == 2 and epoch == 1
        return Answer(3.0, failure=failed(job, FailureClass.CRASH).failure) if crashed else Answer(1.0)

    outcome, spans = spans_of(loop_of, clock, {2}, script)
    tries = [(begin, end) for seed, begin, end in spans if seed == 2]
    others = [(begin, end) for seed, begin, end in spans if seed != 2]
    assert (outcome.done, len(tries)) == (6, 2)
    assert not [1 for begin, end in tries for b, e in others if begin < e and b < end]


def test_a_driver_that_is_stopped_gives_back_what_waited(loop_of, store):
    loop = loop_of(lambda job, epoch: loop.stop() or Answer(1e6), {1, 2})
    loop.run()
    assert store.leases("s") == []
    assert store.counts("s")[Status.PENDING] == 6


def test_one_that_is_cancelled_while_it_waits_never_runs(loop_of, clock, store):
    ran = []

    def script(job, epoch):
        ran.append(job.seed)
        if job.seed == 0:
            store.set_status([probe_job("ok", 1).job_id], Status.CANCELLED)
        return Answer(1.0)

    outcome = loop_of(script, {1}).run()
    assert 1 not in ran
    assert outcome.done == 5
