"""Plans: which jobs come out of a spec, in which order, under which names, and what they share."""

from pathlib import Path

import pytest

from orchestrator.catalogue import Catalogue
from orchestrator.plan import Plan, plan
from orchestrator.plan_text import formula, listing
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue
from storage.records import Job, Phase

GOLDEN = Path(__file__).parents[1] / "golden" / "plans"


def planned(text: str, catalogue: Catalogue | None = None) -> Plan:
    return plan(parse_spec(text), catalogue or shipped_catalogue())


def spec(methods: str, more: str = "", *, datasets: str = "[embedded/digits]", backbones: str = "[nano_vit]") -> str:
    return f"name: x\ndatasets: {datasets}\nbackbones: {backbones}\nmethods: {methods}\n{more}\n"


def jobs(made: Plan) -> list[Job]:
    """The jobs without the prepare jobs, in order."""
    return [entry.job for entry in made.entries if entry.job.makes is None]


def rows(made: Plan) -> list[str]:
    return [entry.row for entry in made.entries if entry.job.makes is None]


def test_axes_multiply() -> None:
    text = spec("[linear, {lora: {rank: [4, 8]}}]", "seeds: 2\ntrain: {lr: [1e-3, 1e-2]}", datasets='["@embedded/*"]')
    made = planned(text)
    assert made.counts.jobs == len(jobs(made)) == 3 * 2 * 3 * 2
    assert len({job.job_id for job in jobs(made)}) == 36


def test_the_first_seed_of_every_cell_comes_before_second_seeds() -> None:
    made = planned(spec("[bitfit, lora]", "seeds: [5, 3]", datasets='["@embedded/*"]'))
    assert [job.seed for job in jobs(made)] == [5] * 6 + [3] * 6
    assert [entry.order for entry in made.entries] == list(range(12))


def test_jobs_of_one_backbone_and_data_set_are_neighbours() -> None:
    made = planned(spec("[linear, full]", datasets='["@embedded/*"]', backbones="[nano_vit, pico_vit]"))
    places = [(job.backbone.name, job.dataset.name) for job in jobs(made)]
    assert places == [place for place in dict.fromkeys(places) for _ in range(2)]


def test_final_and_search_jobs_read_their_own_splits() -> None:
    final, search = (jobs(planned(spec("[linear]", f"phase: {phase}")))[0] for phase in ("final", "search"))
    assert (final.phase, final.train_split, final.score_split) == (Phase.FINAL, "train800val200", "test")
    assert (search.phase, search.train_split, search.score_split) == (Phase.SEARCH, "train800", "val200")


def test_the_plan_fills_in_what_the_recipe_leaves_open() -> None:
    (job,) = jobs(planned(spec("[linear]", "train: {epochs: 30}", backbones="[vit_tiny_patch16_224]")))
    assert (job.recipe.warmup_epochs, job.recipe.image_size) == (3.0, 224)


def test_the_recipe_follows_its_precedence() -> None:
    own = dict(shipped_catalogue().method("gps").recipe)
    made = planned(
        spec(
            "[gps, {lora: {train: {lr: 0.3}}}, full]",
            "train: {weight_decay: 0.5}\noverrides: [{match: {method: full}, set: {train.lr: 0.7}}]",
        )
    )
    gps, lora, full = jobs(made)
    assert (gps.recipe.optimizer, gps.recipe.lr, gps.recipe.weight_decay) == (own["optimizer"], own["lr"], 0.5)
    assert (lora.recipe.lr, full.recipe.lr) == (0.3, 0.7)


def test_in_a_stack_the_leftmost_method_that_names_a_value_wins() -> None:
    lookup = shipped_catalogue().method
    first, second = (jobs(planned(spec(f"[[{stack}]]")))[0].recipe.lr for stack in ("linear, lora", "lora, linear"))
    assert (first, second) == (lookup("linear").recipe["lr"], lookup("lora").recipe["lr"])


