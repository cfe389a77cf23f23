"""Methods by name, their facts without torch, and hyper-parameters from a spec."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from torch import nn

from methods import registry
from methods.api import (
    Adaptation,
    BackboneFacts,
    Domain,
    MakesArtifacts,
    Method,
    MethodError,
    Need,
    Scalar,
    TrainingData,
    UnknownMethod,
)
from methods.facts import MethodFacts, facts_of, refuse_stack
from methods.make_facts import facts_text
from methods.params import resolve_params


@dataclass(frozen=True)
class Outsider:
    """A method as another package would write it."""

    name: ClassVar[str] = "outsider"
    revision: ClassVar[int] = 3
    summary: ClassVar[str] = "does nothing"
    paper: ClassVar[str] = ""
    seams: ClassVar[frozenset[str]] = frozenset({"block"})
    families: ClassVar[tuple[str, ...]] = ("vit",)
    space: ClassVar[Mapping[str, Domain]] = {"width": Domain("int", (1, 8))}
    recipe: ClassVar[Mapping[str, Scalar]] = {}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"width": (1, 8)}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs: ClassVar[tuple[Need, ...]] = (Need("statistics", ("width",), {"exact": (True,)}),)

    width: int = 2
    factor: float | None = None
    exact: bool = False
    depths: tuple[int, ...] = (1, 2)

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        return Adaptation()

    def merge(self, model: nn.Module) -> nn.Module:
        return model


OUTSIDER = f"{__name__}:Outsider"


@pytest.fixture(autouse=True)
def fresh_registry():
    yield
    registry._targets.cache_clear()
    registry.facts.cache_clear()


def test_facts_json_is_what_the_classes_say_now():
    assert registry.FACTS_FILE.read_text(encoding="utf-8") == facts_text(), "run: python -m methods.make_facts"


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_method_of_ours_is_a_method_under_its_own_name(name: str):
    method = registry.build(name, {})
    assert isinstance(method, Method)
    assert method.name == name
    assert not registry.facts(name).needs or isinstance(method, MakesArtifacts)


def test_facts_survive_json():
    for name in registry.known_names():
        facts = registry.facts(name)
        assert MethodFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts
    facts = facts_of(Outsider)
    assert MethodFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


def test_planning_needs_no_torch():
    script = (
        "import sys, methods.registry as r, methods.facts as f\n"
        "facts = [r.facts(name) for name in r.known_names()]\n"
        "r.resolve_params(facts[0], {}), f.refuse_stack(facts[:1], 'vit')\n"
        "print([name for name in ('torch', 'timm', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_typing_error_in_a_name_is_answered_with_the_name_that_was_meant():
    with pytest.raises(UnknownMethod, match=r"no method 'lroa'. Did you mean 'lora'\? Known: bitfit, full, gps"):
        registry.facts("lroa")


def test_a_path_that_leads_nowhere_is_an_unknown_method():
    with pytest.raises(UnknownMethod, match=r"cannot import 'nowhere\.at_all:Method'"):
        registry.load("nowhere.at_all:Method")


def test_a_class_can_be_named_by_its_path():
    facts = registry.facts(OUTSIDER)
    assert (facts.name, facts.revision, facts.seams) == (OUTSIDER, 3, ("block",))
    assert registry.build(OUTSIDER, {"width": 4, "depths": [3]}) == Outsider(width=4, depths=(3,))


def test_an_installed_package_registers_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, monkeypatch, "outsider")
    assert "outsider" in registry.known_names()
    assert registry.facts("outsider").revision == 3
    assert registry.build("outsider", {}) == Outsider()


def test_an_entry_point_cannot_take_a_name_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, monkeypatch, "lora")
    with pytest.raises(MethodError, match="two methods are called 'lora'"):
        registry.known_names()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A distribution on the path that registers Outsider under that name."""
    info = folder / "someones_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\n{name} = {OUTSIDER}\n")
    monkeypatch.syspath_prepend(str(folder))
    registry._targets.cache_clear()


