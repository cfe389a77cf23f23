"""The loop on a scripted pool, in virtual time, with a real store: nothing is lost, nothing runs for ever."""

from dataclasses import replace

import pytest

from orchestrator.loop import LEASE_S, Loop
from orchestrator.owners import this_owner
from storage.records import ArtifactKey, FailureClass, Lease, Phase, Result, Status, frozen
from storage.records.spool import write_spool
from storage.store import Entry
from workers.pools.scripted import Answer, ScriptedPool, failed
from workers.testing import probe_job

DEAD_PROCESS = 2**22 + 1  # above the largest process id of Linux


@pytest.fixture
def sweep_of(store, clock, tmp_path):
    """A loop over jobs, driven by a script."""

    def make(jobs, script, slots=1, **options):
        store.save_sweep("s", "spec", [Entry(job, order) for order, job in enumerate(jobs)])
        return Loop(store, "s", ScriptedPool(script, clock, slots), tmp_path, clock=clock, **options)

    return make


def jobs(count):
    return [probe_job("ok", seed) for seed in range(count)]


def ok(job, epoch):
    return Answer(1.0)


def test_every_job_is_run_once_and_recorded(sweep_of, store):
    outcome = sweep_of(jobs(7), ok, slots=3).run()
    assert (outcome.done, outcome.failed, outcome.ran) == (7, 0, 7)
    assert all(state.attempts == 1 and state.result is not None for state in store.jobs("s"))


def test_the_same_sweep_again_runs_nothing(sweep_of):
    sweep_of(jobs(3), ok).run()
    again = sweep_of(jobs(3), ok).run()
    assert (again.done, again.ran) == (3, 0)


def test_jobs_run_in_the_order_of_the_plan(sweep_of, store):
    ran = []
    sweep_of(list(reversed(jobs(4))), lambda job, epoch: ran.append(job.seed) or Answer(1.0)).run()
    assert ran == [3, 2, 1, 0]


def test_a_user_error_fails_at_once_and_the_others_go_on(sweep_of, store):
    def script(job, epoch):
        return Answer(1.0, failed(job, FailureClass.USER_ERROR)) if job.seed == 1 else Answer(1.0)

    outcome = sweep_of(jobs(3), script).run()
    assert (outcome.done, outcome.failed, outcome.ran) == (2, 1, 3)


def test_a_crash_is_tried_twice_in_all(sweep_of, store):
    def script(job, epoch):
        return Answer(1.0, failure=failed(job, FailureClass.CRASH).failure)

    outcome = sweep_of(jobs(1), script).run()
    (state,) = store.jobs("s")
    assert (outcome.failed, outcome.ran, state.attempts) == (1, 2, 2)
    assert state.result.failure.failure_class is FailureClass.CRASH


def test_a_crash_count_survives_the_driver(sweep_of, store):
    def crash_then_drain(job, epoch):
        loop.drain()
        return Answer(1.0, failure=failed(job, FailureClass.CRASH).failure)

    loop = sweep_of(jobs(1), crash_then_drain)
    assert loop.run().failed == 0
    loop = sweep_of(jobs(1), crash_then_drain)
    assert loop.run().failed == 1


def test_a_lost_node_costs_the_job_nothing(sweep_of, store):
    def script(job, epoch):
        return Answer(1.0, failure=failed(job, FailureClass.NODE_LOST).failure) if epoch < 4 else Answer(1.0)

    outcome = sweep_of(jobs(1), script).run()
    (state,) = store.jobs("s")
    assert (outcome.done, state.attempts, store.counted_failures(state.job.job_id)) == (1, 4, 0)


@pytest.mark.parametrize("failure_class", list(FailureClass))
def test_nothing_is_tried_for_ever(sweep_of, failure_class):
    def script(job, epoch):
        return Answer(1.0, failure=failed(job, failure_class).failure)

    outcome = sweep_of(jobs(1), script).run()
    assert outcome.failed == 1
    assert outcome.ran <= 10


