"""Specs: the shape of the file, every problem at once, and the YAML blocks of our own documents."""

import re
from pathlib import Path

import pytest

from orchestrator.plan import plan
from orchestrator.spec import SweepSpec, parse_spec, read_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "orchestrator" / "examples").glob("*.yaml"))

DESIGN_GRID = """
name: gps-vs-pyra
datasets: ["@vtab1k/natural", fgvc/cub200]
backbones: [vit_base_patch16_224.augreg_in21k, {name: vit_tiny_patch16_224, weights: ./vit_tiny.safetensors}]
methods:
  - linear
  - lora: {rank: 8}
  - gps: {connections_per_neuron: [1, 2, 5]}
  - [{lora: {rank: 8}}, {pyra: {merge_rate: [low, high]}}]      # a stack
seeds: 3
train: {epochs: 100, batch_size: 32}
resources: {gpus: 0.5, cpus: 2}
"""
DESIGN_TUNED = """
name: gps-tuned
datasets: ["@vtab1k/*"]
backbones: [vit_base_patch16_224.augreg_in21k]
methods: [gps]
seeds: 3
tune: {trials: 20, space: {lr: {log: [1e-4, 1e-2]}, gps.connections_per_neuron: {int: [1, 15]}}}
"""
BASE = "name: x\ndatasets: [embedded/digits]\nbackbones: [nano_vit]\nmethods: [linear]\n"


def problems_of(text: str) -> list[str]:
    """What `plan` says about the spec, without the head line."""
    with pytest.raises(SpecError) as raised:
        plan(parse_spec(text, "sweep.yaml"), shipped_catalogue())
    assert len(raised.value.problems) == str(raised.value).count("\n  ")
    return [str(problem) for problem in raised.value.problems]


def blocks_of_documents() -> list[str]:
    places = [ROOT.parent / "shared" / "DESIGN.md", ROOT / "README.md", ROOT / "TUNING.md"]
    texts = [place.read_text(encoding="utf-8") for place in places if place.exists()]
    return [block for text in texts for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def shape_problems(spec: SweepSpec) -> list[str]:
    return [str(problem) for problem in spec.document.problems]


@pytest.mark.parametrize("text", [DESIGN_GRID, DESIGN_TUNED, *blocks_of_documents()])
def test_every_yaml_block_of_our_documents_is_a_spec(text: str) -> None:
    assert shape_problems(parse_spec(text)) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "orchestrator" / "examples").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_example_can_be_planned(path: Path) -> None:
    found = plan(read_spec(path), shipped_catalogue())
    assert found.entries or (found.unresolved and found.missing), "what lacks data or weights is planned, and named"


def test_the_design_grid_is_read_as_it_is_meant() -> None:
    spec = parse_spec(DESIGN_GRID)
    assert [stack.name for stack in spec.stacks] == ["linear", "lora", "gps", "lora+pyra"]
    assert spec.seeds == (0, 1, 2)
    assert spec.backbones[1].weights == "./vit_tiny.safetensors"
    assert spec.resources == {"gpus": 0.5, "cpus": 2.0}


@pytest.mark.parametrize(("text", "tasks"), [(DESIGN_GRID, 8), (DESIGN_TUNED, 19)])
def test_benchmarks_are_planned_without_their_images(monkeypatch: pytest.MonkeyPatch, text: str, tasks: int) -> None:
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    found = plan(parse_spec(text), shipped_catalogue())
    missing = [line for line in found.missing if line.startswith("data set ")]
    assert len(missing) == tasks
    assert "data set 'vtab1k/cifar100' is missing: SWEEPBOARD_DATA is not set" in missing[0]
    assert not found.entries, "nothing is named before its data is here"


def test_all_problems_come_at_once_with_place_line_and_suggestion() -> None:
    found = problems_of(
        "name: x\n"
        "datasets: [embedded/digts]\n"
        "backbones: [nano_vti]\n"
        "methods:\n"
        "  - lroa\n"
        "  - lora: {rnk: 8}\n"
        "  - gps: {connections_per_neuron: many}\n"
        "sedes: 3\n"
        "train: {epocs: 5, lr: fast}\n"
        "resources: {gpu: 1}\n"
    )
    expected = [
        ("datasets[0] (line 2): ", "Did you mean 'embedded/digits'?"),
        ("backbones[0] (line 3): ", "Did you mean 'nano_vit'?"),
        ("methods[0] (line 5): ", "Did you mean 'lora'?"),
        ("methods[1].lora.rnk (line 6): ", "Did you mean 'rank'?"),
        ("methods[2].gps.connections_per_neuron (line 7): is 'many'", "a whole number"),
        ("sedes (line 8): ", "Did you mean 'seeds'?"),
        ("train.lr (line 9): is 'fast'", "a finite number"),
        ("train.epocs (line 9): ", "Did you mean 'epochs'?"),
        ("resources.gpu (line 10): ", "Did you mean 'gpus'?"),
    ]
    assert len(found) == len(expected)
    for text, (start, inside) in zip(found, expected, strict=True):
        assert text.startswith(start), text
        assert inside in text


