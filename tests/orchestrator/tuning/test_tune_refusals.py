"""What a search could not do, said by the plan: domains, constraints, rows and overrides that do not go with it."""

import pytest

from methods.params import resolve_params
from methods.registry import facts
from orchestrator.spec_problems import SpecError
from storage.records import MethodCall, Recipe
from tests.orchestrator.tuning.searches import planned
from workers.backbone_facts import facts_at, table
from workers.costs import costs_of

LR = "lr: {log: [1e-4, 1e-1]}"


def text(tune, methods="[linear]", backbones="[pico_vit]", rest=""):
    return (
        f"name: z\ndatasets: [embedded/digits]\nbackbones: {backbones}\nmethods: {methods}\n"
        f"train: {{epochs: 2, batch_size: 64}}\ntune: {{trials: 3{tune}}}\n{rest}"
    )


def problems(tune, **options):
    with pytest.raises(SpecError) as error:
        planned(text(tune, **options))
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("domain", "methods", "said"),
    [
        ("epochs: {uniform: [1, 3]}", "[linear]", "epochs (line 6): is a domain uniform; epochs takes whole numbers"),
        ("batch_size: {uniform: [8, 64]}", "[linear]", "batch_size (line 6): is a domain uniform; batch_size takes"),
        (
            "train.batch_size: {log: [8, 64]}",
            "[linear]",
            "train.batch_size (line 6): is a domain log; batch_size takes",
        ),
        ("image_size: {uniform: [16, 32]}", "[linear]", "is a domain uniform; image_size takes whole numbers"),
        (
            "lora.rank: {log: [2, 16]}",
            "[lora]",
            "lora.rank (line 6): is a domain log; rank takes whole numbers: use int",
        ),
        ("optimizer: {int: [1, 3]}", "[linear]", "optimizer (line 6): is 1; expected a word"),
        ("lora.init: {uniform: [0, 1]}", "[lora]", "lora.init (line 6): is 0; expected a word"),
        ("lora.targets: {int: [0, 1]}", "[lora]", "lora.targets (line 6): is 0; expected a list of str"),
    ],
)
def test_a_domain_of_another_kind_than_the_parameter_is_refused(domain, methods, said):
    (problem,) = problems(f", space: {{{domain}}}", methods=methods)
    assert said in problem


def test_whole_numbers_are_welcome_where_numbers_are():
    (cell,) = planned(
        text(
            ", space: {weight_decay: {int: [0, 1]}, epochs: {int: [1, 3]}, lora.rank: {int: [1, 4]}}", methods="[lora]"
        )
    ).cells
    assert len(cell.space) == 3


def test_a_parameter_under_two_names_is_there_twice():
    (problem,) = problems(", space: {lr: {log: [1e-4, 1e-3]}, train.lr: {log: [0.1, 0.2]}}")
    assert problem == "tune.space.train.lr (line 6): is lr again; keep one"


@pytest.mark.parametrize(("listed", "twice"), [("0.01, 0.1, 0.01", "0.01"), ("32, 64, 32.0", "32.0")])
def test_a_choice_that_is_listed_twice_is_refused(listed, twice):
    assert problems(f", space: {{lr: {{choice: [{listed}]}}}}") == [
        f"tune.space.lr (line 6): has {twice} twice; keep one"
    ]


def test_true_and_one_are_different_choices():
    (problem,) = problems(", space: {lr: {choice: [true, 1]}}")
    assert "is True; expected a finite number" in problem


def test_wrong_domains_and_wrong_names_are_told_at_once():
    found = problems(
        ", space: {lrr: {log: [0, 1e-2]}, gps.K: {int: [3, 3]}, .lr: {log: [1e-4, 1e-2]}}", methods="[gps]"
    )
    for said in (
        "tune.space.lrr (line 6): is {'log': [0, 0.01]}; a log domain starts above 0",
        "tune.space.lrr (line 6): no parameter to tune 'lrr'. Did you mean 'lr'?",
        "tune.space.gps.K (line 6): is {'int': [3, 3]}; expected two whole numbers",
        "tune.space.gps.K (line 6): no parameter to tune 'gps.K'",
        "tune.space..lr (line 6): no parameter to tune '.lr'. Did you mean 'lr'?",
    ):
        assert any(problem.startswith(said) for problem in found), said
    assert len(found) == 5


