"""What the board calls the points of a front: each is a row with the values of its methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.tuning.cells import TRAIN

_FEWEST_DIGITS, _MOST_DIGITS = 3, 17  # 17 tell any two numbers apart


def front_rows(row: str, points: Sequence[Mapping[str, Any]]) -> list[str]:
    """One name per point, e.g. `lora+pyra mac_ratio=0.312`.

    `points`: parameter -> value, the same parameters in each. Values of methods are shown, numbers as short as tells
    the points apart; values of the recipe only where two points have the same methods.
    """
    names = list(points[0]) if points else []
    of_methods = [name for name in names if name.rpartition(".")[0] != TRAIN]
    texts = {name: _texts([point[name] for point in points]) for name in names}
    shown = of_methods if _are_distinct(of_methods, points) else names
    labels = {name: _label(name, shown) for name in shown}
    return [" ".join([row, *(f"{labels[name]}={texts[name][at]}" for name in shown)]) for at, _ in enumerate(points)]


def _are_distinct(names: Sequence[str], points: Sequence[Mapping[str, Any]]) -> bool:
    return len({tuple(point[name] for name in names) for point in points}) == len(points)


def _texts(values: Sequence[Any]) -> list[str]:
    """Different values have different texts."""
    for digits in range(_FEWEST_DIGITS, _MOST_DIGITS + 1):
        texts = [f"{value:.{digits}g}" if isinstance(value, float) else str(value) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def _label(name: str, shown: Sequence[str]) -> str:
    """The parameter without its owner where no other one is called so."""
    field = name.rpartition(".")[2]
    return field if sum(one.rpartition(".")[2] == field for one in shown) == 1 else name
