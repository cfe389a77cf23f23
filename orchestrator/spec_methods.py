"""Entries under `methods:`: a name, a name with hyper-parameters, or a list of those (a stack)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.spec_problems import Place
from orchestrator.spec_yaml import Document

OFF_THE_SHELF, _TRAINED = "off_the_shelf", "trained"
_FORM = "expected a method's name, {name: {parameter: value}}, or a list of those (a stack)"


@dataclass(frozen=True)
class MethodSpec:
    """One method as written: values may still be axes; `path` is its place in the file."""

    name: str
    given: Mapping[str, object]
    path: Place


@dataclass(frozen=True)
class StackSpec:
    """A stack, left to right; `label` renames its rows, `train` is its own part of the recipe, `recipe` the name of a
    published recipe ("": the spec's). `off_the_shelf`: positions of members that come in when the rest is trained
    (`mode: off_the_shelf`)."""

    members: tuple[MethodSpec, ...]
    path: Place
    label: str = ""
    train: Mapping[str, object] = field(default_factory=dict)
    train_path: Place = ()
    recipe: str = ""
    recipe_path: Place = ()
    off_the_shelf: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The stack's name, e.g. `lora+pyra`."""
        return "+".join(method.name for method in self.members)


def read_stack(value: object, path: Place, document: Document) -> StackSpec | None:
    """The stack at that place; None, and a problem of the document, when it is none."""
    members = value if isinstance(value, list) else [value]
    if not members:
        document.problem(path, f"is an empty stack; {_FORM}")
        return None
    found: list[MethodSpec] = []
    label, train, train_path = "", {}, ()  # type: tuple[str, Mapping[str, object], Place]
    recipe, recipe_path = "", ()  # type: tuple[str, Place]
    later: list[int] = []
    for position, member in enumerate(members):
        place = (*path, position) if isinstance(value, list) else path
        method = _method(member, place, document)
        if method is None:
            continue
        given = dict(method.given)
        if "label" in given:
            label = _label(given.pop("label"), label, (*method.path, "label"), document)
        if "train" in given:
            if train:
                document.problem((*method.path, "train"), "is the second `train` of this stack; write one")
            train, train_path = _train(given.pop("train"), (*method.path, "train"), document), (*method.path, "train")
        if "recipe" in given:
            if recipe:
                document.problem((*method.path, "recipe"), "is the second `recipe` of this stack; write one")
            recipe, recipe_path = _recipe(given.pop("recipe"), (*method.path, "recipe"), document)
        if given.pop("mode", _TRAINED) != _TRAINED:
            later.append(len(found))
            if method.given["mode"] != OFF_THE_SHELF:
                text = f"is {method.given['mode']!r}; expected {_TRAINED} or {OFF_THE_SHELF}"
                document.problem((*method.path, "mode"), text)
        found.append(MethodSpec(method.name, given, method.path))
    if len(found) < len(members):
        return None
    if later and len(later) == len(found):
        document.problem(path, f"has nothing that is trained: put {OFF_THE_SHELF} behind another method, [lora, …]")
    return StackSpec(tuple(found), path, label, train, train_path, recipe, recipe_path, tuple(later))


def _method(value: object, path: Place, document: Document) -> MethodSpec | None:
    if isinstance(value, str) and value:
        return MethodSpec(value, {}, path)
    if not isinstance(value, dict):
        document.problem(path, f"is {value!r}; {_FORM}")
        return None
    if len(value) != 1:
        keys = ", ".join(value) or "none"
        document.problem(
            path,
            f"has {len(value)} keys ({keys}); a method has one, its name, and everything else inside: "
            "{lora: {rank: 8, label: my name}}. A stack is a list",
        )
        return None
    ((name, given),) = value.items()
    if given is not None and not isinstance(given, dict):
        document.problem((*path, name), f"is {given!r}; expected hyper-parameters, written {{parameter: value}}")
        return None
    return MethodSpec(name, given or {}, (*path, name))


def _label(value: object, before: str, path: Place, document: Document) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 80:
        document.problem(path, f"is {value!r}; expected a name of 1 to 80 characters")
        return before
    if before and before != value:
        document.problem(path, f"is {value!r}, but this stack is already labelled {before!r}")
    return value


def _recipe(value: object, path: Place, document: Document) -> tuple[str, Place]:
    if isinstance(value, str) and value:
        return value, path
    document.problem(path, f"is {value!r}; expected the name of a recipe, or a path ending in .yaml")
    return "", path


def _train(value: object, path: Place, document: Document) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    document.problem(path, f"is {value!r}; expected training values, written {{lr: 1e-3}}")
    return {}
