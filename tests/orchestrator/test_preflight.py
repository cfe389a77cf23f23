"""Preflight of a plan: which combinations are checked, what stops the run, and what is remembered."""

import pytest

from orchestrator.plan import plan
from orchestrator.preflight import PreflightFailed, combinations, preflight
from orchestrator.spec import parse_spec
from orchestrator.testing import shipped_catalogue
from storage.open import open_store
from storage.records import Failure, FailureClass, Phase, Result, Status
from workers.pools.inline import InlinePool
from workers.pools.scripted import Answer, ScriptedPool, VirtualClock, failed
from workers.run import run_job
from workers.site import Site

SPEC = """\
name: s
datasets: ["@embedded/*"]
backbones: [nano_vit]
methods: [linear, {lora: {rank: [4, 16, 8]}}, gps]
seeds: 2
train: {lr: [1e-3, 1e-2]}
measure: true
"""


def entries_of(text=SPEC):
    return plan(parse_spec(text), shipped_catalogue()).entries


@pytest.fixture
def store():
    store = open_store("sqlite://")
    yield store
    store.close()


@pytest.fixture
def flown(store):
    """flown(script, text): the report of a preflight on three scripted slots, and the jobs that were checked."""

    def fly(script=lambda job, epoch: Answer(1.0), text=SPEC):
        entries = entries_of(text)
        store.save_sweep("s", text, entries)
        checked = []

        def recorded(job, epoch):
            checked.append(job)
            return script(job, epoch)

        return preflight(store, entries, ScriptedPool(recorded, VirtualClock(), slots=3)), checked

    return fly


def test_one_check_per_stack_whatever_the_data_sets_seeds_rates_and_ranks(flown):
    report, checked = flown()
    assert [job.stack for job in checked] == ["linear", "lora", "gps"]
    assert (len(report.passed), report.known) == (3, 0)


def test_of_several_sizes_the_largest_is_checked(flown):
    _, checked = flown()
    (lora,) = [job for job in checked if job.stack == "lora"]
    assert dict(lora.methods[0].params)["rank"] == 16


def test_checks_wait_for_no_artifact_and_carry_the_phase_that_cannot_open_the_test_split(flown):
    _, checked = flown()
    assert {(job.phase, job.needs) for job in checked} == {(Phase.PREFLIGHT, ())}


@pytest.mark.parametrize(
    "more",
    [
        "train: {batch_size: [32, 64]}",
        "train: {precision: [fp32, bf16]}",
        "train: {mixup_alpha: [0, 0.8]}",
        "train: {optimizer: [adam, sgd]}",
    ],
)
def test_what_changes_memory_or_code_is_checked_apart(more):
    text = SPEC.replace("train: {lr: [1e-3, 1e-2]}", more)
    todo, _ = combinations(entries_of(text), frozenset())
    assert len(todo) == 6


def test_words_among_the_hyper_parameters_are_checked_apart():
    text = SPEC.replace("gps]", "{gps: {level: [neuron, net]}}]")
    assert len(combinations(entries_of(text), frozenset())[0]) == 4


def test_combinations_with_a_finished_job_are_not_checked_again(flown, store):
    entries = entries_of()
    store.save_sweep("s", SPEC, entries)
    lora = next(entry.job.job_id for entry in entries if entry.job.stack == "lora")
    ((_, lease),) = store.claim("s", "test", 1, 60.0, [lora])
    store.finish(lease, Result(job_id=lora, status=Status.DONE))
    report, checked = flown()
    assert [job.stack for job in checked] == ["linear", "gps"]
    assert report.known == 1


def test_all_failures_are_told_at_once_with_rows_class_and_advice(flown):
    def script(job, epoch):
        if job.stack == "lora":
            return Answer(1.0, failed(job, FailureClass.CUDA_OOM, "the device ran out of memory"))
        if job.stack == "gps":
            return Answer(1.0, failure=Failure(FailureClass.CRASH, "the worker died"))
        return Answer(1.0)

    with pytest.raises(PreflightFailed) as error:
        flown(script)
    text = str(error.value)
    assert "2 combinations cannot run" in text
    assert "lora(rank=4)" in text
    assert "cuda_oom: the device ran out of memory" in text
    assert "lower train.batch_size" in text
    assert "crash: the worker died" in text
    assert error.value.exit_code == 2


def test_a_lost_node_stops_nothing(flown):
    def script(job, epoch):
        lost = Failure(FailureClass.NODE_LOST, "gone")
        return Answer(1.0, failure=lost) if job.stack == "gps" else Answer(1.0)

    report, _ = flown(script)
    assert [one.sample.job.stack for one in report.unchecked] == ["gps"]
    assert "1 could not be checked" in str(report)


def test_measured_memory_is_kept_as_events_of_jobs_of_the_sweep(flown, store):
    def script(job, epoch):
        metrics = {"train_peak_mem_mib": 300.0, "infer_peak_mem_mib": 100.0, "wall_s": 0.5}
        return Answer(1.0, Result(job_id=job.job_id, status=Status.DONE, metrics=metrics))

    flown(script)
    events = [event for event in store.events(limit=10_000) if event.kind == "preflight"]
    assert [event.data["stack"] for event in events] == ["linear", "lora", "gps"]
    assert {event.data["train_peak_mem_mib"] for event in events} == {300.0}
    assert all(event.job_id in {entry.job.job_id for entry in entries_of()} for event in events)


def test_checks_are_never_stored(flown, store):
    flown()
    assert store.counts("s") == {Status.PENDING: len(entries_of())}


def test_an_interrupted_preflight_cancels_what_it_started(store):
    entries = entries_of()
    store.save_sweep("s", SPEC, entries)
    pool = _Interrupted(lambda job, epoch: Answer(1e6), VirtualClock(), slots=3)
    with pytest.raises(KeyboardInterrupt):
        preflight(store, entries, pool)
    cancelled = [event.result.status for event in iter(lambda: ScriptedPool.next_event(pool, 1.0), None)]
    assert cancelled == [Status.CANCELLED] * 3


class _Interrupted(ScriptedPool):
    """A person presses Ctrl-C while the driver waits."""

    def next_event(self, timeout_s):
        raise KeyboardInterrupt


def test_weights_that_are_not_those_of_the_plan_are_found_before_the_first_job(store, tmp_path):
    entries = entries_of(SPEC.replace('["@embedded/*"]', "[embedded/location]"))
    store.save_sweep("s", SPEC, entries)
    site = Site(home=tmp_path / "home", cache=tmp_path / "cache")
    pool = InlinePool(lambda job, lease, report, bundle: run_job(job, lease, site, report, bundle))
    try:
        with pytest.raises(PreflightFailed, match="3 combinations cannot run") as error:
            preflight(store, entries, pool)
    finally:
        pool.close()
    assert str(error.value).count("user_error") == 3
    assert (site.home / str(error.value).partition("(log: ")[2].partition(" in")[0]).is_file()
    assert not (site.home / "spool").exists()
