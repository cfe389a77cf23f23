"""Heads of a bundle are trained as one, and each is what it would have become alone, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from storage.records import FEATURES, METRICS, ArtifactKey, Lease, Phase, frozen
from tests.workers.probe_heads import CPU, RECIPES, a_feed, a_model, a_probe
from workers import heads_together
from workers.bundle import Bundle, kind_of
from workers.clock import Stopwatch
from workers.errors import Diverged
from workers.features import head_of
from workers.feeds import Subject
from workers.heads import HeadSteps
from workers.pools.protocol import Verdict
from workers.reporting import Reporter, Stopped
from workers.run import run_job
from workers.train import Trainer

CLASSES = 10
SHARED = ArtifactKey(FEATURES, frozen({"split": "train800val200"}))
SETTINGS = [(lr, decay) for lr in (1e-2, 1e-3) for decay in (1e-2, 0.0, 1e-4)] + [(2e-2, 0.0)]


def probes(a_job, classes=CLASSES, settings=SETTINGS, **recipe):
    """Probes on the same features that differ in rate and decay."""
    base = replace(a_probe(a_job, classes, **recipe), needs=(SHARED,))
    return [replace(base, recipe=replace(base.recipe, lr=lr, weight_decay=decay)) for lr, decay in settings]


def trained(job, bundle=None, *, feed=None, count=200, width=48, report=lambda _: Verdict.CONTINUE):
    """All values after every epoch, and the metrics of all epochs."""
    adapted = a_model(width, job.dataset.classes, job.seed)
    head = head_of(adapted.model)
    trainer = Trainer(adapted, Subject(head, head, is_head_only=True), job, CPU, bundle)
    seen = []

    def look():
        seen.append(torch.cat([value.detach().flatten() for value in adapted.moving.values()]))
        return {}

    reporter = Reporter(job, Lease(job.job_id, 1, "test", 0.0), report)
    done = trainer.run(feed or a_feed(job, count, width), reporter, Stopwatch(), look)
    return seen, [epoch.metrics for epoch in done.epochs]


@pytest.fixture
def as_one(a_job):
    """For tests of what is found for others: skips where this processor's products differ in their last bits."""
    jobs = probes(a_job)
    bundle = Bundle(tuple(jobs))
    trained(jobs[0], bundle)
    if not bundle.found:
        pytest.skip("on this processor every job trains its own head")
    assert list(bundle.found) == [job.job_id for job in jobs[1:]]


ONE_BY_ONE = ("clipped gradients", "running average")
"""Recipes whose heads are never trained as one."""


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ONE_BY_ONE])
def test_every_head_of_a_bundle_is_the_one_it_would_be_alone(a_job, name):
    jobs = probes(a_job, **RECIPES[name])
    bundle = Bundle(tuple(jobs))
    for job in jobs:
        values, metrics = trained(job, bundle)
        expected, expected_metrics = trained(job)
        assert metrics == expected_metrics
        assert torch.equal(values[-1], expected[-1])


def test_the_first_job_of_a_bundle_trains_the_heads_of_all(a_job, as_one):
    jobs = probes(a_job)
    bundle, orders = Bundle(tuple(jobs)), []
    for job in jobs:
        feed = a_feed(job, 200, 48)
        ordered = feed.order
        feed.order = lambda epoch, ordered=ordered: orders.append(epoch) or ordered(epoch)
        trained(job, bundle, feed=feed)
        if job is jobs[0]:
            assert orders, "it has seen the batches"
        else:
            assert not orders, "nobody else has"
        orders.clear()


@pytest.mark.parametrize(
    ("count", "width", "classes"), [(200, 192, 102), (200, 48, 10), (130, 768, 7), (90, 33, 5), (64, 7, 2)]
)
def test_at_every_size(a_job, count, width, classes):
    jobs = probes(a_job, classes)
    bundle = Bundle(tuple(jobs))
    for job in jobs:
        values, metrics = trained(job, bundle, count=count, width=width)
        expected, expected_metrics = trained(job, count=count, width=width)
        assert metrics == expected_metrics
        assert torch.equal(values[-1], expected[-1])