def test_defaults_are_filled_in_and_names_sorted():
    resolved, problems = resolve_params(registry.facts("lora"), {"rank": 4})
    assert problems == []
    assert resolved == (("dropout", 0.0), ("init", "zero"), ("rank", 4), ("scale", 1.0), ("targets", ("qkv",)))


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("lora", {"scale": 2}, ("scale", 2.0)),
        ("lora", {"rank": 8.0}, ("rank", 8)),
        ("lora", {"targets": ["qkv", "fc1"]}, ("targets", ("qkv", "fc1"))),
        ("gps", {"exclude_blocks": [0, 3]}, ("exclude_blocks", (0, 3))),
        (OUTSIDER, {"factor": None}, ("factor", None)),
        (OUTSIDER, {"exact": True}, ("exact", True)),
    ],
)
def test_values_take_the_type_of_their_field(name: str, given: dict[str, object], expected: tuple[str, object]):
    resolved, problems = resolve_params(registry.facts(name), given)
    assert problems == []
    assert expected in resolved
    assert type(dict(resolved)[expected[0]]) is type(expected[1])


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("lora", {"rnak": 4}, "is no parameter of 'lora'. Did you mean 'rank'? Known: dropout, init, rank"),
        ("linear", {"rank": 4}, "Known: none: this method has no parameters"),
        ("lora", {"rank": 2.5}, "is 2.5; expected a whole number"),
        ("lora", {"rank": True}, "is True; expected a whole number"),
        ("lora", {"rank": 0}, "is 0; expected 1 to 4096"),
        ("lora", {"scale": float("nan")}, "expected a finite number"),
        ("lora", {"targets": "qkv"}, "is 'qkv'; expected a list of str"),
        ("lora", {"targets": ["qvk"]}, "expected one of qkv, proj, fc1, fc2. Did you mean 'qkv'?"),
        ("gps", {"connections_per_neuron": 21}, "is 21; expected 1 to 20"),
        ("gps", {"level": "neurone"}, "Did you mean 'neuron'?"),
        ("gps", {"level": None}, "is None; expected a word"),
        (OUTSIDER, {"exact": 1}, "is 1; expected true or false"),
    ],
)
def test_a_wrong_value_is_a_problem_that_says_what_was_expected(name: str, given: dict[str, object], text: str):
    _, problems = resolve_params(registry.facts(name), given)
    assert [field for field, _ in problems] == list(given)
    assert text in problems[0][1]


def test_all_problems_are_found_at_once_and_build_names_them():
    with pytest.raises(MethodError, match=r"method 'lora': rank is 0.*; targets is 3"):
        registry.build("lora", {"rank": 0, "targets": 3})


def test_supcon_scores_depend_on_the_temperature_and_cross_entropy_scores_do_not():
    facts = registry.facts("gps")

    def needs(**given: object) -> object:
        return facts.needs_for(resolve_params(facts, given)[0])

    batch = ("selection_batch_size", 32)
    assert needs() == (("gps_scores", (("loss", "supcon"), batch, ("temperature", 0.07))),)
    assert needs(loss="cross_entropy") == (("gps_scores", (("loss", "cross_entropy"), batch)),)
    assert needs(criterion="magnitude") == ()
    assert needs(connections_per_neuron=5, level="net", exclude_blocks=[1]) == needs()


def test_a_class_that_is_no_method_is_told_what_it_lacks():
    with pytest.raises(MethodError, match="lacks class attributes name, revision"):
        facts_of(dict)


def test_a_field_without_default_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class Undecided(Outsider):
        missing: int

    with pytest.raises(MethodError, match="field 'missing' has no default"):
        facts_of(Undecided)


def test_a_field_of_another_type_is_refused():
    @dataclass(frozen=True)
    class Odd(Outsider):
        table: dict[str, int] | None = None

    with pytest.raises(MethodError, match="table has type dict"):
        facts_of(Odd)


@pytest.mark.parametrize(
    ("stack", "family", "reason"),
    [
        (["gps", "lora"], "vit", "cannot stack 'gps' and 'lora': both take hold of the seam 'linear'"),
        (["full", "gps"], "vit", "cannot stack 'full' and 'gps': both take hold of the seam 'weights'"),
        (["linear", "linear"], "vit", "cannot stack 'linear' on itself"),
        (["gps"], "pixels", "'gps' cannot adapt backbones of family 'pixels'; it knows vit, swin, convnext"),
        ([], "vit", "a stack needs at least one method"),
        (["linear"], "pixels", None),
        (["lora", OUTSIDER], "vit", None),
    ],
)
def test_a_stack_is_refused_with_its_reason(stack: list[str], family: str, reason: str | None):
    found = refuse_stack([registry.facts(name) for name in stack], family)
    assert found == reason or (reason is not None and found is not None and found.startswith(reason))