def test_a_later_override_wins_and_a_rule_sees_the_specs_own_values() -> None:
    rules = """overrides:
  - {match: {}, set: {train.lr: 0.1, resources.cpus: 4}}
  - {match: {method: lo*, seed: 1}, set: {train.lr: 0.2, lora.rank: 2}}
  - {match: {lora.rank: 8}, set: {lora.scale: 3}}"""
    made = planned(spec("[{lora: {rank: 8}}]", f"seeds: 2\n{rules}"))
    first, second = jobs(made)
    assert (first.recipe.lr, second.recipe.lr) == (0.1, 0.2)
    assert (first.methods[0].kwargs["rank"], second.methods[0].kwargs["rank"]) == (8, 2)
    assert {job.methods[0].kwargs["scale"] for job in (first, second)} == {3.0}
    assert made.entries[0].resources == {"cpus": 4.0, "gpus": 0.0}


@pytest.mark.parametrize(
    ("match", "left_out"),
    [
        ("{method: linear}", 6),
        ("{method: 'l*'}", 18),
        ("{method: 'lora(rank=4)'}", 6),
        ("{dataset: '@embedded/*', seed: 0}", 9),
        ("{dataset: [embedded/digits, embedded/count]}", 12),
        ("{dataset: '*/digits', method: lora}", 4),
        ("{rank: 4}", 6),
        ("{lora.rank: [4, 8]}", 12),
        ("{train.epochs: 100, seed: [1]}", 9),
        ("{epochs: 100, backbone: 'nano*', method: linear, dataset: embedded/count, seed: 1}", 1),
    ],
)
def test_exclude_leaves_out_what_matches(match: str, left_out: int) -> None:
    text = spec("[linear, {lora: {rank: [4, 8]}}]", f"seeds: 2\nexclude: [{match}]", datasets='["@embedded/*"]')
    if left_out == 18:
        with pytest.raises(SpecError, match="all 18 are excluded"):
            planned(text)
        return
    made = planned(text)
    assert (made.counts.excluded, made.counts.jobs) == (left_out, 18 - left_out)


def test_include_adds_jobs_beside_the_product_and_past_the_excludes() -> None:
    made = planned(
        spec(
            "[lora]",
            "include:\n"
            "  - {method: linear, backbone: raw_pixels, dataset: '@embedded/*', seed: [0, 7]}\n"
            "  - {method: full, seed: 0}\n"
            "exclude: [{dataset: embedded/count}]",
            datasets="[embedded/digits, embedded/count]",
        )
    )
    assert made.counts.included == 6 + 2
    assert formula(made.counts).endswith("= 2 − 1 excluded + 8 included = 9 jobs")
    assert {job.dataset.name for job in jobs(made) if job.stack == "full"} == {"embedded/digits", "embedded/count"}


def test_zip_pairs_values_and_leaves_methods_without_them_alone() -> None:
    made = planned(spec("[linear, lora]", "zip: [{lora.rank: [2, 4], train.lr: [0.2, 0.4]}]"))
    found = [(job.stack, job.methods[0].kwargs.get("rank"), job.recipe.lr) for job in jobs(made)]
    assert found[1:] == [("lora", 2, 0.2), ("lora", 4, 0.4)]
    assert len(found) == 3


def test_a_list_typed_parameter_is_one_value_unless_an_axis_is_written() -> None:
    one = planned(spec("[{lora: {targets: [qkv, proj]}}]"))
    two = planned(spec("[{lora: {targets: {axis: [[qkv], [qkv, proj]]}}}]"))
    assert [job.methods[0].kwargs["targets"] for job in jobs(one)] == [("qkv", "proj")]
    assert [job.methods[0].kwargs["targets"] for job in jobs(two)] == [("qkv",), ("qkv", "proj")]
    assert rows(two) == ["lora(targets=[qkv])", "lora(targets=[qkv,proj])"]


def test_rows_are_named_by_what_tells_them_apart() -> None:
    made = planned(spec("[linear, {lora: {rank: 8}}, {gps: {connections_per_neuron: [1, 3]}}, {full: {label: all}}]"))
    expected = ["linear", "lora", "gps(connections_per_neuron=1)", "gps(connections_per_neuron=3)", "all"]
    assert rows(made) == expected