def test_the_head_line_counts_the_problems() -> None:
    with pytest.raises(SpecError, match=r"^sweep\.yaml has 2 problems:\n  "):
        plan(parse_spec(BASE + "sedes: 1\nlable: x\n", "sweep.yaml"), shipped_catalogue())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seeds: 0", "seeds (line 5): is 0; expected a number of seeds"),
        ("seeds: [1, 1]", "seeds (line 5): has 1 twice"),
        ("seeds: [1.5]", "seeds[0] (line 5): is 1.5; expected a whole number"),
        ("seeds: two", "seeds (line 5): is 'two'; expected a number (3 means 0, 1, 2)"),
        ("phase: finale", "phase (line 5): is 'finale'; expected 'final' or 'search'"),
        ("protocol: fair", "protocol (line 5): is 'fair'; expected 'honest' or 'paper'"),
        ("resources: {gpus: 1.5}", "resources.gpus (line 5): is 1.5; a job takes part of one GPU"),
        ("resources: {cpus: 0}", "resources.cpus (line 5): is 0; "),
        ("train: [lr]", "train (line 5): is ['lr']; expected keys with values"),
        ("train: {lr: []}", "train.lr (line 5): is an empty axis"),
        ("train: {lr: -1}", "train.lr (line 5): is -1.0; expected 0 to 1000"),
        ("train: {optimizer: lion}", "train.optimizer (line 5): is 'lion'; expected one of adamw, adam, sgd"),
        ("train: {epochs: 5, warmup_epochs: 5}", "train.warmup_epochs (line 5): is 5; must be below epochs (5)"),
        ("exclude: [{}]", "exclude[0] (line 5): is empty"),
        ("exclude: [{ranks: 8}]", "exclude[0].ranks (line 5): no key to match 'ranks'"),
        ("exclude: [{seed: 7}]", "exclude[0] (line 5): matches nothing"),
        ("exclude: [{method: '*'}]", "exclude (line 5): leaves no job: all 1 are excluded"),
        ("overrides: [{match: {method: linear}}]", "overrides[0].set (line 5): is missing"),
        ("overrides: [{match: {}, set: {lr: 1}}]", "overrides[0].set.lr (line 5): has no owner"),
        ("overrides: [{match: {}, set: {train.lr: [1, 2]}}]", "overrides[0].set.train.lr (line 5): is [1, 2]"),
        (
            "overrides: [{match: {}, set: {resources.ram: 1}}]",
            "overrides[0].set.resources.ram (line 5): no resource 'ram'",
        ),
        (
            "overrides: [{match: {}, set: {gps.level: net}}]",
            "overrides[0].set.gps.level (line 5): starts with no method",
        ),
        ("include: [{backbone: nano_vit}]", "include[0].method (line 5): is missing"),
        (
            "include: [{method: full, dataset: '@embeded/*'}]",
            "include[0].dataset (line 5): no suite is called 'embeded'",
        ),
        ("zip: [{train.lr: [1, 2], train.epochs: [1]}]", "zip[0] (line 5): pairs lists of different lengths"),
        ("zip: [{lora.rank: [1, 2]}]", "zip[0] (line 5): matches nothing: no stack has lora"),
        (
            "zip: [{train.lrr: [1, 2]}]",
            "zip[0].train.lrr (line 5): no axis to zip 'train.lrr'. Did you mean 'train.lr'?",
        ),
        ("also_evaluate: [imagenet_a]", "also_evaluate[0] (line 5): no data set is called 'imagenet_a'"),
        ("label: x", "label (line 5): belongs inside a method"),
        ("max_jobs: 0", "max_jobs (line 5): is 0; "),
        ("tune: {trials: 0}", "tune.trials (line 5): is 0; "),
        ("tune: {space: {lr: {lgo: [1, 2]}}}", "tune.space.lr (line 5): is {'lgo': [1, 2]}; expected {log: "),
        (
            "tune: {space: {lr: {log: [0, 1]}}}",
            "tune.space.lr (line 5): is {'log': [0, 1]}; a log domain starts above 0",
        ),
        ("tune: {space: {lr: {log: [2, 1]}}}", "tune.space.lr (line 5): is {'log': [2, 1]}; expected two numbers"),
        ("tune: {space: {rank: {int: [1, 2]}}}", "tune.space.rank (line 5): no parameter to tune 'rank'"),
        ("tune: {space: {optimizer: {choice: [lion]}}}", "tune.space.optimizer (line 5): is 'lion'; expected one of"),
        (
            "train: {lr: [1, 2]}\ntune: {space: {lr: {log: [1, 2]}}}",
            "tune.space.lr (line 6): lr is both an axis and in",
        ),
    ],
)
def test_a_wrong_line_is_explained(line: str, said: str) -> None:
    found = problems_of(BASE + line + "\n")
    assert len(found) == 1, found
    assert found[0].startswith(said)


