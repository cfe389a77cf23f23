"""`sweepboard inspect`: what a combination costs, as a person asks for it."""

from __future__ import annotations

import json

import pytest

from orchestrator.cli import main
from orchestrator.method_argument import read_method

NANO = ("inspect", "--backbone", "nano_vit", "--classes", "10")

TEXT = """\
lora on nano_vit at 32 px, 10 classes
  lora r1 {"dropout": 0.0, "init": "zero", "rank": 4, "scale": 1.0, "targets": ["qkv", "proj"]}
  trained, without head               13,824  2.03 % of the backbone
  head                                   970
  MACs                            49,598,112  49.6 M
  MACs merged                     48,699,552  48.7 M
  tokens after each block  65 ×6
  checkpoint, bytes                   59,176  57.8 KiB
  optimizer state, bytes             118,456  116 KiB, adamw
MACs are those of one image in fvcore's convention, head included; merged: adapters are folded in where they can be.
A checkpoint is a delta (trained values, head, what methods carry); its tensors are counted, its header is not.
"""


@pytest.fixture
def inspect(tmp_path, capsys):
    """inspect(*words): (exit code, stdout, stderr without the line that names the home)."""

    def ask(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--home", str(tmp_path)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.partition("\n")[2]

    return ask


def test_the_table_has_exact_and_readable_numbers(inspect):
    assert inspect(*NANO, "--method", "lora:rank=4,targets=[qkv,proj]") == (0, TEXT, "")


def test_json_is_exact_and_complete(inspect):
    code, out, _ = inspect(
        *NANO, "--method", "gps:connections_per_neuron=2", "--method", "tome:merge_rate=low", "--json"
    )
    assert code == 0
    record = json.loads(out)
    assert [method["name"] for method in record["methods"]] == ["gps", "tome"]
    assert record["methods"][0]["params"]["connections_per_neuron"] == 2
    schedule = record["methods"][1]["params"]["schedule"]
    assert record["tokens"] == [65 - sum(schedule[: block + 1]) for block in range(6)]
    assert record["trainable_params"] == 3 * (6 * 9 * 96 + 96)
    assert (record["version"], record["image_size"], record["optimizer"]) == (1, 32, "adam")
    assert set(record) == {
        *("version", "backbone", "image_size", "classes", "methods", "optimizer", "tokens"),
        *("trainable_params", "head_params", "macs", "macs_merged", "checkpoint_bytes", "optimizer_state_bytes"),
    }


def test_another_optimizer_and_input_size_are_counted(inspect):
    words = (*NANO, "--method", "bitfit", "--json")
    plain, other = (
        json.loads(inspect(*words, *more)[1]) for more in ((), ("--optimizer", "sgd", "--image-size", "64"))
    )
    values = plain["trainable_params"] + plain["head_params"]
    assert other["optimizer_state_bytes"] == 4 * values
    assert plain["optimizer_state_bytes"] > 8 * values
    assert (plain["tokens"][0], other["tokens"][0]) == (65, 257)


def test_every_problem_comes_at_once_with_the_nearest_name(inspect):
    code, out, err = inspect(
        *("inspect", "--backbone", "nano_vitt", "--classes", "0", "--image-size", "3", "--optimizer", "adm"),
        *("--method", "lora:rnk=4,rank=0", "--method", "lroa", "--method", "gps:level=neurone,loss"),
    )
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "this combination has 10 problems:",
        "  --image-size: is 3; expected 8 to 4096",
        "  --backbone: no backbone is called 'nano_vitt'; expected a name of timm or one of raw_pixels, nano_vit, "
        "pico_vit. Did you mean 'nano_vit'?",
        "  --optimizer: is 'adm'; expected one of adamw, adam, sgd. Did you mean 'adam'?",
        "  --classes: is 0; expected at least 1",
        "  --method: no method 'lroa'. Did you mean 'lora'?",
        "  --method gps: 'loss' is no key=value; expected name:key=value,key=value",
        "  cannot stack 'lora' and 'gps': both take hold of the seam 'linear'",
        "  --method lora.rnk: is no parameter of 'lora'. Did you mean 'rank'? "
        "Known: dropout, init, rank, scale, targets",
        "  --method lora.rank: is 0; expected 1 to 4096",
        "  --method gps.level: is 'neurone'; expected one of neuron, layer, net. Did you mean 'neuron'?",
    ]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--method", "lora:rank=97"), "lora.rank is 97, above the width 96 of nano_vit"),
        (("--method", "partial:blocks=7"), "partial.blocks is 7; nano_vit has 6 blocks"),
        (("--method", "lora", "--image-size", "33"), "use 32 or 36"),
        (("--method", "tome:merge_rate=low,mac_ratio=0.5"), "merge_rate"),
        (("--method", "lora", "--method", "lora"), "cannot stack 'lora' on itself"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(inspect, words, what):
    code, out, err = inspect(*NANO, *words)
    assert (code, out) == (2, "")
    assert what in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "name", "given"),
    [
        ("lora", "lora", {}),
        ("lora:", "lora", {}),
        ("lora:rank=8,scale=1e-1", "lora", {"rank": 8, "scale": 0.1}),
        (" lora : rank = 8 ", "lora", {"rank": 8}),
        ("lora:targets=[qkv,proj],rank=2", "lora", {"targets": ["qkv", "proj"], "rank": 2}),
        ("lora:targets=[qkv;proj]", "lora", {"targets": ["qkv", "proj"]}),
        ("lora:init=zero,other=null,also=true", "lora", {"init": "zero", "other": None, "also": True}),
        ("pkg.mod:Class", "pkg.mod:Class", {}),
        ("pkg.mod:Class:width=3", "pkg.mod:Class", {"width": 3}),
    ],
)
def test_a_method_is_read_as_written(text, name, given):
    spec, problems = read_method(text, ("lora", "gps"))
    assert (spec.name, dict(spec.given), problems) == (name, given, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no method"),
        (":rank=8", "names no method"),
        ("lora:rank", "'rank' is no key=value"),
        ("lora:=8", "'=8' is no key=value"),
        ("lora:rank=8,rank=4", "--method lora.rank: is given twice; keep one"),
        ("lora:targets=[qkv,proj", "'[qkv,proj' is not YAML"),
        ("lora:scale=1e999", "1e999 is not a finite number"),
    ],
)
def test_what_is_written_wrongly_is_named(text, problem):
    _, problems = read_method(text, ("lora", "gps"))
    assert len(problems) == 1
    assert problem in str(problems[0])
