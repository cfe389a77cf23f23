"""Methods of the field that are still to come: their rows are left out by name, everything else is planned and run."""

import json
from pathlib import Path

import pytest

from methods.registry import COMING, METHODS
from orchestrator.cli import main
from orchestrator.plan import Plan, plan
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue

HEAD = "name: x\ndatasets: [embedded/digits]\nbackbones: [raw_pixels]\n"


def planned(methods: str, more: str = "") -> Plan:
    return plan(parse_spec(f"{HEAD}methods: {methods}\n{more}\n"), shipped_catalogue())


def left_out(made: Plan) -> list[tuple[str, str]]:
    return [(one.row, one.reason) for one in made.left_out]


def test_a_method_is_either_here_or_still_to_come() -> None:
    assert not COMING & set(METHODS), "take what has come out of COMING"


def test_rows_of_a_method_to_come_are_left_out_and_the_rest_is_counted() -> None:
    made = planned("[linear, ssf, [{lora: {rank: 8}}, consolidator], {vpt_deep: {label: prompts}}]", "seeds: 2")
    assert left_out(made) == [
        ("ssf", "method ssf is not in this version"),
        ("lora+consolidator", "method consolidator is not in this version"),
        ("prompts", "method vpt_deep is not in this version"),
    ]
    assert made.counts.factors[0] == "1 method"
    assert (made.counts.product, made.counts.jobs) == (2, 2)


def test_two_missing_members_are_named_together() -> None:
    assert (
        left_out(planned("[linear, [adapter, diffrate]]"))[0][1]
        == "methods adapter and diffrate are not in this version"
    )


def test_an_include_of_one_is_left_out_too() -> None:
    made = planned("[linear]", "include: [{method: ssf}]")
    assert left_out(made) == [("ssf", "method ssf is not in this version")]
    assert (made.counts.included, made.counts.jobs) == (0, 1)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ("[linear, adaptr]", "no method 'adaptr'. Did you mean 'adapter'?"),
        ("[linear, [{lora: {rnk: 8}}, consolidator]]", "methods[1][0].lora.rnk (line 4): is no parameter of 'lora'"),
        ("[linear, {ssf: {train: {lrr: 1}}}]", "methods[1].ssf.train.lrr (line 4): is no field of the recipe"),
        ("[ssf]", "methods[0] (line 4): method ssf is not in this version"),
    ],
)
def test_what_is_wrong_is_still_an_error(methods: str, expected: str) -> None:
    with pytest.raises(SpecError) as raised:
        planned(methods)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    "rules",
    [
        "exclude: [{method: ssf}]",
        "exclude: [{method: 'ss*', dataset: embedded/digits}]",
        "exclude: [{ssf.size: 3}]",
        "overrides: [{match: {method: ssf}, set: {train.lr: 1}}]",
        "overrides: [{match: {}, set: {ssf.size: 3}}]",
        "zip: [{ssf.size: [1, 2], train.lr: [0.1, 0.2]}]",
        "tune: {space: {ssf.size: {int: [1, 3]}}}",
    ],
)
def test_rules_for_a_row_that_is_left_out_wait_with_it(rules: str) -> None:
    assert planned("[linear, {ssf: {}}]", rules).counts.jobs == 1


def test_a_rule_that_matches_nothing_at_all_is_still_an_error() -> None:
    with pytest.raises(SpecError, match="matches nothing"):
        planned("[linear, ssf]", "exclude: [{method: full}]")


def test_plan_says_so_and_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "x.yaml"
    spec.write_text(f"{HEAD}methods: [linear, ssf]\ntrain: {{epochs: 1}}\n")
    home = ("--home", str(tmp_path / "home"))
    assert main(["plan", str(spec), *home]) == 0
    assert "  left out: ssf: method ssf is not in this version\n" in capsys.readouterr().out
    assert main(["plan", str(spec), "--json", *home]) == 0
    (one,) = json.loads(capsys.readouterr().out)["left_out"]
    assert one == {"row": "ssf", "methods": ["ssf"], "reason": "method ssf is not in this version"}