def test_what_is_wrong_in_a_search_hides_nothing_else_of_it() -> None:
    space = "{lr: {log: [2, 1]}, optimizer: {choice: [lion]}, rnk: {int: [1, 2]}}"
    found = problems_of(f"{BASE}tune: {{trials: 0, smapler: tpe, objectives: [5], space: {space}}}\n")
    assert {one.partition(" (")[0] for one in found} == {
        "tune.trials",
        "tune.smapler",
        "tune.objectives[0]",
        "tune.space.lr",
        "tune.space.optimizer",
        "tune.space.rnk",
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("3", "methods[0] (line 4): is 3; expected a method's name"),
        ("[]", "methods[0] (line 4): is an empty stack"),
        ("[[linear]]", "methods[0][0] (line 4): is ['linear']; expected"),
        ("{lora: {rank: 8}, label: x}", "methods[0] (line 4): has 2 keys (lora, label); a method has one"),
        ("{lora: 8}", "methods[0].lora (line 4): is 8; expected hyper-parameters"),
        ("{lora: {label: ''}}", "methods[0].lora.label (line 4): is ''; expected a name"),
        ("{lora: {train: 3}}", "methods[0].lora.train (line 4): is 3; expected training values"),
        (
            "{lora: {train: {lrr: 3}}}",
            "methods[0].lora.train.lrr (line 4): is no field of the recipe. Did you mean 'lr'?",
        ),
        ("{lora: {rank: 0}}", "methods[0].lora.rank (line 4): is 0; expected"),
        ("{lora: {rank: [8, 0]}}", "methods[0].lora.rank[1] (line 4): is 0; expected"),
        ("{lora: {targets: qkv}}", "methods[0].lora.targets (line 4): is 'qkv'; expected a list"),
        ("{lora: {targets: [[qkv], [proj]]}}", "methods[0].lora.targets (line 4): is ['qkv']; expected"),
        ("[gps, lora]", "gps+lora on nano_vit is refused: cannot stack"),
        ("'no.such.module:Thing'", "methods[0] (line 4): method 'no.such.module:Thing': cannot import"),
    ],
)
def test_a_wrong_method_entry_is_explained(entry: str, said: str) -> None:
    found = problems_of(BASE.replace("[linear]", f"[{entry}]"))
    assert len(found) == 1, found
    assert found[0].startswith(said)


def test_a_list_of_lists_is_told_how_an_axis_of_lists_is_written() -> None:
    assert "{axis:" in problems_of(BASE.replace("[linear]", "[{lora: {targets: [[qkv], [proj]]}}]"))[0]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_says_what_a_spec_needs(text: str) -> None:
    with pytest.raises(SpecError, match="is empty; expected name, datasets, backbones and methods"):
        parse_spec(text)


def test_a_missing_part_does_not_hide_other_problems() -> None:
    assert problems_of("methods: [lroa]\n") == [
        "name: is missing",
        "datasets: is missing",
        "backbones: is missing",
        "methods[0] (line 1): no method 'lroa'. Did you mean 'lora'?",
    ]


def test_files_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no file"):
        read_spec(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="is a folder"):
        read_spec(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: x\nlabel: größe\n".encode("latin-1"))
    with pytest.raises(SpecError, match="line 2: byte 0xf6 is not UTF-8"):
        read_spec(latin)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert read_spec(path).name == "x"
