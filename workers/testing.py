"""PoolContract: what every pool promises to the loop, as tests. Subclass it and give the `pool` fixture.

The jobs are probes: `probe_runner` plays out what a job's data-set name says, so that real pools (thread, actor) run
real code; a scripted pool answers the same names with `probe_script`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from storage.records import (
    BackboneRef,
    DatasetRef,
    EpochMetrics,
    Failure,
    FailureClass,
    Job,
    Lease,
    MethodCall,
    Phase,
    Recipe,
    Result,
    Status,
)
from workers.bundle import Bundle
from workers.pools.protocol import Done, Lost, Pool, PoolError, PoolEvent, Progress, Request, Verdict
from workers.pools.scripted import Answer
from workers.site import Report

_PATIENCE_S = 30.0
_EPOCHS = 3


def probe_job(what: str, seed: int = 0) -> Job:
    """A job whose runner does `what`: "ok", "fails", "raises" or "waits" (until it is cancelled)."""
    return Job(
        phase=Phase.FINAL,
        methods=(MethodCall("linear", 1),),
        backbone=BackboneRef("probe", "none"),
        dataset=DatasetRef(f"probe/{what}", "none", 2),
        train_split="train800val200",
        score_split="test",
        recipe=Recipe(epochs=_EPOCHS, warmup_epochs=0.0, image_size=32),
        seed=seed,
        trainer_revision=1,
    )


def probe_lease(job: Job, epoch: int = 1) -> Lease:
    return Lease(job.job_id, epoch, "contract", time.time() + 60)


def probe_result(job: Job) -> Result:
    what = job.dataset.name.removeprefix("probe/")
    if what == "fails":
        failure = Failure(FailureClass.USER_ERROR, "the probe fails, as asked")
        return Result(job_id=job.job_id, status=Status.FAILED, failure=failure)
    return Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 50.0 + job.seed}, epochs=_epochs())


def probe_runner(job: Job, lease: Lease, report: Report, bundle: Bundle | None = None) -> Result:
    """Plays the probe job; the contract's stand-in for `workers.run.run_job`."""
    what = job.dataset.name.removeprefix("probe/")
    if what == "raises":
        raise RuntimeError("the probe raises, as asked")
    for epoch in _epochs():
        report(Progress(job.job_id, lease.epoch, "train", epoch.epoch, _EPOCHS, epoch))
    deadline_s = time.monotonic() + _PATIENCE_S
    while what == "waits" and time.monotonic() < deadline_s:
        if report(Progress(job.job_id, lease.epoch, "wait")) is Verdict.STOP:
            return Result(job_id=job.job_id, status=Status.CANCELLED)
        time.sleep(0.005)
    return probe_result(job)


def probe_script(job: Job, lease_epoch: int) -> Answer:
    """The same probes for a scripted pool."""
    what = job.dataset.name.removeprefix("probe/")
    if what == "raises":
        return Answer(1.0, failure=Failure(FailureClass.CRASH, "the probe raises, as asked"))
    return Answer(1e6 if what == "waits" else 1.0, result=probe_result(job), epochs=_epochs())


def _epochs() -> tuple[EpochMetrics, ...]:
    return tuple(EpochMetrics(number, {"train_loss": 1.0 / number}, float(number)) for number in range(1, _EPOCHS + 1))


def until_end(pool: Pool) -> list[PoolEvent]:
    """Events up to and including the next Done or Lost."""
    events: list[PoolEvent] = []
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        event = pool.next_event(1.0)
        if event is not None:
            events.append(event)
        if isinstance(event, Done | Lost):
            return events
    pytest.fail(f"no job ended within {_PATIENCE_S:g} s; events so far: {events}")


