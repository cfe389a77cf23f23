"""Values of the training recipe as a spec gives them: checked one by one, then put together by precedence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any

from methods.facts import FieldFacts, MethodFacts, Value
from methods.params import resolve_params
from storage.records import Recipe

_DEFAULTS = Recipe()
_PATIENT = Recipe(epochs=100_000, resize="crop")  # what is compared with other fields waits until all are known


@cache
def recipe_facts() -> MethodFacts:
    """The recipe's fields, described as a method's are, so that both are checked by the same code."""
    described = []
    for item in fields(Recipe):
        names = str(item.type).split(" | ")
        described.append(
            FieldFacts(name=item.name, type=names[0], default=getattr(_DEFAULTS, item.name), optional=len(names) > 1)
        )
    return MethodFacts(
        name="train", revision=0, summary="", paper="", seams=(), families=("*",), fields=tuple(described)
    )


def recipe_value(name: str, value: object) -> tuple[Value, str | None]:
    """The value in the field's type, and what is wrong with it (None: nothing)."""
    resolved, problems = resolve_params(recipe_facts(), {name: value})
    if problems:
        return None, problems[0][1].replace("is no parameter of 'train'", "is no field of the recipe")
    typed = dict(resolved)[name]
    start = _DEFAULTS if name == "epochs" else _PATIENT
    given: dict[str, Any] = {name: typed}
    wrong = [text for field, text in replace(start, **given).problems() if field == name]
    return typed, wrong[0] if wrong else None


def is_recipe_field(name: str) -> bool:
    return any(field.name == name for field in recipe_facts().fields)


def recipe_of(methods: tuple[MethodFacts, ...], train: Mapping[str, Value]) -> Recipe:
    """Recipe defaults < the methods' own (the leftmost that names a value) < `train`."""
    values: dict[str, Any] = {}
    for method in reversed(methods):
        values.update(method.recipe)
    values.update(train)
    typed: dict[str, Any] = {name: recipe_value(name, value)[0] for name, value in values.items()}
    return Recipe(**typed)


def resolved_recipe(recipe: Recipe, image_size: int | None) -> Recipe:
    """With numbers where the spec left them to the plan: warm-up a tenth of the epochs, the backbone's own size."""
    warmup = recipe.epochs / 10 if recipe.warmup_epochs is None else recipe.warmup_epochs
    return replace(recipe, warmup_epochs=warmup, image_size=recipe.image_size or image_size)
