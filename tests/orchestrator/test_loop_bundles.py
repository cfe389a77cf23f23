"""Probes that differ in rate and decay alone go to a slot together; each stays a job of its own."""

from dataclasses import replace

import pytest

from orchestrator.loop import Loop
from storage.records import FEATURES, ArtifactKey, FailureClass, Phase, Result, Status, frozen
from storage.store import Entry
from workers.bundle import MOST
from workers.pools.scripted import Answer, ScriptedPool, failed
from workers.testing import probe_job

SHARED = ArtifactKey(FEATURES, frozen({"split": "train800val200"}))


class Watched(ScriptedPool):
    """Remembers which jobs came to a slot together, as their ids."""

    def submit(self, job, lease, request, then=()):
        self.bundles = [*getattr(self, "bundles", []), [one.job_id for one, _ in [(job, lease), *then]]]
        super().submit(job, lease, request, then)


def probes(count, seed=0):
    """Heads on shared features, of as many learning rates."""
    base = replace(probe_job("ok", seed), needs=(SHARED,))
    return [replace(base, recipe=replace(base.recipe, lr=1e-4 * (1 + at))) for at in range(count)]


MAKER = replace(probe_job("ok", 1000), phase=Phase.PREPARE, makes=SHARED)


def made_or(script):
    """The script, with what prepares the features."""
    done = Answer(1.0, Result(job_id=MAKER.job_id, status=Status.DONE, files={"artifact": "artifacts/x"}))
    return lambda job, epoch: done if job.phase is Phase.PREPARE else script(job, epoch)


@pytest.fixture
def sweep_of(store, clock, tmp_path):
    def make(jobs, script=lambda job, epoch: Answer(1.0), slots=1, **options):
        entries = [
            Entry(job, order, resources=options.pop("resources", {})) for order, job in enumerate([MAKER, *jobs])
        ]
        store.save_sweep("s", "spec", entries)
        pool = Watched(made_or(script), clock, slots)
        return Loop(store, "s", pool, tmp_path, clock=clock, **options), pool

    return make


def ids(jobs):
    return [job.job_id for job in jobs]


def test_probes_of_one_kind_go_to_a_slot_together(sweep_of, store):
    jobs = [*probes(5), *probes(3, seed=1), probe_job("ok", 7)]
    loop, pool = sweep_of(jobs)
    outcome = loop.run()
    assert (outcome.done, outcome.ran) == (10, 10)
    assert pool.bundles == [[MAKER.job_id], ids(jobs[:5]), ids(jobs[5:8]), ids(jobs[8:])]
    assert all(state.attempts == 1 for state in store.jobs("s"))


def test_slots_get_equal_parts_also_where_one_is_busy(sweep_of):
    slow = probe_job("ok", 7)
    loop, pool = sweep_of([slow, *probes(40)], lambda job, epoch: Answer(25.0 if job == slow else 1.0), slots=2)
    loop.run()
    assert pool.bundles[:2] == [[MAKER.job_id], [slow.job_id]]
    assert [len(bundle) for bundle in pool.bundles[2:]] == [20, 10, 8, 2]
    assert sorted(id for bundle in pool.bundles[2:] for id in bundle) == sorted(ids(probes(40)))


def test_a_bundle_has_a_largest_size(sweep_of):
    loop, pool = sweep_of(probes(MOST + 3))
    loop.run()
    assert [len(bundle) for bundle in pool.bundles] == [1, MOST, 3]


def test_a_job_that_fails_in_its_bundle_is_tried_again_by_itself(sweep_of, store):
    jobs = probes(4)

    def script(job, epoch):
        is_hit = job.job_id == jobs[1].job_id and epoch == 1
        return Answer(1.0, failed(job, FailureClass.CRASH)) if is_hit else Answer(1.0)

    loop, pool = sweep_of(jobs, script)
    assert loop.run().done == 5
    assert pool.bundles == [[MAKER.job_id], ids(jobs), [jobs[1].job_id]]


def test_a_job_that_has_come_back_takes_no_new_ones_with_it(sweep_of, store):
    jobs = probes(MOST + 6)

    def script(job, epoch):
        is_hit = job.job_id == jobs[0].job_id
        return Answer(1.0, failure=failed(job, FailureClass.CRASH).failure) if is_hit else Answer(1.0)

    loop, pool = sweep_of(jobs, script)
    outcome = loop.run()
    assert (outcome.done, outcome.failed) == (MOST + 6, 1)
    assert [bundle for bundle in pool.bundles if jobs[0].job_id in bundle] == [ids(jobs[:MOST]), [jobs[0].job_id]]
    assert ids(jobs[MOST:]) in pool.bundles


def test_jobs_whose_slot_is_lost_before_their_turn_run_by_themselves_and_nothing_is_held_against_them(sweep_of, store):
    jobs = probes(4)

    def script(job, epoch):
        is_hit = job.job_id == jobs[1].job_id
        return Answer(1.0, failure=failed(job, FailureClass.CRASH).failure) if is_hit else Answer(1.0)

    loop, pool = sweep_of(jobs, script)
    outcome = loop.run()
    assert (outcome.done, outcome.failed) == (4, 1)
    assert [len(bundle) for bundle in pool.bundles] == [1, 4, 1, 1, 1]
    counted = {job_id: store.counted_failures(job_id) for job_id in ids(jobs)}
    assert counted == {jobs[0].job_id: 0, jobs[1].job_id: 2, jobs[2].job_id: 0, jobs[3].job_id: 0}


def test_a_job_that_is_cancelled_before_its_turn_leaves_the_others_alone(sweep_of, store):
    jobs = probes(3)

    def script(job, epoch):
        if job.job_id == jobs[0].job_id:
            store.set_status([jobs[1].job_id], Status.CANCELLED)
        return Answer(100.0)

    loop, _ = sweep_of(jobs, script)
    assert loop.run().done == 3
    assert store.known(ids(jobs)) == dict(zip(ids(jobs), [Status.DONE, Status.CANCELLED, Status.DONE], strict=True))


def test_a_driver_that_is_stopped_gives_back_all_jobs_of_a_bundle(sweep_of, store):
    jobs = probes(3)
    loop, _ = sweep_of(jobs, lambda job, epoch: loop.stop() or Answer(100.0))
    assert loop.run().interrupted
    assert set(store.known(ids(jobs)).values()) == {Status.PENDING}


def test_a_job_is_running_from_its_turn_on(sweep_of, store, clock):
    jobs = probes(3)
    loop, _ = sweep_of(jobs, lambda job, epoch: Answer(10.0))
    loop.run()
    took = {one.job.job_id: one.attempt for one in store.snapshot(["s"]).jobs}
    began = [took[job_id].started_s for job_id in ids(jobs)]
    ended = [took[job_id].ended_s for job_id in ids(jobs)]
    assert began[0] < ended[0] <= began[1] <= ended[1] <= began[2] <= ended[2]


def test_only_the_jobs_that_were_asked_for_are_bundled(sweep_of):
    jobs = probes(4)
    loop, pool = sweep_of(jobs, only=[MAKER.job_id, jobs[0].job_id, jobs[2].job_id])
    loop.run()
    assert pool.bundles == [[MAKER.job_id], ids([jobs[0], jobs[2]])]
