"""Searches carried from one home to another: trials, and which of them a final job's values come from."""

import json

from storage.records import Trial, Tuned
from storage.store import Entry
from storage.testing.fixtures import save
from storage.testing.samples import sample_job
from storage.transfer import export_store, import_store

PLAIN = sample_job(2)


def test_trials_and_what_was_tuned_come_along(home_of, tmp_path):
    store, home = home_of("here")
    store.save_sweep("s", "spec", [], ["a" * 16])
    tuned = Tuned("a" * 16, trials=1, best=0, ties=0, params=("train.lr",))
    trial = Trial("a" * 16, 0, PLAIN.job_id, {"train.lr": 0.1}, {"generation": 0}, bound=("macs", 2.5e7))
    store.extend("s", [Entry(PLAIN, 0, "row", tuned=tuned)], [trial])
    export_store(store, home, tmp_path / "out")
    there, elsewhere = home_of("there")
    import_store(there, elsewhere, tmp_path / "out")
    assert there.trials(["a" * 16]) == [trial]
    assert there.snapshot(["s"]).studies == {"s": ("a" * 16,)}
    assert [state.tuned for state in there.jobs("s")] == [tuned]


def test_an_export_of_an_untuned_store_can_be_read_by_older_versions(home_of, tmp_path):
    store, home = home_of("here")
    save(store, PLAIN)
    export_store(store, home, tmp_path / "out")
    header, _, job = (json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert (header["version"], "trials" in header, "tuned" in job["places"][0]) == (1, False, False)
