"""MethodFacts: what a plan must know of a method, as data, so that planning imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from importlib import import_module
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from methods.api import BackboneFacts, Domain, MethodError, Need, Scalar

Value = Scalar | tuple[Scalar, ...]
"""What a hyper-parameter can be."""

Params = tuple[tuple[str, Value], ...]
"""Hyper-parameters as (name, value) pairs sorted by name; lists are tuples."""

_TYPES = {bool: "bool", int: "int", float: "float", str: "str"}
_CLASS_ATTRIBUTES = (
    "name",
    "revision",
    "summary",
    "paper",
    "seams",
    "families",
    "space",
    "recipe",
    "bounds",
    "choices",
    "needs",
)


@dataclass(frozen=True, kw_only=True)
class FieldFacts:
    """One hyper-parameter. `type`: bool, int, float or str, of the items where `is_list`; `bounds` are inclusive."""

    name: str
    type: str
    default: Value
    is_list: bool = False
    optional: bool = False
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Passport:
    """What a method costs, measured by `methods.passport` on `reference`, with default hyper-parameters.

    Parameters are counted without the head's share of what is trained; `extra_…` against the plain model;
    `task_adaptive`: the data decide which parameters are trained.
    """

    reference: str
    trained_params: int
    extra_params_training: int
    extra_macs_training: int
    extra_params_merged: int
    extra_macs_merged: int
    identity_at_start: bool
    task_adaptive: bool


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """A method without its code. `name` is the name under which the registry finds it.

    `settled_by` names the function that fits hyper-parameters to a backbone, if any ("package.module:function").
    `keeps_features`: what reaches the head stays what the plain backbone makes. `by_task`: other defaults by kind of
    task. `later`: fields that a job carries only where they are not at their default.
    `passport` is None for methods from outside, which nobody has measured here.
    """

    name: str
    revision: int
    summary: str
    paper: str
    seams: tuple[str, ...]
    families: tuple[str, ...]
    fields: tuple[FieldFacts, ...] = ()
    space: Mapping[str, Domain] = field(default_factory=dict)
    recipe: Mapping[str, Scalar] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    settled_by: str | None = None
    keeps_features: bool = False
    by_task: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    later: tuple[str, ...] = ()
    passport: Passport | None = None

    def needs_for(self, params: Params) -> tuple[tuple[str, Params], ...]:
        """(kind, hyper-parameters that decide it) of every shared artifact needed with these resolved parameters."""
        value = dict(params)
        return tuple(
            (need.kind, tuple(sorted((name, value[name]) for name in need.fields)))
            for need in self.needs
            if all(value[name] in allowed for name, allowed in need.when.items())
        )

    def named_by(self, params: Params) -> Params:
        """The part of the resolved hyper-parameters that a job carries; `resolve_params` of it gives all of them."""
        defaults = {field.name: field.default for field in self.fields if field.name in self.later}
        return tuple((name, value) for name, value in params if name not in defaults or value != defaults[name])

    def settled(self, params: Params, backbone: BackboneFacts) -> Params:
        """The resolved hyper-parameters fitted to that backbone, at its image size. Raises MethodError with the reason.

        Loads no torch where the method keeps its promise (methods.api.Method, `settled_by`).
        """
        if self.settled_by is None:
            return params
        module, _, function = self.settled_by.partition(":")
        try:
            settle = getattr(import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise MethodError(
                f"method {self.name!r}: cannot import settled_by {self.settled_by!r} ({error}); "
                "expected 'package.module:function'"
            ) from error
        try:
            return tuple(sorted(settle(dict(params), backbone).items()))
        except MethodError as error:
            raise MethodError(f"{self.name!r}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `MethodFacts.from_json(facts.to_json()) == facts`."""
        record: dict[str, Any] = _plain(asdict(self))
        return {name: value for name, value in record.items() if value or name not in ("by_task", "later")}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> MethodFacts:
        """The facts that `to_json` wrote."""
        kept = {key: _frozen(value) for key, value in record.items()}
        kept["fields"] = tuple(FieldFacts(**_frozen(item)) for item in record["fields"])
        kept["space"] = {name: Domain(**_frozen(domain)) for name, domain in record["space"].items()}
        kept["needs"] = tuple(Need(**_frozen(need)) for need in record["needs"])
        kept["passport"] = None if record["passport"] is None else Passport(**record["passport"])
        return cls(**kept)


