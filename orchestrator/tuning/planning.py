"""Which points of a plan are tuned, and what of their spaces cannot be searched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from methods.api import Domain
from orchestrator.plan_jobs import JobMaker
from orchestrator.plan_measure import measure_entries
from orchestrator.resolve import Lookup
from orchestrator.spec import SweepSpec, Tune
from orchestrator.spec_methods import OFF_THE_SHELF
from orchestrator.tuning.cells import TRAIN, Cell, Point
from orchestrator.tuning.searchable import cell_problems
from orchestrator.tuning.spaces import written_space
from orchestrator.tuning.waves import with_siblings
from storage.records import DatasetRef, Phase
from storage.store import Entry


def tuned_cells(lookup: Lookup, points: Iterable[Point], also: tuple[DatasetRef, ...]) -> tuple[Cell, ...]:
    """One cell per point that has something to tune; what cannot be searched becomes problems of the spec. `also`:
    other test sets for the models that come out."""
    tune = lookup.spec.tune
    if tune is None:
        return ()
    spaces = [(point, space) for point in points if (space := _space(point, tune))]
    if not spaces and not any(lookup.is_left_out(key.rpartition(".")[0]) for key in tune.space):
        lookup.problem(("tune",), "finds nothing to tune: no method here has a space of its own; give tune.space")
    if lookup.spec.phase != "final":
        lookup.problem(("phase",), "is search, and tune: searches by itself; leave phase out")
    _refuse(lookup, [point for point, _ in spaces])
    searching, finishing = JobMaker(lookup, Phase.SEARCH), JobMaker(lookup, Phase.FINAL)
    cells = tuple(
        Cell(point, space, tune, searching, finishing, at, len(spaces), also=also)
        for at, (point, space) in enumerate(spaces)
    )
    cells = _with_shelves(cells)
    for problem in cell_problems(lookup.spec, cells):
        lookup.problem(*problem)
    return with_siblings(cells, lookup.catalogue.group) if tune.warm_start else cells


def _with_shelves(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """One cell for a stack that is both a row of its own and the parent of others off the shelf."""
    if not any(cell.point.shelf for cell in cells):
        return tuple(cells)
    firsts: dict[str, Cell] = {}
    left = []
    for cell in cells:
        first = firsts.setdefault(cell.study, cell)
        if first is cell or not cell.point.shelf:
            left.append(cell)
        else:
            first.point.shelf.update(cell.point.shelf)
    return tuple(left)


def _refuse(lookup: Lookup, points: Sequence[Point]) -> None:
    """What makes no sense together."""
    if lookup.spec.tune is not None and lookup.spec.tune.warm_start and lookup.spec.tune.sampler == "grid":
        lookup.problem(("tune", "warm_start"), "starts a search from values found elsewhere; a grid visits all of them")
    trained = {facts.name for point in points for facts in point.variant.methods}
    shelved = {
        facts.name for point in points for variant in point.shelf.values() for facts in variant.methods
    } - trained
    for key in lookup.spec.tune.space if lookup.spec.tune is not None else ():
        if key.rpartition(".")[0] in shelved:
            text = f"comes in when the rest is trained ({OFF_THE_SHELF}): give it as a list, every value is evaluated"
            lookup.problem(("tune", "space", key), text)


def fixed_entries(spec: SweepSpec, entries: Sequence[Entry], cells: Sequence[Cell]) -> list[Entry]:
    """The planned entries without those of tuned cells, which the search adds one by one."""
    if not cells:
        return list(entries)
    tuned = {(cell.row, cell.point.backbone.ref, cell.point.dataset) for cell in cells}
    finals = [
        entry
        for entry in entries
        if entry.job.phase is Phase.FINAL and (entry.row, entry.job.backbone, entry.job.dataset) not in tuned
    ]
    needed = {key.key_id for entry in finals for key in entry.job.needs}
    parents = {entry.job.job_id for entry in finals}
    finals += [entry for entry in entries if entry.job.parent in parents]
    kept = [entry for entry in entries if entry.job.makes is not None and entry.job.makes.key_id in needed] + finals
    device = cells[0].finishing.lookup.catalogue.device
    measured = measure_entries(spec.measure, [(entry, True) for entry in kept], device)
    return kept + [replace(entry, order=len(entries) + entry.order) for entry, _ in measured]


def _space(point: Point, tune: Tune) -> dict[str, Domain]:
    """What of the spec's space this stack has; without one, its methods' own."""
    names = [facts.name for facts in point.variant.methods]
    if not tune.space:
        return {f"{facts.name}.{key}": one for facts in point.variant.methods for key, one in facts.space.items()}
    return {
        key: domain for key, domain in written_space(tune.space).items() if key.rpartition(".")[0] in (TRAIN, *names)
    }
