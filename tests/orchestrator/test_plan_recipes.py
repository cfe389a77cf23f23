"""Published recipes in a spec: which value wins, what the tables of releases say, and what is wrong in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from methods.registry import METHODS
from orchestrator.plan import Plan, plan
from orchestrator.plan_report import compare
from orchestrator.plan_text import plan_record, plan_text
from orchestrator.recipe_files import shipped_recipes
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue
from storage.open import open_store
from storage.records import Job

VIT = "[vit_base_patch16_224.augreg_in21k]"
OWN = """
source: a test
train: {lr: 0.2, weight_decay: 0.3, epochs: 7, warmup_epochs: 1}
methods: {lora: {rank: 2, dropout: 0.5}, adapter: {reduction: 8}}
tasks:
  "@embedded/*": {batch_size: 64}
  embedded/digits: {batch_size: 16, lora.rank: 4, lr: 0.1, adapter.reduction: 4}
"""


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., Plan]:
    """planned(methods, more, recipe text): the plan of a spec beside `own.yaml`."""

    def make(methods: str, more: str = "", own: str = OWN, **places: str) -> Plan:
        (tmp_path / "own.yaml").write_text(own)
        given = {"datasets": "[embedded/digits, embedded/count]", "backbones": "[nano_vit]"} | places
        head = f"name: x\ndatasets: {given['datasets']}\nbackbones: {given['backbones']}\n"
        return plan(parse_spec(f"{head}methods: {methods}\n{more}\n", "x.yaml", tmp_path), shipped_catalogue())

    return make


def jobs(made: Plan) -> list[Job]:
    every = sorted([*made.entries, *made.unresolved], key=lambda entry: entry.order)
    return [entry.job for entry in every if entry.job.makes is None]


def values(job: Job) -> tuple[Any, ...]:
    recipe, lora = job.recipe, job.methods[0].kwargs
    return recipe.batch_size, recipe.lr, recipe.weight_decay, lora["rank"], lora["dropout"], recipe.optimizer


def test_a_table_s_row_goes_before_common_values_and_those_before_the_method_s_own(planned) -> None:
    digits, count = jobs(planned("[lora]", "recipe: own.yaml"))
    assert values(digits) == (16, 0.1, 0.3, 4, 0.5, "adamw")
    assert values(count) == (64, 0.2, 0.3, 2, 0.5, "adamw")


def test_what_the_spec_gives_itself_goes_before_any_row(planned) -> None:
    methods = "[{lora: {rank: 8, train: {lr: 0.7}}}]"
    digits, count = jobs(planned(methods, "recipe: own.yaml\ntrain: {lr: 0.6, batch_size: 8}"))
    assert values(digits) == values(count) == (8, 0.7, 0.3, 8, 0.5, "adamw")


def test_overrides_go_before_everything(planned) -> None:
    rule = "overrides: [{match: {dataset: embedded/digits}, set: {train.lr: 0.9, lora.rank: 1}}]"
    digits, count = jobs(planned("[lora]", f"recipe: own.yaml\n{rule}"))
    assert values(digits) == (16, 0.9, 0.3, 1, 0.5, "adamw")
    assert values(count) == (64, 0.2, 0.3, 2, 0.5, "adamw")


def test_an_axis_of_the_spec_replaces_the_row_s_value(planned) -> None:
    found = jobs(planned("[{lora: {rank: [1, 3]}}]", "recipe: own.yaml", datasets="[embedded/digits]"))
    assert [job.methods[0].kwargs["rank"] for job in found] == [1, 3]


def test_a_stack_s_own_recipe_replaces_the_spec_s(planned) -> None:
    own, shipped = jobs(planned("[lora, {full: {recipe: noah-lora}}]", "recipe: own.yaml", datasets="[embedded/count]"))
    assert (own.recipe.lr, shipped.recipe.lr, shipped.recipe.weight_decay) == (0.2, 1e-3, 1e-4)


def test_a_job_is_named_by_the_values_whatever_recipe_they_come_from(planned) -> None:
    by_recipe = jobs(planned("[lora]", "recipe: own.yaml", datasets="[embedded/digits]"))
    by_hand = jobs(
        planned(
            "[{lora: {rank: 4, dropout: 0.5}}]",
            "train: {lr: 0.1, weight_decay: 0.3, epochs: 7, warmup_epochs: 1, batch_size: 16}",
            datasets="[embedded/digits]",
        )
    )
    assert [job.job_id for job in by_recipe] == [job.job_id for job in by_hand]


def test_one_method_under_two_recipes_makes_two_rows_named_by_them(planned) -> None:
    made = planned("[{lora: {recipe: own.yaml}}, {lora: {recipe: noah-lora}}, lora]", datasets="[embedded/digits]")
    assert [entry.row for entry in made.entries] == ["lora recipe=own.yaml", "lora recipe=noah-lora", "lora"]


def test_the_plan_names_its_recipes_and_the_data_sets_without_a_row(planned) -> None:
    (use,) = planned("[lora, full]", "recipe: gps-release", datasets="[embedded/digits, vtab1k/dtd]").recipes
    assert (use.name, use.stacks, use.datasets, use.without) == (
        "gps-release",
        ("lora", "full"),
        2,
        ("embedded/digits",),
    )
    assert "FightingFighting/GPS" in use.source


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("source: x\ntasks:\n  vtab1k/cifr100: {lr: 1}", "own.yaml: tasks.vtab1k/cifr100 (line 3): no data set"),
        ("source: x\ntrain: {learning_rate: 1}", "own.yaml: train.learning_rate (line 2): is no field of the recipe"),
        ("source: x\ntrain: {lr: fast}", "own.yaml: train.lr (line 2): is 'fast'; expected a finite number"),
        ("source: x\nmethods: {lora: {rnk: 8}}", "own.yaml: methods.lora.rnk (line 2): is no parameter of 'lora'"),
        ("source: x\nmethods: {lroa: {rank: 8}}", "own.yaml: methods.lroa.rank (line 2): no method 'lroa'. Did you"),
        ("source: x\ntasks: {embedded/digits: {lora.rank: [1, 2]}}", "lora.rank (line 2): is [1, 2]; expected a whole"),
        ("train: {lr: 1}", "own.yaml: source: is missing; say where the values were read"),
        ("source: x\ntrane: {lr: 1}", "own.yaml: trane (line 2): no key 'trane'. Did you mean 'train'?"),
        ("source: x\ntasks: [1]", "own.yaml: tasks (line 2): is [1]; expected keys with values"),
        ("", "own.yaml: is no recipe; expected keys: source, notes, train, methods, tasks"),
        (
            "source: x\ntrain: {warmup_epochs: 100}",
            "must be below epochs (100) (for lora on nano_vit, recipe own.yaml)",
        ),
    ],
)
def test_what_is_wrong_in_a_recipe_is_a_problem_of_the_spec_with_its_place(planned, own: str, expected: str) -> None:
    with pytest.raises(SpecError) as raised:
        planned("[lora]", "recipe: own.yaml", own=own)
    (problem,) = raised.value.problems
    assert expected in str(problem)


def test_all_problems_of_a_recipe_come_at_once(planned) -> None:
    with pytest.raises(SpecError, match="has 3 problems"):
        planned("[lora]", "recipe: own.yaml", own="source: x\ntrain: {lr: fast, lrr: 1}\ntasks: {nowhere/x: {lr: 1}}")


@pytest.mark.parametrize(
    ("methods", "more", "expected"),
    [
        ("[lora]", "recipe: gps-relase", "recipe (line 5): no recipe 'gps-relase'. Did you mean 'gps-release'?"),
        ("[{lora: {recipe: away.yaml}}]", "", "methods[0].lora.recipe (line 4): recipe "),
        ("[{lora: {recipe: 3}}]", "", "methods[0].lora.recipe (line 4): is 3; expected the name of a recipe"),
        ("[[{lora: {recipe: ssf}}, {linear: {recipe: ssf}}]]", "", "is the second `recipe` of this stack"),
    ],
)
def test_a_recipe_that_is_not_there_is_told_where_it_is_named(planned, methods: str, more: str, expected: str) -> None:
    with pytest.raises(SpecError) as raised:
        planned(methods, more)
    assert expected in str(raised.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_trains_every_method_on_every_benchmark(planned, name: str) -> None:
    methods = f"[{', '.join(method for method in METHODS if method not in ('pyra', 'tome', 'random_drop'))}]"
    made = planned(methods, f"recipe: {name}", datasets='["@vtab1k/*", "@fgvc/*", "@general/*"]', backbones=VIT)
    assert {job.recipe.problems() == [] for job in jobs(made)} == {True}
    assert made.recipes[0].source.startswith("github.com/")


def share_of_trained_pct(job: Job) -> float:
    """Of ViT-B/16: biases and K connections per neuron, and the head (research notes of GPS, counts)."""
    head = 769 * job.dataset.classes
    trained = 83_712 * (job.methods[0].kwargs["connections_per_neuron"] + 1) + head
    return 100 * trained / (85_798_656 + head)


@pytest.mark.parametrize(
    ("recipe", "datasets", "expected_pct"),
    [
        ("gps-release", "@vtab1k/*", 0.2444),
        ("gps-release-2023", "@vtab1k/*", 0.2496),  # the paper prints 0.25
        ("gps-release", "@fgvc/*", 1.065),
    ],
)
def test_the_connections_of_gps_s_tables_give_the_known_share_of_trained_values(
    planned, recipe: str, datasets: str, expected_pct: float
) -> None:
    found = jobs(planned("[gps]", f"recipe: {recipe}", datasets=f'["{datasets}"]', backbones=VIT))
    mean_pct = sum(map(share_of_trained_pct, found)) / len(found)
    assert mean_pct == pytest.approx(expected_pct, abs=6e-4 if expected_pct > 1 else 6e-5)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [  # lr, batch size, drop path, EMA decay, K, augmentation, mixup
        ("fgvc/cub200", (3e-3, 32, 0.0, 0.9998, 2, "crop_flip", 0.8)),
        ("fgvc/nabirds", (1e-4, 32, 0.1, 0.9998, 20, "crop_flip", 0.8)),
        ("fgvc/flowers", (1e-3, 32, 0.1, 0.99, 1, "crop_flip", 0.8)),
        ("fgvc/cars", (5e-4, 32, 0.0, 0.9998, 15, "crop_flip", 0.8)),
        ("fgvc/dogs", (1e-4, 64, 0.0, 0.9998, 1, "crop_flip", 0.8)),
        ("vtab1k/cifar", (1e-2, 32, 0.0, None, 1, "none", 0.0)),
        ("vtab1k/sun397", (2.5e-3, 16, 0.0, None, 1, "none", 0.0)),
        ("vtab1k/pcam", (4e-3, 32, 0.0, None, 2, "none", 0.0)),
        ("vtab1k/retinopathy", (2e-3, 32, 0.2, None, 1, "none", 0.0)),
        ("vtab1k/clevr_count", (3e-4, 16, 0.1, None, 1, "none", 0.0)),
        ("vtab1k/dsprites_orientation", (5e-4, 16, 0.2, None, 1, "none", 0.0)),
        ("vtab1k/smallnorb_ele", (3e-4, 32, 0.2, None, 1, "none", 0.0)),
    ],
)
def test_gps_s_release_trains_each_task_by_its_script(planned, dataset: str, expected: tuple[Any, ...]) -> None:
    (job,) = jobs(planned("[gps]", "recipe: gps-release", datasets=f"[{dataset}]", backbones=VIT))
    recipe, gps = job.recipe, job.methods[0].kwargs
    k = gps["connections_per_neuron"]
    found = (recipe.lr, recipe.batch_size, recipe.drop_path, recipe.ema_decay, k, recipe.augment, recipe.mixup_alpha)
    assert found == expected
    assert (recipe.optimizer, recipe.weight_decay, recipe.total_epochs) == ("adam", 0.0, 110)
    assert gps["selection_batch_size"] == recipe.batch_size


def test_consolidator_s_lists_stand_in_the_order_of_its_script(planned) -> None:
    tasks = [
        "cifar100",
        "caltech101",
        "dtd",
        "oxford_flowers102",
        "svhn",
        "sun397",
        "oxford_pet",
        "patch_camelyon",
        "eurosat",
        "resisc45",
        "diabetic_retinopathy",
        "clevr_count",
        "clevr_dist",
        "dmlab",
        "kitti",
        "dsprites_loc",
        "dsprites_ori",
        "smallnorb_azi",
        "smallnorb_ele",
    ]
    names = ", ".join(f"vtab1k/{task}" for task in tasks)
    found = jobs(planned("[lora]", "recipe: consolidator", datasets=f"[{names}]", backbones=VIT))
    lrs = ".001 .002 .002 .002 .01 .001 .002 .005 .002 .005 .001 .001 .0005 .005 .005 .005 .01 .01 .0005"
    decays = "0 .01 .1 .01 .001 .001 0 .01 .01 .1 .1 .0001 .01 .01 .001 .1 .001 .1 .1"
    assert [job.recipe.lr for job in found] == [float(lr) for lr in lrs.split()]
    assert [job.recipe.weight_decay for job in found] == [float(decay) for decay in decays.split()]


def test_pyra_s_release_is_lora_with_dropout_and_the_release_s_switches(planned) -> None:
    methods = "[[{lora: {rank: 12}}, {pyra: {merge_rate: high}}]]"
    (job,) = jobs(
        planned(methods, "recipe: pyra-release", datasets="[vtab1k/dtd]", backbones="[vit_large_patch16_224]")
    )
    lora, pyra = (call.kwargs for call in job.methods)
    assert (lora["rank"], lora["dropout"], lora["init"]) == (12, 0.1, "trunc_normal")
    assert (pyra["preset"], pyra["lr_factor"], pyra["modulate_last"]) == ("release", 1.0, True)
    assert (job.recipe.drop_path, job.recipe.batch_size, job.recipe.total_epochs) == (0.1, 32, 100)


def test_text_and_json_say_which_recipe_trains_what(planned) -> None:
    store = open_store("sqlite://")
    report = compare(planned("[lora]", "recipe: gps-release", datasets="[embedded/digits]"), store, shipped_catalogue())
    text = plan_text(report, 0, diff=False)
    record = plan_record(report, 0)
    store.close()
    assert "\nrecipe gps-release for lora; github.com/FightingFighting/GPS" in text
    assert "no row for 1 of 1 data sets, only common values: embedded/digits" in text
    assert record["recipes"][0]["name"] == "gps-release"
