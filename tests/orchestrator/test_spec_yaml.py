"""The YAML reader: YAML 1.2 scalars, lines, duplicate keys, and input that is hardly YAML."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec_yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-3", -3),
        ("007", 7),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("~", None),
        ("'1e-3'", "1e-3"),
        ("vit.augreg_in21k", "vit.augreg_in21k"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    document = read_yaml(f"key: {text}")
    assert document.problems == []
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


def test_every_place_knows_its_line() -> None:
    document = read_yaml("name: x\nmethods:\n  - linear\n  - lora:\n      rank: 8\n")
    assert document.line_of(("methods", 1, "lora", "rank")) == 5
    assert document.line_of(("methods", 1, "lora", "absent")) == 4
    assert document.line_of(("absent",)) is None


def test_a_key_written_twice_is_a_problem_with_both_lines() -> None:
    document = read_yaml("name: x\nseeds: 3\nname: y\n")
    assert [str(problem) for problem in document.problems] == [
        "name (line 3): is written twice (first on line 1); keep one"
    ]
    assert document.data == {"name": "x", "seeds": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "is not YAML"),
        ("\t- a", "is not YAML"),
        ("a\x00b", "is not YAML"),
        ("--- a\n--- b", "is not YAML"),
        ("a: &x [*x]", "is too large"),
        ("a: " + "[" * 5000, "is too large"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !mine x", "tag"),
        ("a: 1e999", "not a finite number"),
        ("a: " + "9" * 5000, "not a finite number"),
        ("1: a", "not text"),
        ("[a]: b", "not text"),
    ],
)
def test_what_cannot_be_read_is_a_problem_and_no_exception(text: str, said: str) -> None:
    document = read_yaml(text)
    assert said in str(document.problems[0])


def test_aliases_that_multiply_do_not_eat_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "is too large" in str(read_yaml("\n".join(lines)).problems[0])


@given(st.text(max_size=60))
def test_any_text_is_read_without_an_exception_and_always_alike(text: str) -> None:
    assert read_yaml(text) == read_yaml(text)