@pytest.mark.parametrize("classes", [5, 10, 102])
def test_threads_change_no_bit_of_a_head(a_job, classes):
    jobs, found = probes(a_job, classes), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            bundle = Bundle(tuple(jobs))
            found.append([trained(job, bundle, width=192)[0][-1] for job in jobs])
            found.append([trained(job, width=192)[0][-1] for job in jobs])
    finally:
        torch.set_num_threads(before)
    for values in found[1:]:
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(values, found[0], strict=True))


@pytest.mark.parametrize(("width", "classes", "batch"), [(192, 7, 3), (96, 10, 3), (48, 5, 8), (768, 100, 32)])
def test_in_bf16_too_where_one_value_in_many_would_be_rounded_otherwise(a_job, width, classes, batch):
    jobs = probes(a_job, classes, precision="bf16", optimizer="sgd", batch_size=batch)
    bundle = Bundle(tuple(jobs))
    for job in jobs:
        assert torch.equal(trained(job, bundle, width=width)[0][-1], trained(job, width=width)[0][-1])


def test_a_search_finds_each_head_as_it_was_after_every_epoch(a_job):
    jobs = [replace(job, phase=Phase.SEARCH) for job in probes(a_job)]
    bundle = Bundle(tuple(jobs))
    for job in jobs:
        for after, expected in zip(trained(job, bundle)[0], trained(job)[0], strict=True):
            assert torch.equal(after, expected)


def test_a_head_that_diverges_fails_as_it_does_alone_and_the_others_go_on(a_job):
    jobs = probes(a_job, settings=[(1e-2, 0.0), (1e37, 0.0), (1e-3, 0.0)], optimizer="sgd", schedule="constant")
    bundle = Bundle(tuple(jobs))
    said = []
    for used in (bundle, None):
        trained(jobs[0], used)
        with pytest.raises(Diverged) as error:
            trained(jobs[1], used)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert torch.equal(trained(jobs[2], bundle)[0][-1], trained(jobs[2])[0][-1])


def test_a_first_job_that_is_stopped_takes_no_other_with_it(a_job, as_one, monkeypatch):
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 0.0)
    jobs = probes(a_job)
    bundle = Bundle(tuple(jobs))
    with pytest.raises(Stopped):
        trained(jobs[0], bundle, report=lambda _: Verdict.STOP)
    assert bundle.found == {}
    assert torch.equal(trained(jobs[1], bundle)[0][-1], trained(jobs[1])[0][-1])
    assert len(bundle.found) == len(jobs) - 2, "the second has trained those behind it"


def test_each_job_answers_for_its_share_of_the_time(a_job, as_one):
    jobs = probes(a_job, epochs=40)
    bundle, clocks = Bundle(tuple(jobs)), []
    for job in jobs:
        adapted = a_model(48, CLASSES, 0)
        head = head_of(adapted.model)
        clocks.append(Stopwatch())
        reporter = Reporter(job, Lease(job.job_id, 1, "test", 0.0), lambda _: Verdict.CONTINUE)
        Trainer(adapted, Subject(head, head, True), job, CPU, bundle).run(
            a_feed(job, 200, 48), reporter, clocks[-1], dict
        )
    found = [clock.metrics()["train_s"] for clock in clocks]
    assert max(found) < 3 * min(found), "not all of it stands with the first"
    assert all(clock.metrics()["wall_s"] >= train_s for clock, train_s in zip(clocks, found, strict=True))


class InexactSteps(HeadSteps):
    """As on a processor that rounds products of several heads otherwise."""

    @property
    def values(self):
        found = super().values
        return [(weight * (1 + 2**-20), bias) for weight, bias in found] if len(found) > 1 else found


class InexactGradients(HeadSteps):
    """The same, where no value shows it yet: the rate is small."""

    def passes(self, feed, most):
        for heads in super().passes(feed, most):
            factor = 1 + 2**-20 if len(heads) > 1 else 1
            yield [(logits, weight * factor, bias) for logits, weight, bias in heads]


@pytest.mark.parametrize("inexact", [InexactSteps, InexactGradients])
def test_where_the_bits_of_heads_as_one_differ_every_job_trains_its_own_head(a_job, as_one, monkeypatch, inexact):
    monkeypatch.setattr(heads_together, "HeadSteps", inexact)
    monkeypatch.setattr(heads_together, "verdicts", {})
    jobs = probes(a_job)
    bundle = Bundle(tuple(jobs))
    values, metrics = trained(jobs[0], bundle)
    assert bundle.found == {}
    assert (torch.equal(values[-1], trained(jobs[0])[0][-1]), metrics) == (True, trained(jobs[0])[1])


