"""Recipe files looked up for one spec: typed values, by data set where the release has a table.

A value is taken from the first of: overrides, what the spec gives itself, the recipe's row for the data set, the
recipe's common values, the method's own. Job ids depend on the values only, never on a recipe's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from methods.api import MethodError
from methods.facts import MethodFacts, Value
from methods.params import resolve_params
from orchestrator.plan_axes import TRAIN, Target
from orchestrator.recipe_files import RecipeFile
from orchestrator.recipes import recipe_value
from orchestrator.resolve import Lookup
from orchestrator.spec_methods import StackSpec
from orchestrator.spec_problems import Place, named
from workers.errors import UnknownDataset, WorkerError

Change = tuple[str, str, Value]
"""(method name, "train" or "resources"; field; value): one assignment of an override, or of a recipe's row."""

_TRAIN = "train"


@dataclass(frozen=True, eq=False)
class Published:
    """A recipe whose names have been looked up. `rows`: data set -> what its rows say, a later one last."""

    name: str
    source: str
    common: tuple[Change, ...]
    rows: Mapping[str, tuple[Change, ...]]

    def common_of(self, owner: str) -> dict[str, Value]:
        """The values that hold for every data set, of a method or of "train"."""
        return {name: value for one, name, value in self.common if one == owner}

    def row(self, dataset: str, given: Mapping[Target, Value], methods: tuple[MethodFacts, ...]) -> tuple[Change, ...]:
        """What the recipe says for that data set alone, without what the spec gives itself."""
        own = {(_TRAIN if owner == TRAIN else methods[owner].name, name) for owner, name in given}
        return tuple(change for change in self.rows.get(dataset, ()) if change[:2] not in own)


def look_up_recipes(lookup: Lookup) -> dict[str, Published]:
    """Every recipe that the spec names; what is wrong in one is a problem of the spec where it is named."""
    spec = lookup.spec
    places: dict[str, Place] = {spec.recipe: ("recipe",)}
    for stack in (*spec.stacks, *(include.stack for include in spec.include)):
        places.setdefault(stack.recipe, stack.recipe_path)
    return {name: _Reader(lookup, recipe, places[name]).published() for name, recipe in spec.recipes.items()}


def recipe_for(lookup: Lookup, stack: StackSpec, published: Mapping[str, Published]) -> Published | None:
    """The stack's own recipe, else the spec's; None where neither names one."""
    return published.get(stack.recipe or lookup.spec.recipe)


class _Reader:
    """Looks up one recipe; used once."""

    def __init__(self, lookup: Lookup, recipe: RecipeFile, place: Place) -> None:
        self._lookup, self._recipe, self._place = lookup, recipe, place

    def published(self) -> Published:
        recipe = self._recipe
        common = [self._change(_TRAIN, name, value, (_TRAIN, name)) for name, value in recipe.train.items()]
        for method, given in recipe.methods.items():
            common += [self._change(method, name, value, ("methods", method, name)) for name, value in given.items()]
        rows: dict[str, tuple[Change, ...]] = {}
        for pattern, given in recipe.tasks.items():
            found = [self._row_change(key, value, ("tasks", pattern, key)) for key, value in given.items()]
            for dataset in self._datasets(pattern):
                rows[dataset] = (*rows.get(dataset, ()), *(change for change in found if change is not None))
        return Published(recipe.name, recipe.source, tuple(one for one in common if one is not None), rows)

    def _row_change(self, key: str, value: object, path: Place) -> Change | None:
        owner, _, name = key.rpartition(".")
        return self._change(owner or _TRAIN, name, value, path)

    def _change(self, owner: str, name: str, value: object, path: Place) -> Change | None:
        """The value in its field's type; None where it is wrong (noted), or of a method that is still to come."""
        if owner == _TRAIN:
            typed, wrong = recipe_value(name, value)
        else:
            facts = self._method(owner, path)
            if facts is None:
                return None
            params, problems = resolve_params(facts, {name: value})
            typed, wrong = dict(params).get(name), problems[0][1] if problems else None
        if wrong is not None:
            self._problem(path, wrong)
            return None
        return owner, name, typed

    def _method(self, name: str, path: Place) -> MethodFacts | None:
        catalogue = self._lookup.catalogue
        try:
            if name in catalogue.method_names:
                return catalogue.method(name)
        except MethodError as error:
            self._problem(path, str(error))
            return None
        if name not in catalogue.coming_methods:
            self._problem(path, named("method", name, (_TRAIN, *catalogue.method_names)))
        return None

    def _datasets(self, pattern: str) -> tuple[str, ...]:
        """The data sets of a row; one of the user's own that is not on this machine stands for itself."""
        try:
            return self._lookup.catalogue.expand(pattern)
        except UnknownDataset as error:
            self._problem(("tasks", pattern), str(error))
            return ()
        except WorkerError:
            return (pattern,)

    def _problem(self, path: Place, text: str) -> None:
        self._lookup.problem(self._place, self._recipe.said(path, text))