def facts_of(method: type, name: str | None = None) -> MethodFacts:
    """The facts of a method class. Raises MethodError when it does not follow methods.api.Method."""
    absent = [attribute for attribute in _CLASS_ATTRIBUTES if not hasattr(method, attribute)]
    if absent or not is_dataclass(method):
        lack = f"class attributes {', '.join(absent)}" if absent else "the decorator @dataclass(frozen=True)"
        raise MethodError(f"{method.__module__}:{method.__qualname__} is no method: it lacks {lack} (methods/api.py)")
    given: Any = method
    return MethodFacts(
        name=name or given.name,
        revision=given.revision,
        summary=given.summary,
        paper=given.paper,
        seams=tuple(sorted(given.seams)),
        families=tuple(given.families),
        fields=_fields_of(method),
        space=dict(given.space),
        recipe=dict(given.recipe),
        needs=tuple(given.needs),
        settled_by=getattr(given, "settled_by", None),
        keeps_features=getattr(given, "keeps_features", False),
        by_task=dict(getattr(given, "by_task", {})),
        later=tuple(getattr(given, "later", ())),
    )


def refuse_stack(stack: Sequence[MethodFacts], family: str | None = None) -> str | None:
    """Why these methods, left to right, do not go together or not with that backbone family; None if they do."""
    if not stack:
        return "a stack needs at least one method, e.g. 'linear'"
    owners: dict[str, str] = {}
    names: set[str] = set()
    for facts in stack:
        if facts.name in names:
            return f"cannot stack {facts.name!r} on itself"
        names.add(facts.name)
        for seam in facts.seams:
            if seam in owners:
                return f"cannot stack {owners[seam]!r} and {facts.name!r}: both take hold of the seam {seam!r}"
            owners[seam] = facts.name
        if family is not None and not {family, "*"} & set(facts.families):
            return f"{facts.name!r} cannot adapt backbones of family {family!r}; it knows {', '.join(facts.families)}"
    return None


def _fields_of(method: type) -> tuple[FieldFacts, ...]:
    hints = get_type_hints(method)
    bounds: Mapping[str, tuple[float, float]] = getattr(method, "bounds", {})
    choices: Mapping[str, tuple[str, ...]] = getattr(method, "choices", {})
    where = f"{method.__module__}:{method.__qualname__}"
    items = fields(method)
    stray = sorted({*bounds, *choices} - {item.name for item in items})
    if stray:
        raise MethodError(f"{where}: bounds or choices for {', '.join(stray)}, which are no fields")
    found = []
    for item in items:
        if item.default is MISSING:
            raise MethodError(
                f"{where}: field {item.name!r} has no default; a method has the paper's values as defaults"
            )
        type_name, is_list, optional = _type_of(hints[item.name], f"{where}.{item.name}")
        found.append(
            FieldFacts(
                name=item.name,
                type=type_name,
                default=item.default,
                is_list=is_list,
                optional=optional,
                bounds=bounds.get(item.name),
                choices=tuple(choices.get(item.name, ())),
            )
        )
    return tuple(found)


def _type_of(hint: Any, where: str) -> tuple[str, bool, bool]:
    """(item type, is a list, may be None) of an annotation: int, tuple[int, ...], int | None and the like."""
    optional = isinstance(hint, UnionType) and type(None) in get_args(hint)
    if optional:
        hint = next(part for part in get_args(hint) if part is not type(None))
    is_list = get_origin(hint) is tuple and get_args(hint)[-1] is Ellipsis
    if is_list:
        hint = get_args(hint)[0]
    if hint not in _TYPES:
        raise MethodError(
            f"{where} has type {hint}; expected bool, int, float, str, tuple[one of them, ...] or … | None"
        )
    return _TYPES[hint], is_list, optional


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
