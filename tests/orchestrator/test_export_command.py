"""`sweepboard export` as a person types it: what has no model is refused, with what to do."""

from dataclasses import replace

import pytest

from orchestrator.cli import main
from storage.open import open_store
from storage.records import Phase
from storage.testing.fixtures import claim, save
from storage.testing.samples import done, failed, sample_job, sample_key

PREPARE, FAILED, PENDING = sample_job(0, makes=sample_key()), sample_job(1), sample_job(2)
SEARCH = replace(sample_job(3), phase=Phase.SEARCH)


@pytest.fixture
def home(tmp_path):
    """A home where one job is done, one failed and one waits; none of them left a model."""
    (tmp_path / "home").mkdir()
    store = open_store(tmp_path / "home" / "store.db")
    save(store, PREPARE, FAILED, SEARCH, PENDING)
    for lease, outcome in zip(claim(store, 3), (done(PREPARE), failed(FAILED), done(SEARCH)), strict=True):
        store.finish(lease, outcome)
    store.close()
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (PREPARE, "is a prepare job and trains no model; name a final job"),
        (FAILED, "is failed (the loss is NaN in epoch 3): there is no model yet; `sweepboard retry`"),
        (PENDING, "is pending: there is no model yet; `sweepboard run SPEC` goes on"),
        (SEARCH, "kept no delta: only final jobs do"),
    ],
    ids=["prepare", "failed", "pending", "search"],
)
def test_a_job_without_a_model_is_refused_with_what_to_do(home, tmp_path, capsys, job, told):
    assert main(["export", job.job_id[:10], "--to", str(tmp_path / "out"), "--home", str(home)]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert (captured.out, "Traceback" in captured.err, (tmp_path / "out").exists()) == ("", False, False)


def test_an_unknown_job_is_refused(home, tmp_path, capsys):
    assert main(["export", "ffff", "--to", str(tmp_path / "out"), "--home", str(home)]) == 2
    assert "no job 'ffff' in this store" in capsys.readouterr().err