def test_heads_of_another_seed_are_not_checked_again(a_job, as_one, monkeypatch):
    jobs = probes(a_job)
    monkeypatch.setattr(heads_together, "verdicts", {})
    checks = []
    monkeypatch.setattr(heads_together, "_passes_agree", lambda jobs, *_: checks.append(jobs[0].job_id) or True)
    for seed in (0, 1):
        trained(replace(jobs[0], seed=seed), Bundle(tuple(replace(job, seed=seed) for job in jobs)))
    trained(jobs[0], Bundle(tuple(jobs[:3])))
    assert checks == [jobs[0].job_id, jobs[0].job_id], "two shapes: all of them, and three"


def test_more_heads_than_can_be_kept_are_trained_in_parts(a_job, as_one, monkeypatch):
    jobs = [replace(job, phase=Phase.SEARCH) for job in probes(a_job)]
    head_bytes = 4 * (48 * CLASSES + CLASSES)
    monkeypatch.setattr(heads_together, "_KEPT_BYTES", 3 * head_bytes * jobs[0].recipe.total_epochs)
    bundle, left = Bundle(tuple(jobs)), []
    for job in jobs:
        assert torch.equal(trained(job, bundle)[0][-1], trained(job)[0][-1])
        left.append(len(bundle.found))
    assert left == [2, 1, 0, 2, 1, 0, 0]


def test_only_probes_on_shared_features_that_differ_in_rate_and_decay_are_of_one_kind(a_job):
    one, other, *_ = probes(a_job)
    assert kind_of(one) == kind_of(other) is not None
    assert kind_of(replace(one, seed=1)) != kind_of(one)
    assert kind_of(replace(one, recipe=replace(one.recipe, epochs=5))) != kind_of(one)
    for alone in (
        replace(one, needs=()),
        replace(one, phase=Phase.EVALUATE),
        replace(one, recipe=replace(one.recipe, clip_grad_norm=1.0)),
        replace(one, recipe=replace(one.recipe, ema_decay=0.9)),
    ):
        assert kind_of(alone) is None


def real_probes(a_job, run):
    """Of one kind, with the features that they need made."""
    plain = a_job("linear", recipe={"epochs": 3})
    keys = []
    for split in ("train800val200", "test"):
        maker = replace(
            plain,
            phase=Phase.PREPARE,
            methods=(),
            train_split=split,
            score_split="",
            makes=ArtifactKey(FEATURES, frozen({"split": split})),
        )
        assert run(maker).failure is None
        keys.append(maker.makes)
    return [
        replace(plain, needs=tuple(keys), recipe=replace(plain.recipe, lr=lr, weight_decay=decay))
        for lr, decay in ((1e-2, 0.0), (1e-3, 0.1), (1e-2, 0.1))
    ]


def run_in(bundle, job, site):
    return run_job(job, Lease(job.job_id, 2, "test", 0.0), site, lambda _: Verdict.CONTINUE, bundle)


def test_real_jobs_of_a_bundle_have_the_results_that_they_have_alone(a_job, run, site):
    jobs = real_probes(a_job, run)
    bundle = Bundle(tuple(jobs))
    for job in jobs:
        alone, bundled = run(job), run_in(bundle, job, site)
        numbers, expected = (
            {name: value for name, value in one.metrics.items() if not METRICS[name].is_cost}
            for one in (bundled, alone)
        )
        assert numbers == expected
        assert bundled.files["predictions"] == alone.files["predictions"], "named by content"
        assert [one.metrics for one in bundled.epochs] == [one.metrics for one in alone.epochs]


def test_the_jobs_of_a_bundle_read_their_features_once(a_job, run, site):
    jobs = real_probes(a_job, run)
    bundle = Bundle(tuple(jobs))
    alone = run(jobs[1])
    assert run_in(bundle, jobs[0], site).failure is None
    for key in jobs[0].needs:
        site.artifact_path(key.key_id).unlink()
    second = run_in(bundle, jobs[1], site)
    assert second.files["predictions"] == alone.files["predictions"]
    assert "made again" not in (site.home / second.files["log"]).read_text()
    assert "made again" in (site.home / run(jobs[2]).files["log"]).read_text(), "outside the bundle they are"