def test_a_transient_failure_is_tried_again_after_a_pause(sweep_of, clock):
    began_s = []

    def script(job, epoch):
        began_s.append(clock.now_s)
        return Answer(1.0, failure=failed(job, FailureClass.TRANSIENT).failure) if epoch == 1 else Answer(1.0)

    assert sweep_of(jobs(1), script).run().done == 1
    assert began_s[1] - began_s[0] >= 3.0


def test_a_job_waits_for_the_artifact_that_it_needs(sweep_of, store):
    key = ArtifactKey("scores", frozen({"seed": 0}))
    maker = replace(probe_job("ok"), phase=Phase.PREPARE, makes=key)
    user = replace(probe_job("ok", seed=1), needs=(key,))
    ran = []

    def script(job, epoch):
        ran.append(job.phase)
        files = {"artifact": "artifacts/x.safetensors"} if job.makes else {}
        return Answer(1.0, Result(job_id=job.job_id, status=Status.DONE, files=files))

    assert sweep_of([user, maker], script, slots=2).run().done == 2
    assert ran == [Phase.PREPARE, Phase.FINAL]


def test_jobs_whose_artifact_cannot_be_made_are_reported_as_blocked(sweep_of):
    key = ArtifactKey("scores", frozen({"seed": 0}))
    maker = replace(probe_job("ok"), phase=Phase.PREPARE, makes=key)
    user = replace(probe_job("ok", seed=1), needs=(key,))
    outcome = sweep_of([maker, user], lambda job, epoch: Answer(1.0, failed(job, FailureClass.USER_ERROR))).run()
    assert (outcome.failed, outcome.blocked, outcome.ran) == (1, 1, 1)


def test_draining_finishes_what_runs_and_starts_nothing_more(sweep_of, store):
    def script(job, epoch):
        loop.drain()
        return Answer(5.0)

    loop = sweep_of(jobs(4), script)
    outcome = loop.run()
    assert (outcome.done, outcome.blocked, outcome.interrupted) == (1, 3, True)
    assert store.leases("s") == []


def test_stopping_gives_running_jobs_back(sweep_of, store):
    loop = sweep_of(jobs(2), lambda job, epoch: loop.stop() or Answer(1e6), slots=1)
    outcome = loop.run()
    assert (outcome.done, outcome.failed, outcome.blocked) == (0, 0, 2)
    assert store.leases("s") == []
    assert sweep_of(jobs(2), ok).run().done == 2


def test_a_long_job_keeps_its_lease(sweep_of, store):
    outcome = sweep_of(jobs(1), lambda job, epoch: Answer(LEASE_S * 10)).run()
    (state,) = store.jobs("s")
    assert (outcome.done, state.attempts) == (1, 1)


def test_what_a_dead_driver_of_this_host_held_is_taken_back_at_once(sweep_of, store, clock):
    loop = sweep_of(jobs(1), ok)
    dead = f"{this_owner().rpartition(':')[0]}:{DEAD_PROCESS}"
    store.claim("s", dead, 1, LEASE_S)
    before_s = clock.now_s
    assert loop.run().done == 1
    assert clock.now_s - before_s < LEASE_S / 2


def test_what_another_host_holds_is_waited_for(sweep_of, store, clock):
    loop = sweep_of(jobs(2), ok)
    store.claim("s", f"elsewhere:1:{DEAD_PROCESS}", 1, LEASE_S)
    before_s = clock.now_s
    assert loop.run().done == 2
    assert clock.now_s - before_s >= LEASE_S


def test_a_result_that_a_dead_driver_left_spooled_is_read_in_and_not_run_again(sweep_of, store, tmp_path):
    loop = sweep_of(jobs(1), ok)
    ((entry, lease),) = store.claim("s", "elsewhere:1:1", 1, LEASE_S)
    store.start(lease)
    result = Result(job_id=entry.job.job_id, status=Status.DONE, metrics={"test_top1_pct": 77.0})
    spool = tmp_path / "spool" / f"{lease.job_id}.{lease.epoch}.json"
    spool.parent.mkdir(exist_ok=True)
    write_spool(spool, lease, result)
    outcome = loop.run()
    assert (outcome.done, outcome.ran) == (1, 0)
    assert store.job(entry.job.job_id).result.metrics == {"test_top1_pct": 77.0}
    assert not spool.exists()


