"""`sweepboard plan`: what it prints, in text and JSON, against an empty store and one with results."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands import plan as command
from orchestrator.plan import Plan, plan
from orchestrator.plan_report import PlanReport, compare
from orchestrator.plan_text import plan_record, plan_text
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue
from storage.open import open_store
from storage.records import Result, Status
from storage.store import Store

TEXT = "name: mine\ndatasets: [embedded/digits]\nbackbones: [nano_vit]\nmethods: [bitfit, gps]\nseeds: 2\n"


@pytest.fixture
def store():
    opened = open_store("sqlite://")
    yield opened
    opened.close()


def saved(store: Store, text: str = TEXT, trainer_revision: int = 1) -> Plan:
    made = planned(text, trainer_revision)
    store.save_sweep(made.spec.name, text, made.entries)
    return made


def planned(text: str = TEXT, trainer_revision: int = 1) -> Plan:
    return plan(parse_spec(text), replace(shipped_catalogue(), trainer_revision=trainer_revision))


def finish(store: Store, sweep: str, number: int, wall_s: float = 36.0) -> None:
    """Finish the next jobs of the sweep, prepare jobs included."""
    for _ in range(number):
        ((entry, lease),) = store.claim(sweep, "test", 1, 60.0)
        store.start(lease)
        metrics = {"wall_s": wall_s, "test_top1_pct": 50.0}
        store.finish(
            lease, Result(job_id=entry.job.job_id, status=Status.DONE, metrics=metrics, files={"artifact": "a"})
        )


def report(store: Store, made: Plan) -> PlanReport:
    return compare(made, store, shipped_catalogue())


def test_a_new_sweep_is_all_new(store: Store) -> None:
    text = plan_text(report(store, planned()), 2, diff=True)
    assert "mine: 2 methods × 1 backbone × 1 dataset × 2 seeds = 4 jobs + 2 prepare" in text
    assert "shared: 2 prepare jobs serve 2 jobs" in text
    assert "cache: 0 done, 6 new; 6 to run" in text
    assert "time: unknown (no finished job to measure by)" in text
    assert "the store has no sweep 'mine' yet" in text
    assert text.splitlines()[-2:] == [
        "  0  prepare  gps_scores  nano_vit  embedded/digits  0",
        "  1  final    bitfit      nano_vit  embedded/digits  0",
    ]


def test_finished_jobs_are_hits_and_tell_how_long_the_others_take(store: Store) -> None:
    made = saved(store)
    finish(store, "mine", 3)
    found = report(store, made)
    assert (found.known[Status.DONE], found.todo) == (3, 3)
    assert found.estimate.siblings == 3
    assert found.estimate.cpu_h == pytest.approx(3 * 36 / 3600)
    assert "cache: 3 done, 3 pending, 0 new; 3 to run" in plan_text(found, 0, diff=False)
    assert "by the median of finished siblings" in str(found.estimate)


def test_jobs_without_siblings_are_estimated_from_macs(store: Store) -> None:
    saved(store, TEXT.replace("[bitfit, gps]", "[lora]"))
    finish(store, "mine", 2)
    found = report(store, planned(TEXT.replace("[bitfit, gps]", "[full]").replace("seeds: 2", "resources: {gpus: 1}")))
    assert (found.estimate.by_macs, found.estimate.siblings, found.estimate.finished) == (1, 0, 2)
    assert found.estimate.gpu_h == pytest.approx(36 / 3600)
    assert found.estimate.cpu_h == 0


def test_jobs_that_remove_tokens_are_estimated_by_what_is_left(store: Store) -> None:
    saved(store, TEXT.replace("[bitfit, gps]", "[full]"))
    finish(store, "mine", 2)

    def cpu_h(method: str) -> float:
        one = TEXT.replace("[bitfit, gps]", f"[{method}]").replace("seeds: 2", "seeds: 1")
        return report(store, planned(one)).estimate.cpu_h

    hours = [cpu_h(f"{{tome: {{mac_ratio: {ratio}}}}}") for ratio in (0.3, 0.5, 1)]
    assert hours == pytest.approx([0.3 * 0.01, 0.5 * 0.01, 0.01], rel=0.05)


def test_features_cost_one_pass_and_what_learns_from_them_tells_no_rate(store: Store) -> None:
    saved(store, TEXT.replace("[bitfit, gps]", "[full]").replace("seeds: 2", "seeds: 1"))
    finish(store, "mine", 1)
    probes = report(store, planned(TEXT.replace("[bitfit, gps]", "[linear]"))).estimate
    assert (probes.by_macs, probes.unknown) == (2, 2), "features of two splits, and two heads that nobody can guess"
    train, test, epochs = 1000, 1000, 100
    assert probes.cpu_h == pytest.approx(0.01 * (train + test) / (3 * train * epochs + test))
    saved(store, TEXT.replace("[bitfit, gps]", "[linear]").replace("mine", "probes"))
    finish(store, "probes", 4, wall_s=1.0)
    assert report(store, planned(TEXT.replace("[bitfit, gps]", "[lora]"))).estimate.finished == 3


def test_diff_tells_what_an_edited_spec_adds_and_drops(store: Store) -> None:
    saved(store)
    found = report(store, planned(TEXT.replace("bitfit, gps", "full, gps")))
    text = plan_text(found, 0, diff=True)
    assert "diff: 2 jobs added, 2 dropped (results are kept)" in text
    assert "full  nano_vit  embedded/digits  0" in text
    assert "- bitfit  nano_vit  embedded/digits  1  (pending)" in text


def test_results_of_older_revisions_are_called_stale(store: Store) -> None:
    saved(store)
    finish(store, "mine", 6)
    found = report(store, planned(trainer_revision=2))
    assert len(found.stale) == 4 + 2
    assert "stale: 6 results of older revisions" in plan_text(found, 0, diff=False)


def test_json_is_versioned_and_complete(store: Store) -> None:
    record = json.loads(json.dumps(plan_record(report(store, saved(store)), 99)))
    assert record["version"] == 1
    assert record["counts"]["jobs"] == 4
    assert record["known"] == {"pending": 6}
    assert (record["added"], record["dropped"], record["stale"], record["missing"]) == ([], [], [], [])
    assert [job["order"] for job in record["jobs"]] == list(range(6))
    assert len({job["job_id"] for job in record["jobs"]}) == 6


def test_unresolved_jobs_have_no_id(store: Store) -> None:
    made = plan(parse_spec(TEXT), shipped_catalogue(missing_weights=["nano_vit"]))
    record = plan_record(report(store, made), 99)
    assert record["unresolved"] == 6
    assert {job["job_id"] for job in record["jobs"]} == {None}
    text = plan_text(report(store, made), 0, diff=False)
    assert "cache: unknown for 6 jobs; missing here (1):" in text


def test_a_tune_spec_lists_its_cells(store: Store) -> None:
    text = plan_text(report(store, planned(TEXT + "tune: {trials: 7}\n")), 10, diff=False)
    assert "tune: 1 cell, 7 trials each (tpe, pruner median)" in text  # bitfit has nothing to tune by itself
    assert "\n  gps  nano_vit  embedded/digits  gps.connections_per_neuron 1..15" in text
    assert "then 2 final jobs" in text


def run(tmp_path: Path, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["plan", *arguments, "--home", str(tmp_path / "home")])
    return int(args.run(args))


def test_the_command_prints_data_on_stdout_and_the_home_on_stderr(tmp_path: Path, capsys: Any) -> None:
    spec = tmp_path / "mine.yaml"
    spec.write_text(TEXT.replace("[nano_vit]", "[raw_pixels]").replace("[bitfit, gps]", "[linear]"))
    assert run(tmp_path, str(spec), "--json", "--show", "1") == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["jobs"]) == 1
    assert printed.err == f"home: {tmp_path / 'home'}\n"
    assert run(tmp_path, str(spec), "--show", "-1") == 0
    assert "first 2 of 2 jobs:" in capsys.readouterr().out


def test_a_bad_spec_ends_with_exit_code_2_and_its_problems(tmp_path: Path) -> None:
    spec = tmp_path / "mine.yaml"
    spec.write_text(TEXT.replace("bitfit", "linaer"))
    with pytest.raises(SpecError, match=r"mine\.yaml has 1 problem:\n.*Did you mean 'linear'") as raised:
        run(tmp_path, str(spec))
    assert raised.value.exit_code == 2
