"""The ready specs, as a person plans them on a machine without their images and weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.plan import plan
from orchestrator.spec import read_spec
from orchestrator.testing import shipped_catalogue
from storage.records import Phase

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "orchestrator" / "examples"
EXPECTED = {  # jobs, prepare jobs, measure jobs, rows that wait for a method
    "demo": (48, 12, 0, 0),
    "few-shot": (3 * 46 * 3, 46 * 2 + 46 * 3, 0, 0),
    "gps-connections": (15 * 5, 5, 0, 0),
    "gps-costs": (4, 1, 4, 4),
    "gps-fgvc": (5 * 5 * 3, 5 * 3, 0, 6),
    "gps-general": (3 * 3 * 2, 3 * 2, 0, 1),
    "gps-positions": (1 + 12 + 11, 1, 0, 0),
    "gps-selection": (7 * 5 * 3, 2 * 5 * 3, 0, 0),
    "gps-vtab": (5 * 19 * 3, 19 * 3 + 2 * 19, 0, 7),
    "pyra-ablation": ((1 + 6 + 2) * 19, 0, 0, 0),
    "pyra-costs": (5 * 2 + 1, 0, 11, 0),
    "pyra-main": (5 * 5 * 19 + 2 * 19, 0, 0, 1),
    "pyra-pefts": (3 * 19, 0, 0, 4),
    "pyra-rates": ((1 + 3 * 8) * 19 + 19, 0, 26, 1),
    "quick": (3, 3, 0, 0),
    "reference": (10 * 4 * 2, 16, 0, 0),
    "robustness": (3, 3, 0, 0),
    "segmentation": (5 * 3, 3, 0, 0),
    "segmentation-own": (5, 1, 0, 0),
    "tune": (6, 6, 0, 0),
}


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """planned(name): what `sweepboard plan` says of an example, as JSON with all jobs."""
    for variable in ("SWEEPBOARD_DATA", "SWEEPBOARD_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)

    def make(name: str) -> dict[str, Any]:
        path = str(EXAMPLES / f"{name}.yaml")
        assert main(["plan", path, "--json", "--show", "-1", "--home", str(tmp_path / "home")]) == 0
        record: dict[str, Any] = json.loads(capsys.readouterr().out)
        return record

    return make


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_ready_spec_plans_its_jobs_without_data_and_weights(planned: Any, path: Path) -> None:
    record = planned(path.stem)
    counts = record["counts"]
    found = (counts["jobs"], counts["prepare"], counts["measure"], len(record["left_out"]))
    assert found == EXPECTED[path.stem]
    assert (record["refused"], counts["duplicates"]) == ([], 0)
    assert record["sweep"] == path.stem, "the sweep has the file's name"
    assert [use["without"] for use in record["recipes"] if use["without"]] == []


def test_the_robustness_spec_evaluates_every_model_on_three_sets(planned: Any) -> None:
    assert planned("robustness")["counts"]["evaluate"] == 9


def test_the_readme_lists_every_ready_spec() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in EXPECTED if f"`{name}.yaml`" not in readme] == []


def test_lora_s_rank_follows_the_backbone_as_in_pyra_s_release() -> None:
    made = plan(read_spec(EXAMPLES / "pyra-main.yaml"), shipped_catalogue())
    ranks: dict[str, set[Any]] = {}
    for job in (entry.job for entry in made.unresolved):
        ranks.setdefault(job.backbone.name, set()).add(job.methods[0].kwargs["rank"])
    large = {"vit_large_patch16_224.orig_in21k": {12}, "vit_large_patch16_224.mae": {12}}
    base = {name: {8} for name in ("vit_base_patch16_224.orig_in21k", "vit_base_patch16_224.mae")}
    small = {"vit_small_patch16_224.augreg_in21k": {4}, "deit_small_distilled_patch16_224": {4}}
    assert ranks == large | base | small | {"deit_base_distilled_patch16_224": {8}}


def test_the_rate_curve_has_eight_rates_from_1_3_to_4_for_each_way_to_remove_tokens() -> None:
    made = plan(read_spec(EXAMPLES / "pyra-rates.yaml"), shipped_catalogue())
    finals = [entry.job for entry in made.unresolved if entry.job.phase is Phase.FINAL]
    for method in ("pyra", "tome", "random_drop"):
        calls = {call for job in finals for call in job.methods if call.name == method}
        assert sorted(call.kwargs["speed_up"] for call in calls) == [1.3, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0]
        assert len({call.kwargs["schedule"] for call in calls}) == 8