def test_two_entries_of_one_method_get_two_names() -> None:
    made = planned(spec("[{lora: {rank: 4}}, {lora: {rank: 8}}, {lora: {rank: 8, train: {lr: 0.1}}}]"))
    default = f"{shipped_catalogue().method('lora').recipe['lr']:g}"
    assert rows(made) == [f"lora(rank=4) lr={default}", f"lora(rank=8) lr={default}", "lora(rank=8) lr=0.1"]


def test_a_label_for_two_different_stacks_is_refused() -> None:
    with pytest.raises(SpecError, match=r"methods\[1\] \(line 4\): comes out as row 'mine', as methods\[0\] does"):
        planned(spec("[{lora: {label: mine}}, {gps: {label: mine}}]"))


def test_what_a_stack_gives_itself_wins_over_the_specs_recipe() -> None:
    more = "train: {lr: [1e-3, 1e-2]}\nzip: [{train.epochs: [5, 8], train.batch_size: [16, 64]}]"
    made = planned(spec("[linear, {lora: {train: {lr: 0.5, epochs: 3}}}]", more))
    found = [(job.stack, job.recipe.lr, job.recipe.epochs, job.recipe.batch_size) for job in jobs(made)]
    assert [one for one in found if one[0] == "lora"] == [("lora", 0.5, 3, 16), ("lora", 0.5, 3, 64)]
    assert len(found) == 4 + 2


def test_the_same_job_asked_for_twice_is_planned_once() -> None:
    made = planned(spec("[linear, linear, {lora: {rank: [8, 8.0]}}]"))
    assert (made.counts.product, made.counts.duplicates, made.counts.jobs) == (4, 2, 2)


def test_more_jobs_than_max_jobs_are_refused_before_they_are_made() -> None:
    with pytest.raises(SpecError, match="plans more than 10 jobs; raise max_jobs"):
        planned(spec("[linear]", "seeds: 11\nmax_jobs: 10"))
    with pytest.raises(SpecError, match="is a product of 300,000 jobs"):
        planned(spec("[linear]", "seeds: 100000\nmax_jobs: 10", datasets='["@embedded/*"]'))
    with pytest.raises(SpecError, match="combinations of its axes"):
        planned(spec("[linear]", f"train: {{lr: {list(range(1, 400))}, weight_decay: {[0.001] * 400}}}"))


def test_a_tune_spec_has_a_cell_for_every_stack_backbone_and_data_set() -> None:
    made = planned(
        spec("[gps, linear]", "seeds: 3\ntune: {space: {lr: {log: [1e-4, 1e-2]}}}", datasets='["@embedded/*"]')
    )
    assert (made.counts.cells, made.counts.jobs) == (6, 18)
    assert [(cell.row, cell.point.dataset.name, len(cell.point.seeds)) for cell in made.cells][:2] == [
        ("gps", "embedded/digits", 3),
        ("linear", "embedded/digits", 3),
    ]


def test_the_formula_reads_as_a_sum() -> None:
    made = planned(
        spec(
            "[linear, full, lora, {gps: {connections_per_neuron: [1, 3]}}]",
            "seeds: 2\nexclude: [{backbone: raw_pixels, method: [lora, gps]}, {backbone: raw_pixels, method: full}]",
            datasets='["@embedded/*"]',
            backbones="[nano_vit, raw_pixels]",
        )
    )
    assert formula(made.counts) == (
        "5 variants of 4 methods × 2 backbones × 3 datasets × 2 seeds = 60 − 24 excluded = 36 jobs + 12 prepare"
    )


def test_the_plan_of_the_demo_like_spec_is_as_recorded() -> None:
    text = (GOLDEN / "small.yaml").read_text(encoding="utf-8")
    made = planned(text)
    found = "\n".join([formula(made.counts), *listing(list(made.entries))]) + "\n"
    assert found == (GOLDEN / "small.txt").read_text(encoding="utf-8")
