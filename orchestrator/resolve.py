"""Names in a spec -> what they stand for. What is unknown is a problem; what is only missing here is noted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from methods.api import BackboneFacts, MethodError
from methods.facts import MethodFacts
from orchestrator.catalogue import Catalogue
from orchestrator.spec import BackboneSpec, SweepSpec
from orchestrator.spec_methods import StackSpec
from orchestrator.spec_problems import Place, Problem, named
from storage.records import CLASSIFICATION, BackboneRef, DatasetRef
from workers.errors import UnknownBackbone, UnknownDataset, WorkerError

UNKNOWN = "unknown"
"""Stands for a hash that is not known yet; jobs that carry it are counted and shown, never stored or run."""

_SHOWN = 3
_NAMED_WEIGHTS = ("default", "random")


@dataclass(frozen=True)
class Backbone:
    """A backbone of the spec. `facts` is None where nobody has looked at it on this machine."""

    ref: BackboneRef
    facts: BackboneFacts | None
    weights: Path | None = None

    @property
    def is_resolved(self) -> bool:
        return self.ref.weights_hash != UNKNOWN and self.facts is not None


@dataclass(frozen=True)
class LeftOut:
    """A stack that cannot be planned yet: these of its methods are known by name and still to come."""

    stack: StackSpec
    methods: tuple[str, ...]

    @property
    def row(self) -> str:
        return self.stack.label or self.stack.name

    @property
    def reason(self) -> str:
        what, verb = ("method", "is") if len(self.methods) == 1 else ("methods", "are")
        return f"{what} {' and '.join(self.methods)} {verb} not in this version"


@dataclass
class Lookup:
    """Everything that has been looked up for one spec: each name once, each problem and each missing thing once."""

    spec: SweepSpec
    catalogue: Catalogue
    problems: list[Problem] = field(default_factory=list)
    missing: dict[str, None] = field(default_factory=dict)  # an ordered set
    left_out: dict[Place, LeftOut] = field(default_factory=dict)
    _methods: dict[str, MethodFacts | None] = field(default_factory=dict)
    _backbones: dict[tuple[object, ...], Backbone | None] = field(default_factory=dict)
    _datasets: dict[str, DatasetRef] = field(default_factory=dict)

    def problem(self, path: Place, text: str) -> None:
        self.problems.append(self.spec.problem(path, text))

    def methods(self, stack: StackSpec) -> tuple[MethodFacts, ...] | None:
        """The facts of every member; None when one of them is unknown, or still to come: then the stack is left out."""
        coming = self.catalogue.coming_methods - set(self.catalogue.method_names)
        absent = tuple(member.name for member in stack.members if member.name in coming)
        if absent:
            self.left_out[stack.path] = LeftOut(stack, absent)
        found: list[MethodFacts | None] = []
        for member in stack.members:
            if member.name in coming:
                found.append(None)
                continue
            if member.name not in self._methods:
                self._methods[member.name] = self._method(member.name, member.path)
            elif self._methods[member.name] is None:
                self._method(member.name, member.path)
            found.append(self._methods[member.name])
        return None if None in found else tuple(facts for facts in found if facts is not None)

    def known_method(self, name: str) -> MethodFacts | None:
        """The facts of a method that has been looked up; None where there is none of that name."""
        return self._methods.get(name)

    def is_left_out(self, method: str) -> bool:
        """Whether a stack that is left out has a method of that name."""
        return any(member.name == method for one in self.left_out.values() for member in one.stack.members)

    def _method(self, name: str, path: Place) -> MethodFacts | None:
        if ":" not in name and name not in self.catalogue.method_names:
            self.problem(path, named("method", name, (*self.catalogue.method_names, *self.catalogue.coming_methods)))
            return None
        try:
            return self.catalogue.method(name)
        except MethodError as error:
            self.problem(path, str(error))
            return None

    def backbone(self, given: BackboneSpec) -> Backbone | None:
        """The backbone; None when there is none of that name."""
        key = (given.name, given.weights, given.mean, given.std)
        if key not in self._backbones:
            self._backbones[key] = self._backbone(given)
        return self._backbones[key]

    def _backbone(self, given: BackboneSpec) -> Backbone | None:
        weights, path = given.weights, None
        if weights is not None and weights not in _NAMED_WEIGHTS:
            path = self._weights_path(weights)
            weights = str(path)
        ref = BackboneRef(given.name, UNKNOWN)
        try:
            facts = self.catalogue.backbone_facts(given.name)
            if facts is None:
                text = f"facts of backbone {given.name!r}: only timm knows them; install sweepboard[train]"
                self.missing[text] = None
                return Backbone(ref, None, path)
        except UnknownBackbone as error:
            self.problem(given.path, str(error))
            return None
        try:
            ref = self.catalogue.backbone_ref(given.name, weights)
        except WorkerError as error:
            self.missing[f"{error}{self._also_looked(given)}"] = None
        return Backbone(_forced(ref, given), facts, path)

    def _weights_path(self, weights: str) -> Path:
        """Beside the spec; where it is not there, and given without a folder, in the folder of weights."""
        beside, root = self.spec.folder / Path(weights).expanduser(), self.catalogue.weights_root
        if root is None or not _is_bare(weights) or beside.exists() or not (root / weights).exists():
            return beside
        return root / weights

    def _also_looked(self, given: BackboneSpec) -> str:
        """The second place where a weights file was looked for, as the end of a message."""
        if given.weights is None or given.weights in _NAMED_WEIGHTS or not _is_bare(given.weights):
            return ""
        root = self.catalogue.weights_root
        return f". Looked in SWEEPBOARD_WEIGHTS too, {'which is not set' if root is None else f'the folder {root}'}"

    def datasets(self, patterns: Iterable[tuple[str, Place]]) -> tuple[DatasetRef, ...]:
        """The data sets that the patterns stand for, each once, in the order of the spec."""
        found: dict[str, DatasetRef] = {}
        for pattern, path in patterns:
            for name in self.names(pattern, path):
                found[name] = self._dataset(name)
        return tuple(found.values())

    def training_sets(self, patterns: Iterable[tuple[str, Place]]) -> tuple[DatasetRef, ...]:
        """As `datasets`; one that is a test set alone is a problem."""
        patterns = tuple(patterns)
        found = self.datasets(patterns)
        for pattern, path in patterns:
            alone = [name for name in self.names(pattern, path) if self._is_test_alone(name)]
            if alone:
                some = ", ".join(alone[:_SHOWN]) + (" …" if len(alone) > _SHOWN else "")
                self.problem(path, f"{some}: a test set alone cannot be trained on; name it under also_evaluate")
        return found

    def _is_test_alone(self, name: str) -> bool:
        try:
            trained, test = self.catalogue.images(name)
        except WorkerError:  # told already
            return False
        return test > 0 and trained == 0

    def names(self, pattern: str, path: Place) -> tuple[str, ...]:
        """Names of the data sets that one pattern stands for; none, and a problem, when it is unknown."""
        try:
            return self.catalogue.expand(pattern)
        except UnknownDataset as error:
            self.problem(path, str(error))
            return ()
        except WorkerError as error:
            self.missing[str(error)] = None
            return (pattern,)

    def _dataset(self, name: str) -> DatasetRef:
        if name not in self._datasets:
            classes, data_hash, task = 0, UNKNOWN, CLASSIFICATION
            try:
                classes, task = self.catalogue.classes(name), self.catalogue.task(name)
                data_hash = self.catalogue.data_hash(name)
            except WorkerError as error:
                self.missing[str(error)] = None
            self._datasets[name] = DatasetRef(name, data_hash, classes, task)
        return self._datasets[name]


def _forced(ref: BackboneRef, given: BackboneSpec) -> BackboneRef:
    """With the spec's mean and std, marked where they are not the checkpoint's: the board says so."""
    mean, std = given.mean or ref.mean, given.std or ref.std
    return replace(ref, mean=mean, std=std, forced=(mean, std) != (ref.mean, ref.std))


def _is_bare(weights: str) -> bool:
    """A file name without a folder."""
    return Path(weights).name == weights
