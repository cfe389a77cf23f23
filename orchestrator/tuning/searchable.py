"""What of a plan's cells cannot be searched, or not as it is written: (place, text) for each."""

from __future__ import annotations

from collections.abc import Sequence

from methods.facts import Value
from orchestrator.spec import SweepSpec
from orchestrator.spec_problems import Place, path_text
from orchestrator.tuning.cells import TRAIN, Asked, Cell, Point, schedules
from orchestrator.tuning.reach import unmet

Found = list[tuple[Place, str]]

_MERGING = (
    "only chooses little merging: add a bound on the cost, such as `constraint: macs <= 0.5` (of the backbone's own "
    "MACs), or the cost as an objective, `objectives: [val_top1_pct, macs]`, or leave it out of the space"
)


def cell_problems(spec: SweepSpec, cells: Sequence[Cell]) -> Found:
    """Each once, in the order of the cells."""
    found = [problem for cell in cells for problem in (*_of_cell(cell), *_overridden(spec, cell))]
    return list(dict.fromkeys([*found, *_alike(cells)]))


def _of_cell(cell: Cell) -> Found:
    found: Found = []
    if cell.tune.sampler == "grid":
        found += [
            (
                ("tune", "space", _as_written(cell, key)),
                f"is a domain {domain.kind}; the sampler grid takes int and choice",
            )
            for key, domain in cell.space.items()
            if domain.kind not in ("int", "choice")
        ]
    ends = [cell.trial({key: domain.values[at] for key, domain in cell.space.items()}) for at in (0, -1)]
    refusals = [one.refusal for one in ends if one.refusal]
    if cell.tune.gpu_hours is not None and not cell.gpus:
        text = f"are not used by {cell.row}: give hours, which are a slot's, or resources: {{gpus: 0.5}}"
        found.append((("tune", "gpu_hours"), text))
    if len(refusals) == len(ends):
        found.append((("tune", "space"), f"cannot be run at either end of its domains for {cell.row}: {refusals[0]}"))
    if cell.tune.constraint is None and "macs" not in cell.tune.objectives and len(schedules(ends)) > 1:
        merging = [key for key in cell.space if len(schedules([_at(cell, key, end) for end in (0, -1)])) > 1]
        found += [(("tune", "space", _as_written(cell, key)), f"{key} {_MERGING}") for key in merging]
    reason = unmet(cell)
    return found if reason is None else [*found, (("tune", "constraint"), reason)]


def _overridden(spec: SweepSpec, cell: Cell) -> Found:
    """Overrides come before all else that gives a value, and a search would give it another one."""
    return [
        ((*spec.overrides[at].path, "set", key), f"{key} is both set here and in the search space; keep one")
        for at in sorted(cell.point.overrides)
        for key in spec.overrides[at].set
        if key in cell.space
    ]


def _alike(cells: Sequence[Cell]) -> Found:
    """Rows that differ only in what is searched are one study: only one of them would come out."""
    found: Found = []
    first: dict[str, Cell] = {}
    for cell in cells:
        other = first.setdefault(cell.study, cell)
        if other is not cell:
            names = ", ".join(key for key in cell.space if _own(cell.point, key) != _own(other.point, key))
            row = f"row {other.row!r} ({path_text(other.point.variant.stack.path)})"
            text = f"row {cell.row!r} differs from {row} only in what is searched"
            advice = "make them one row, or leave it out of the space" if names else "make them one row"
            path = cell.point.variant.stack.path
            found.append((path, f"{text}{f' ({names})' if names else ''}: {advice}"))
    return found


def _own(point: Point, key: str) -> Value:
    """The value that the row has for a parameter before it is searched."""
    owner, _, name = key.rpartition(".")
    if owner == TRAIN:
        value: Value = getattr(point.variant.recipe, name)
        return value
    pairs = zip(point.variant.methods, point.variant.params, strict=True)
    return next(dict(params)[name] for facts, params in pairs if facts.name == owner)


def _at(cell: Cell, key: str, end: int) -> Asked:
    """The job with that parameter alone at one end of its domain."""
    return cell.trial({name: domain.values[end if name == key else 0] for name, domain in cell.space.items()})


def _as_written(cell: Cell, key: str) -> str:
    """The key as the spec has it."""
    short = key.removeprefix(f"{TRAIN}.")
    return short if short in cell.tune.space else key
