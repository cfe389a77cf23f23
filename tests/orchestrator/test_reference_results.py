"""The kept results of `orchestrator/examples/reference.yaml` can be joined to any home, and are not out of date."""

import json
import re
from pathlib import Path

import pytest

from methods import registry
from orchestrator.cli import main
from storage.open import open_store
from storage.records import Phase, Status
from storage.store import Store
from storage.transfer import import_store
from workers.revision import TRAINER_REVISION

KEPT = Path(__file__).parents[1] / "golden" / "reference"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("reference") / "home"
    place.mkdir()
    store = open_store(place / "store.db")
    import_store(store, place, KEPT, with_files=False)
    store.close()
    return place


def opened(home: Path) -> Store:
    return open_store(home / "store.db")


def test_every_job_is_of_the_present_revisions(home):
    store = opened(home)
    jobs = [state.job for state in store.jobs("reference")]
    store.close()
    assert len(jobs) == 96
    assert {job.trainer_revision for job in jobs} == {TRAINER_REVISION}
    called = {(call.name, call.revision) for job in jobs for call in job.methods}
    assert called == {(name, registry.facts(name).revision) for name, _ in called}


def test_the_board_has_all_rows_on_the_four_tasks(home, capsys):
    store = opened(home)
    finals = [state.status for state in store.jobs("reference") if state.job.phase is Phase.FINAL]
    store.close()
    assert finals == [Status.DONE] * 80
    assert main(["leaderboard", "reference", "--format", "json", "--home", str(home)]) == 0
    (section,) = json.loads(capsys.readouterr().out)["sections"]
    assert len(section["rows"]) == 10
    assert len(section["tasks"]) == 4
    averages = {row["row"]: row["mean_of_tasks"] for row in section["rows"]}
    told = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for name, average in averages.items():
        assert re.search(rf"^\| `{re.escape(name)}` \|.*\| {average:.2f} \|", told, re.MULTILINE), f"README, {name}"