def test_a_method_that_cannot_be_read_hides_no_problem_of_the_recipes_domains():
    found = problems(
        ", space: {epochs: {uniform: [1, 3]}, lrr: {log: [1e-4, 1]}, gps.K: {int: [1, 3]}}", methods="[gpss]"
    )
    for said in (
        "methods[0] (line 4): no method 'gpss'. Did you mean 'gps'?",
        "tune.space.epochs (line 6): ",
        "tune.space.lrr (line 6): no parameter to tune 'lrr'. Did you mean 'lr'?",
    ):
        assert any(problem.startswith(said) for problem in found), said
    assert len(found) == 3, "whose K it is nobody knows"


@pytest.mark.parametrize(
    ("tune", "said"),
    [("sampler: tpee", "Did you mean 'tpe'?"), ("pruner: medain", "Did you mean 'median'?")],
)
def test_a_misspelt_sampler_or_pruner_is_told_what_was_meant(tune, said):
    (problem,) = problems(f", {tune}, space: {{{LR}}}")
    assert problem.endswith(said)


def test_an_empty_tune_is_no_search_and_no_sweep_without_one():
    with pytest.raises(SpecError, match=r"tune \(line 6\): is empty; write `tune: \{\}`"):
        planned(text("").replace("{trials: 3}", ""))


@pytest.mark.parametrize(
    ("constraint", "methods", "space", "said"),
    [
        ("macs <= 0.5", "[linear]", LR, "linear on pico_vit, which takes 1.00004 of the backbone's own MACs or more"),
        ("macs <= 9999999", "[lora]", LR, "lora on pico_vit, which takes 1.35671e+07 MACs or more"),
        ("macs <= 0.1", "[tome]", "tome.merge_rate: {choice: [low, high]}", "tome on pico_vit, which takes 0.183"),
        (
            "macs <= 0.1",
            "[[lora, {pyra: {preset: paper}}]]",
            "pyra.mac_ratio: {uniform: [0.3, 0.9]}",
            "lora+pyra on pico",
        ),
        ("trainable_params <= 0.5", "[lora]", LR, "lora on pico_vit, which trains one value or more"),
    ],
)
def test_a_constraint_that_nothing_can_meet_is_refused(constraint, methods, space, said):
    (problem,) = problems(f", constraint: {constraint}, space: {{{space}}}", methods=methods)
    assert problem.startswith(f"tune.constraint (line 6): cannot be met by {said}")


@pytest.mark.parametrize(
    ("constraint", "methods", "space"),
    [
        ("macs <= 2e7", "[linear]", LR),
        ("macs <= 0.25", "[tome]", "tome.merge_rate: {choice: [low, high]}"),
        ("macs <= 0.01", "[tome]", "tome.r: {int: [1, 20]}, tome.inflection: {uniform: [-1, 1]}"),
        ("macs <= 0.3", "[{tome: {mac_ratio: 0.5}}]", "image_size: {choice: [16, 32]}"),
        ("trainable_params <= 0.5", "[linear]", LR),  # the head is no part of it
        ("trainable_params <= 0.5", "[pyra]", "lr: {log: [1e-4, 1e-1]}"),
    ],
)
def test_a_constraint_that_may_be_met_is_searched(constraint, methods, space):
    assert planned(text(f", constraint: {constraint}, space: {{{space}}}", methods=methods)).cells


