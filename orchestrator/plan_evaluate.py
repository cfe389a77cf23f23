"""Evaluate jobs: every final job's model on every test set of `also_evaluate` whose classes it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from orchestrator.resolve import UNKNOWN, Lookup
from storage.records import DatasetRef, Job, Phase
from storage.store import Entry
from workers.data.class_names import class_map
from workers.errors import WorkerError

_Pair = tuple[DatasetRef, DatasetRef]


@dataclass
class Evaluations:
    """`entries`: with each, whether all that names it is known. `refused`: (what, backbone, reason) -> jobs."""

    entries: list[tuple[Entry, bool]] = field(default_factory=list)
    refused: dict[tuple[str, str, str], int] = field(default_factory=dict)


def evaluation_sets(lookup: Lookup) -> tuple[DatasetRef, ...]:
    """The test sets that the spec names. What is unknown, or cannot be asked for, is a problem of the spec."""
    spec = lookup.spec
    if spec.also_evaluate and spec.phase != Phase.FINAL:
        lookup.problem(("also_evaluate",), f"evaluates what final jobs have trained; phase is {spec.phase}")
    return lookup.datasets(spec.also_evaluate)


def evaluate_entries(
    lookup: Lookup, wanted: Sequence[DatasetRef], planned: Sequence[tuple[Entry, bool]]
) -> Evaluations:
    """The evaluate jobs of the planned final jobs, to come after all of them."""
    found, maps = Evaluations(), _Maps(lookup)
    for entry, is_resolved in planned if wanted else ():
        parent = entry.job
        if parent.phase is not Phase.FINAL:
            continue
        for dataset in wanted:
            classes = maps.of(parent.dataset, dataset)
            if isinstance(classes, str):
                what = (f"also_evaluate {dataset.name} of {parent.dataset.name}", parent.backbone.name, classes)
                found.refused[what] = found.refused.get(what, 0) + 1
                continue
            order = len(planned) + len(found.entries)
            child = Entry(_evaluate_job(parent, dataset, classes), order, entry.row, entry.resources)
            is_known = is_resolved and classes is not None and dataset.data_hash != UNKNOWN
            found.entries.append((child, is_known))
    return found


def off_the_shelf_job(job: Job, parent: Job) -> Job:
    """The parent's model with what the job's stack has beside the parent's, on the parent's own test split."""
    classes = tuple(range(parent.dataset.classes))
    return replace(_evaluate_job(parent, parent.dataset, classes), methods=job.methods)


def _evaluate_job(parent: Job, dataset: DatasetRef, classes: tuple[int, ...] | None) -> Job:
    return replace(
        parent,
        phase=Phase.EVALUATE,
        dataset=dataset,
        needs=(),
        parent=parent.job_id,
        trained_on=parent.dataset,
        class_map=classes,
    )


class _Maps:
    """The class maps between data sets, each made once."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._found: dict[_Pair, tuple[int, ...] | str | None] = {}

    def of(self, trained: DatasetRef, tested: DatasetRef) -> tuple[int, ...] | str | None:
        """The map, why there is none, or None where too little is known before the data are here."""
        pair = (trained, tested)
        if pair not in self._found:
            self._found[pair] = self._map(*pair)
        return self._found[pair]

    def _map(self, trained: DatasetRef, tested: DatasetRef) -> tuple[int, ...] | str | None:
        if trained.name == tested.name:
            return "it is the training set itself: the final job reads its test split"
        names_of = self._lookup.catalogue.class_names
        try:
            names = (names_of(trained.name), names_of(tested.name))
        except WorkerError:  # not here: told among what is missing
            return None
        if not trained.classes or not tested.classes:
            return None
        return class_map((names[0], trained.classes), (names[1], tested.classes))
