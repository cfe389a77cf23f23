"""`settled_by`: hyper-parameters that a plan fits to the backbone before it names a job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest

from methods import registry
from methods.api import BackboneFacts, MethodError
from methods.facts import FieldFacts, MethodFacts, Value
from workers.backbone_facts import table

NANO = table()["nano_vit"].facts
PARAMS = (("share", 0.5), ("width", None))


def half_of_the_width(params: Mapping[str, Value], facts: BackboneFacts) -> dict[str, Value]:
    if params["share"] == 0:
        raise MethodError("share is 0, which leaves nothing")
    return {**params, "width": round(facts.dim * float(str(params["share"])))}


PLAIN = MethodFacts(
    name="outsider",
    revision=1,
    summary="",
    paper="",
    seams=("block",),
    families=("vit",),
    fields=(FieldFacts(name="share", type="float", default=0.5),),
)
SETTLING = replace(PLAIN, settled_by=f"{__name__}:half_of_the_width")


def test_a_method_that_does_not_ask_for_it_keeps_its_hyper_parameters():
    assert PLAIN.settled(PARAMS, NANO) == PARAMS


def test_the_named_function_fits_the_hyper_parameters_to_the_backbone():
    assert SETTLING.settled(PARAMS, NANO) == (("share", 0.5), ("width", NANO.dim // 2))


def test_a_refusal_names_the_method():
    with pytest.raises(MethodError, match="'outsider': share is 0, which leaves nothing"):
        SETTLING.settled((("share", 0), ("width", None)), NANO)


@pytest.mark.parametrize("target", ["nowhere.at_all:settle", f"{__name__}:missing", "no_colon", ""])
def test_a_function_that_is_not_there_is_a_method_error(target):
    with pytest.raises(MethodError, match="cannot import settled_by"):
        replace(PLAIN, settled_by=target).settled(PARAMS, NANO)


def test_settling_our_own_methods_loads_no_torch():
    script = (
        "import sys\n"
        "from methods.registry import facts, known_names\n"
        "from methods.params import resolve_params\n"
        "from workers.backbone_facts import table\n"
        "for method in map(facts, known_names()):\n"
        "    method.settled(resolve_params(method, {})[0], table()['nano_vit'].facts)\n"
        "print([name for name in ('torch', 'timm', 'numpy') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", registry.METHODS)
def test_what_settling_gives_is_again_a_set_of_hyper_parameters_and_settled(name):
    facts = registry.facts(name)
    once = facts.settled(registry.resolve_params(facts, {})[0], NANO)
    assert registry.resolve_params(facts, dict(once)) == (once, [])
    assert facts.settled(once, NANO) == once
