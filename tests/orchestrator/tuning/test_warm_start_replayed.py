"""What `warm_start: siblings` brings and what it costs, over many seeds of searches on tables made by formula."""

import statistics

import pytest

from methods.api import Domain
from orchestrator.spec import Tune
from orchestrator.tuning.replay import TableCell, replay
from orchestrator.tuning.tables import Recorded, Table
from orchestrator.tuning.warm import Offer
from storage.records import EpochMetrics

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SPACE = {"train.lr": Domain("choice", RATES), "gps.connections_per_neuron": Domain("int", (1, 15))}
TRIALS, SEEDS = 20, range(16)
LATE = TRIALS + 1


def table(name, best_rate, best_count):
    """75 trials on 200 images. Accuracy falls from its best with the square of the distance: 3 points for the next
    rate, half a point for two connections more, 8 for eight."""
    trials = []
    for at, rate in enumerate(RATES):
        for count in range(1, 16):
            score = round(2 * (90 - 3 * (at - best_rate) ** 2 - (count - best_count) ** 2 / 8)) / 2
            params = {"train.lr": rate, "gps.connections_per_neuron": count}
            metrics = {"val_top1_pct": score, "val_loss": 5 - score / 20, "trainable_params": float(count)}
            by_epoch = [{**metrics, "val_top1_pct": score * epoch / 4} for epoch in range(1, 5)]
            curve = tuple(EpochMetrics(epoch, one, 5.0 * epoch) for epoch, one in enumerate(by_epoch, 1))
            trials.append(Recorded(params, "done", curve, metrics, 20.0))
    return Table(name, "gps", "vit", name, name, SPACE, 4, None, None, tuple(trials))


def trials_to_the_best(table, seed, offers=()):
    """How many trials the search takes to come within one image of 200 of the table's best."""
    found = replay(TableCell(table, Tune(TRIALS, SPACE, "tpe", "median"), seed), offers=offers)
    return next((at for at, one in enumerate(found.outcomes, 1) if one.state == "done" and one.score >= 89.5), LATE)


def warm_and_cold(sibling, table):
    """For every seed: trials with and without the values that the search on the sibling ends with."""
    found = []
    for seed in SEEDS:
        known = replay(TableCell(sibling, Tune(TRIALS, SPACE, "tpe", "median"), seed))
        best = max(known.outcomes, key=lambda one: one.metrics.get("val_top1_pct", 0) * (one.state == "done"))
        at = known.outcomes.index(best)
        offer = Offer(known.trials[at].params, sibling.study, at, sibling.dataset)
        found.append((trials_to_the_best(table, seed, [offer]), trials_to_the_best(table, seed)))
    return found


@pytest.mark.parametrize("count", [6, 8])
def test_a_search_on_a_similar_task_is_there_much_sooner(count):
    both = warm_and_cold(table("a", 2, 6), table("b", 2, count))
    warm, cold = (statistics.mean(column) for column in zip(*both, strict=True))
    assert warm < 0.5 * cold


def test_values_of_an_unlike_task_cost_about_the_trial_that_tries_them():
    both = warm_and_cold(table("a", 0, 1), table("b", 4, 15))
    warm, cold = (statistics.mean(column) for column in zip(*both, strict=True))
    assert warm < cold + 2