def test_a_process_that_is_lost_after_it_spooled_its_result_has_done_its_job(sweep_of, store, tmp_path):
    (tmp_path / "spool").mkdir()

    def script(job, epoch):
        lease = Lease(job.job_id, epoch, this_owner(), 0.0)
        result = Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 77.0})
        write_spool(tmp_path / "spool" / f"{job.job_id}.{epoch}.json", lease, result)
        return Answer(1.0, failure=failed(job, FailureClass.CRASH).failure)

    outcome = sweep_of(jobs(1), script).run()
    assert (outcome.done, outcome.ran) == (1, 1)
    assert store.jobs("s")[0].result.metrics == {"test_top1_pct": 77.0}
    assert store.counted_failures(jobs(1)[0].job_id) == 0
    assert not list((tmp_path / "spool").iterdir())


def test_a_spooled_result_of_an_old_attempt_is_dropped(sweep_of, store, tmp_path):
    loop = sweep_of(jobs(1), ok)
    job = jobs(1)[0]
    old = Lease(job.job_id, 99, "x", 0.0)
    spool = tmp_path / "spool" / f"{job.job_id}.99.json"
    spool.parent.mkdir(exist_ok=True)
    write_spool(spool, old, Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 1.0}))
    assert loop.run().ran == 1
    assert "test_top1_pct" in store.jobs("s")[0].result.metrics
    assert store.jobs("s")[0].result.metrics["test_top1_pct"] == 50.0


def test_a_stray_spooled_result_of_another_store_stops_nothing(sweep_of, tmp_path):
    stray = probe_job("ok", seed=1234)
    spool = tmp_path / "spool" / f"{stray.job_id}.1.json"
    spool.parent.mkdir(exist_ok=True)
    write_spool(spool, Lease(stray.job_id, 1, "x", 0.0), Result(job_id=stray.job_id, status=Status.DONE))
    assert sweep_of(jobs(1), ok).run().done == 1
    assert spool.exists()


def test_only_the_named_jobs_are_run(sweep_of, store):
    wanted = [job.job_id for job in jobs(4)[1:3]]
    outcome = sweep_of(jobs(4), ok, only=wanted).run()
    assert (outcome.done, outcome.blocked, outcome.ran) == (2, 0, 2)
    assert {state.job.job_id for state in store.jobs("s", Status.DONE)} == set(wanted)


def test_two_drivers_share_one_sweep_and_run_nothing_twice(sweep_of, store, clock, tmp_path):
    first = sweep_of(jobs(6), ok, owner="one:1:1")
    taken = store.claim("s", "two:1:1", 2, LEASE_S)

    def finish_theirs(progress, event):
        while progress.done >= 2 and taken:
            entry, lease = taken.pop()
            store.finish(lease, Result(job_id=entry.job.job_id, status=Status.DONE))

    first.watch = finish_theirs
    outcome = first.run()
    assert (outcome.done, outcome.ran) == (6, 4)


def test_a_job_cancelled_by_a_person_is_stopped_and_stays_cancelled(sweep_of, store, clock):
    loop = sweep_of(jobs(2), lambda job, epoch: Answer(LEASE_S * 3 if job.seed == 0 else 1.0))
    cancelled = []

    def cancel_first(progress, event):
        if not cancelled and progress.running:
            cancelled.extend(store.set_status([jobs(1)[0].job_id], Status.CANCELLED))

    loop.watch = cancel_first
    outcome = loop.run()
    assert outcome.done == 1
    assert store.job(jobs(1)[0].job_id).status is Status.CANCELLED


def test_the_loop_costs_little_per_job(sweep_of, clock):
    import time

    loop = sweep_of(jobs(300), ok, slots=4)
    began_s = time.process_time()
    assert loop.run().done == 300
    per_job_s = (time.process_time() - began_s) / 300
    assert per_job_s < 0.05  # the bar, 0.005 s, is in `make bench`; this catches a quadratic loop
