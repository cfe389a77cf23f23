"""`tune:` in a spec: cells and studies of a plan, and what cannot be searched, said before anything runs."""

import pytest

from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.tuning.plan_text import tuning_lines, tuning_record
from orchestrator.tuning.planning import fixed_entries
from storage.records import Phase
from tests.orchestrator.tuning.searches import SPACE, planned, spec_text

PYRA = "[[lora, {pyra: {w_r_init: uniform}}]]"


def problems(tune, **options):
    with pytest.raises(SpecError) as error:
        planned(spec_text(tune, **options))
    return str(error.value)


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ("trials: 0", "tune.trials (line 7): is 0"),
        ("hours: 0", "tune.hours (line 7): is 0"),
        ("gpu_hours: 1", "tune.gpu_hours (line 7): are not used by gps: give hours, which are a slot's"),
        ("parallel: 0", "tune.parallel (line 7): is 0"),
        ("constraint: macs < 3", "tune.constraint (line 7): is 'macs < 3'; expected `macs <= 0.5`"),
        ("constraint: speed <= 3", "tune.constraint (line 7): is 'speed <= 3'"),
        (
            "sampler: grid, space: {lr: {log: [1e-4, 1e-2]}}",
            "tune.space.lr (line 7): is a domain log; the sampler grid",
        ),
        ("objectives: [macs]", "tune.objectives (line 7): is ['macs']; val_top1_pct is one of the objectives"),
        ("objectives: [val_top1_pct, mac]", "tune.objectives (line 7): has no objective 'mac'. Did you mean 'macs'?"),
        ("objectives: [val_top1_pct, wall_s]", "has no objective 'wall_s'. Known: macs, trainable_params, val_top1"),
        ("objectives: [val_top1_pct, macs, macs]", "tune.objectives (line 7): has 'macs' twice"),
        (
            "objectives: [val_top1_pct, macs], pruner: median",
            "tune.pruner (line 7): is 'median'; with several objectives",
        ),
        ("sampler: annealing", "tune.sampler (line 7): is 'annealing'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tune, said):
    assert said in problems(tune)


def test_a_sweep_that_searches_by_itself_is_no_search_phase():
    assert "phase (line 6): is search, and tune: searches by itself" in problems("trials: 3", rest="phase: search")


def test_methods_without_a_space_leave_nothing_to_tune():
    assert "finds nothing to tune" in problems("trials: 3", methods="[linear]")


@pytest.mark.parametrize("space", ["", ", space: {pyra.mac_ratio: {uniform: [0.3, 0.9]}}"])
def test_a_merge_rate_is_not_tuned_without_a_bound_on_the_cost(space):
    text = problems(f"trials: 3{space}", methods=PYRA)
    assert "pyra.mac_ratio only chooses little merging" in text
    assert "constraint: macs <= 0.5" in text
    assert "objectives: [val_top1_pct, macs]" in text


def test_a_merge_rate_is_tuned_where_its_cost_is_an_objective():
    made = planned(spec_text("trials: 3, objectives: [macs, val_top1_pct]", methods=PYRA))
    assert {cell.tune.objectives for cell in made.cells} == {("val_top1_pct", "macs")}
    assert {cell.tune.pruner for cell in made.cells} == {"none"}
    assert "only chooses little merging" in problems(
        "trials: 3, objectives: [val_top1_pct, trainable_params]", methods=PYRA
    )


def test_what_a_search_is_after_names_its_study_and_the_order_of_the_objectives_does_not():
    two = studies(f"trials: 3, {SPACE}, objectives: [val_top1_pct, macs]")
    assert two == studies(f"trials: 3, {SPACE}, objectives: [macs, val_top1_pct]")
    three = studies(f"trials: 3, {SPACE}, objectives: [val_top1_pct, macs, trainable_params]")
    alone = studies(f"trials: 3, {SPACE}, pruner: none")
    assert len({*two, *three, *alone}) == 3 * len(alone)
    assert studies(f"trials: 3, {SPACE}, objectives: val_top1_pct") == studies()


def test_the_plan_names_the_objectives():
    made = planned(spec_text("trials: 3, objectives: [val_top1_pct, macs]", methods=PYRA))
    text = "\n".join(tuning_lines(made, {}))
    assert "3 trials each (tpe, pruner none, objectives val_top1_pct and macs)" in text
    assert "4 final jobs for one point of each cell's front, as many again for every further one" in text
    assert tuning_record(made, {})["objectives"] == ["val_top1_pct", "macs"]


def test_with_a_bound_every_trial_settles_its_own_merging():
    made = planned(spec_text("trials: 3, constraint: macs <= 0.5", methods=PYRA))
    cell = made.cells[0]
    few, many = (cell.trial({"pyra.mac_ratio": ratio}).job.methods[1].kwargs["schedule"] for ratio in (0.9, 0.3))
    assert sum(few) < sum(many)
    backbone = cell.point.backbone.facts
    assert cell.bound == ("macs", pytest.approx(0.5 * backbone.macs))
    assert "pyra.schedule" in cell.tuned(3, 0, 0).params


def test_a_stack_without_anything_to_tune_runs_as_it_is_written():
    made = planned(spec_text("trials: 3, space: {gps.connections_per_neuron: {int: [1, 9]}}", methods="[gps, bitfit]"))
    assert {cell.row for cell in made.cells} == {"gps"}
    fixed = fixed_entries(made.spec, made.entries, made.cells)
    assert {entry.row for entry in fixed if entry.job.makes is None} == {"bitfit"}


def test_trials_train_on_train800_and_nothing_they_need_reads_the_test_split():
    made = planned(spec_text(f"trials: 3, {SPACE}", methods="[gps, linear]"))
    for cell in made.cells:
        asked = cell.trial({name: domain.values[0] for name, domain in cell.space.items()})
        for entry in cell.trial_entries(0, asked):
            assert entry.job.phase in (Phase.SEARCH, Phase.PREPARE)
            assert entry.job.train_split in ("train800", "val200")
            assert entry.job.score_split in ("val200", "")


def test_one_scoring_pass_serves_every_number_of_connections():
    cell = planned(spec_text(f"trials: 3, {SPACE}")).cells[0]
    keys = {key.key_id for count in (1, 8, 15) for key in cell.trial({"gps.connections_per_neuron": count}).job.needs}
    assert len(keys) == 1


def studies(tune=f"trials: 3, {SPACE}", **options):
    return [cell.study for cell in planned(spec_text(tune, **options)).cells]


def test_a_study_is_named_by_what_decides_its_trials_and_not_by_its_budget_or_its_sweep():
    assert studies() == studies(f"trials: 99, hours: 3, {SPACE}") == studies(rest="seeds: 5")
    for other in (
        studies(f"trials: 3, {SPACE}, sampler: random"),
        studies(f"trials: 3, {SPACE}, pruner: none"),
        studies(f"trials: 3, {SPACE}, parallel: 2"),
        studies(rest="seeds: [1]"),
        studies(methods="[{gps: {train: {weight_decay: 0.5}}}]"),
        studies("trials: 3, space: {lr: {log: [1e-4, 1e-1]}}"),
    ):
        assert not set(studies()) & set(other)


def test_without_a_budget_a_study_has_thirty_trials_and_with_hours_as_many_as_fit():
    text = "name: s\ndatasets: [embedded/digits]\nbackbones: [nano_vit]\nmethods: [gps]\ntune: {%s}\n"
    assert parse_spec(text % "sampler: tpe").tune.budget == "30 trials"
    assert parse_spec(text % "hours: 2").tune.budget == "2 slot-hours"
    assert parse_spec(text % "hours: 0.5, trials: 30").tune.budget == "30 trials or 0.5 slot-hours"