def test_a_part_of_no_macs_bounds_nothing():
    (problem,) = problems(f", constraint: macs <= 0.5, space: {{{LR}}}", backbones="[raw_pixels]")
    assert "raw_pixels has none: give MACs" in problem


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("linear", {}),
        ("lora", {"rank": 1}),
        ("gps", {}),
        ("tome", {"merge_rate": "high"}),
        ("tome", {"r": 30}),
        ("random_drop", {"mac_ratio": 0.3}),
        ("pyra", {"merge_rate": "high", "preset": "paper"}),
        ("pyra", {"mac_ratio": 0.5}),
    ],
)
@pytest.mark.parametrize("size", [16, 32, 48])
def test_a_bound_at_the_exact_cost_is_never_refused(method, given, size):
    """What the plan knows without torch is a lower bound of what torch counts."""
    here = facts_at(table()["pico_vit"].facts, size)
    known = facts(method)
    params = known.named_by(known.settled(resolve_params(known, given)[0], here))
    exact = costs_of(here, [MethodCall(method, known.revision, params)], 10, Recipe()).macs
    written = ", ".join(f"{name}: {value}" for name, value in given.items())
    spec = text(f", constraint: macs <= {exact}, space: {{{LR}}}", methods=f"[{{{method}: {{{written}}}}}]")
    assert planned(spec.replace("batch_size: 64", f"image_size: {size}")).cells


def test_rows_that_differ_only_in_what_is_searched_are_one_row():
    rows = "[{linear: {label: A, train: {lr: 0.3}}}, {linear: {label: B, train: {lr: 0.2}}}]"
    assert problems(f", space: {{{LR}}}", methods=rows) == [
        "methods[1] (line 4): row 'B' differs from row 'A' (methods[0]) only in what is searched (train.lr): "
        "make them one row, or leave it out of the space"
    ]
    rows = "[{gps: {connections_per_neuron: 1}}, {gps: {connections_per_neuron: 3}}]"
    (problem,) = problems(", space: {gps.connections_per_neuron: {int: [1, 9]}}", methods=rows)
    assert "only in what is searched (gps.connections_per_neuron)" in problem
    assert len(planned(text(", space: {weight_decay: {log: [1e-5, 1e-2]}}", methods=rows)).cells) == 2


def test_a_row_that_is_also_the_parent_of_others_off_the_shelf_stays_one_cell():
    rows = "[lora, [lora, {tome: {mode: off_the_shelf, merge_rate: [low, high]}}]]"
    (cell,) = planned(text(f", space: {{{LR}}}", methods=rows)).cells
    assert len(cell.point.shelf) == 2


def overriding(key, value, match="dataset: embedded/digits"):
    return f"overrides: [{{match: {{{match}}}, set: {{{key}: {value}}}}}]\n"


def test_an_override_of_what_is_searched_is_refused():
    both = "is both set here and in the search space; keep one"
    assert problems(f", space: {{{LR}}}", rest=overriding("train.lr", 0.5)) == [
        f"overrides[0].set.train.lr (line 7): train.lr {both}"
    ]
    space = ", space: {gps.connections_per_neuron: {int: [1, 9]}}"
    (problem,) = problems(space, methods="[gps]", rest=overriding("gps.connections_per_neuron", 2))
    assert f"gps.connections_per_neuron {both}" in problem
    (problem,) = problems("", methods="[gps]", rest=overriding("gps.connections_per_neuron", 2, "seed: 0"))
    assert f"gps.connections_per_neuron {both}" in problem


def test_an_override_of_what_is_not_searched_there_stays():
    space = ", space: {gps.connections_per_neuron: {int: [1, 9]}}"
    assert planned(text(space, methods="[gps]", rest=overriding("train.lr", 0.5))).cells
    made = planned(text(space, methods="[gps, lora]", rest=overriding("lora.rank", 2, "method: lora")))
    assert len(made.cells) == 1


def test_a_value_that_a_row_gives_itself_stands_until_it_is_searched():
    assert planned(text(f", space: {{{LR}}}", methods="[{linear: {train: {lr: 0.1}}}]")).cells