class PoolContract:
    """Subclass as `class TestMyPool(PoolContract)` with a fixture `pool` that plays probe jobs."""

    @pytest.fixture
    def pool(self) -> Iterator[Pool]:
        pytest.fail("a contract's subclass gives the fixture `pool`")

    def test_a_job_ends_in_one_done_that_carries_its_result(self, pool: Pool) -> None:
        job = probe_job("ok", seed=3)
        pool.submit(job, probe_lease(job, epoch=7), Request())
        end = until_end(pool)[-1]
        assert isinstance(end, Done)
        assert (end.job_id, end.lease_epoch, end.result) == (job.job_id, 7, probe_result(job))
        assert pool.next_event(0.05) is None

    def test_progress_comes_before_the_end_and_in_order(self, pool: Pool) -> None:
        job = probe_job("ok")
        pool.submit(job, probe_lease(job), Request())
        *progress, _ = until_end(pool)
        assert [event.epoch for event in progress if isinstance(event, Progress)] == list(_epochs())

    def test_a_failed_result_is_done_and_not_lost(self, pool: Pool) -> None:
        job = probe_job("fails")
        pool.submit(job, probe_lease(job), Request())
        end = until_end(pool)[-1]
        assert isinstance(end, Done)
        assert end.result.failure is not None
        assert end.result.failure.failure_class is FailureClass.USER_ERROR

    def test_a_runner_that_breaks_its_promise_is_lost_as_a_crash(self, pool: Pool) -> None:
        job = probe_job("raises")
        pool.submit(job, probe_lease(job), Request())
        end = until_end(pool)[-1]
        assert isinstance(end, Lost)
        assert end.failure.failure_class is FailureClass.CRASH

    def test_a_slot_is_taken_by_a_job_and_given_back_at_its_end(self, pool: Pool) -> None:
        free = pool.free_slots
        assert free >= 1
        job = probe_job("ok")
        pool.submit(job, probe_lease(job), Request())
        assert pool.free_slots == free - 1
        until_end(pool)
        assert pool.free_slots == free

    def test_submitting_without_a_free_slot_is_refused(self, pool: Pool) -> None:
        for seed in range(pool.free_slots):
            job = probe_job("waits", seed)
            pool.submit(job, probe_lease(job), Request())
        extra = probe_job("ok", seed=99)
        with pytest.raises(PoolError, match="slot"):
            pool.submit(extra, probe_lease(extra), Request())

    def test_many_jobs_all_come_back_once(self, pool: Pool) -> None:
        jobs = [probe_job("ok", seed) for seed in range(20)]
        waiting = list(jobs)
        ended: list[str] = []
        while len(ended) < len(jobs):
            while waiting and pool.free_slots:
                job = waiting.pop(0)
                pool.submit(job, probe_lease(job), Request())
            ended.append(until_end(pool)[-1].job_id)
        assert sorted(ended) == sorted(job.job_id for job in jobs)

    def test_a_cancelled_job_ends_as_cancelled(self, pool: Pool) -> None:
        job = probe_job("waits")
        pool.submit(job, probe_lease(job), Request())
        pool.cancel(job.job_id, grace_s=10.0)
        end = until_end(pool)[-1]
        assert isinstance(end, Done)
        assert end.result.status is Status.CANCELLED

    def test_cancelling_one_job_leaves_the_next_alone(self, pool: Pool) -> None:
        first, second = probe_job("waits"), probe_job("ok")
        pool.submit(first, probe_lease(first), Request())
        pool.cancel(first.job_id, grace_s=10.0)
        until_end(pool)
        pool.submit(second, probe_lease(second), Request())
        end = until_end(pool)[-1]
        assert isinstance(end, Done)
        assert end.result.status is Status.DONE

    def test_jobs_of_one_bundle_share_a_slot_and_end_one_after_the_other(self, pool: Pool) -> None:
        free = pool.free_slots
        jobs = [probe_job(what, seed) for seed, what in enumerate(("ok", "fails", "ok"))]
        first, *then = [(job, probe_lease(job, epoch=5)) for job in jobs]
        pool.submit(*first, Request(), then)
        for job in jobs:
            assert pool.free_slots == free - 1
            end = until_end(pool)[-1]
            assert isinstance(end, Done)
            assert (end.job_id, end.lease_epoch, end.result) == (job.job_id, 5, probe_result(job))
        assert pool.free_slots == free

    def test_cancelling_one_of_a_bundle_leaves_the_others_alone(self, pool: Pool) -> None:
        jobs = [probe_job(what, seed) for seed, what in enumerate(("waits", "waits", "ok"))]
        first, *then = [(job, probe_lease(job)) for job in jobs]
        pool.submit(*first, Request(), then)
        pool.cancel(jobs[1].job_id, grace_s=10.0)
        pool.cancel(jobs[0].job_id, grace_s=10.0)
        ended = {end.job_id: end.result.status for _ in jobs if isinstance(end := until_end(pool)[-1], Done)}
        stopped = Status.CANCELLED
        assert ended == {jobs[0].job_id: stopped, jobs[1].job_id: stopped, jobs[2].job_id: Status.DONE}

    def test_cancelling_an_unknown_job_changes_nothing(self, pool: Pool) -> None:
        pool.cancel("no-such-job", grace_s=0.0)
        assert pool.next_event(0.0) is None

    def test_an_idle_pool_has_no_event(self, pool: Pool) -> None:
        assert pool.next_event(0.0) is None
        assert pool.next_event(0.01) is None

    def test_closing_twice_is_fine_and_then_nothing_is_accepted(self, pool: Pool) -> None:
        pool.close()
        pool.close()
        job = probe_job("ok")
        with pytest.raises(PoolError, match="closed"):
            pool.submit(job, probe_lease(job), Request())

    def test_closing_with_a_running_job_does_not_hang(self, pool: Pool) -> None:
        job = probe_job("waits")
        pool.submit(job, probe_lease(job), Request())
        began_s = time.monotonic()
        pool.close()
        assert time.monotonic() - began_s < 10

    def test_closing_ends_a_bundle_too(self, pool: Pool) -> None:
        jobs = [probe_job("waits", seed) for seed in range(3)]
        first, *then = [(job, probe_lease(job)) for job in jobs]
        pool.submit(*first, Request(), then)
        began_s = time.monotonic()
        pool.close()
        assert time.monotonic() - began_s < 10
        assert pool.free_slots == 0
