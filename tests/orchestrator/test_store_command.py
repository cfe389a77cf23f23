"""`sweepboard store export` and `import` as a person types them."""

import pytest

from orchestrator.cli import main
from storage.open import open_store
from storage.testing.fixtures import claim, save
from storage.testing.samples import done, failed, sample_job


@pytest.fixture
def home(tmp_path):
    """A home with one result, one failure and one job to do."""
    (tmp_path / "home").mkdir()
    store = open_store(tmp_path / "home" / "store.db")
    save(store, *(sample_job(seed) for seed in range(3)))
    first, second = claim(store, 2)
    store.finish(first, done(sample_job(0)))
    store.finish(second, failed(sample_job(1)))
    store.close()
    return tmp_path / "home"


def board(home, capsys):
    capsys.readouterr()
    assert main(["leaderboard", "s", "--format", "csv", "--home", str(home)]) == 0
    return capsys.readouterr().out


def test_the_board_of_an_imported_store_is_the_original_byte_for_byte(home, tmp_path, capsys):
    assert main(["store", "export", str(tmp_path / "out"), "--home", str(home)]) == 0
    assert "3 jobs, 2 results, 0 files" in capsys.readouterr().out
    assert main(["store", "import", str(tmp_path / "out"), "--home", str(tmp_path / "other")]) == 0
    captured = capsys.readouterr()
    assert captured.out == "3 jobs in the export: 3 new here, 2 outcomes taken, 0 files copied\nnew sweeps: s\n"
    assert board(tmp_path / "other", capsys) == board(home, capsys)


def test_a_sweep_that_is_not_there_is_answered_with_those_that_are(home, tmp_path, capsys):
    assert main(["store", "export", str(tmp_path / "out"), "--sweep", "t", "--home", str(home)]) == 2
    assert "no sweep 't' in this store" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_export_is_a_usage_error_without_traceback(home, tmp_path, capsys):
    assert main(["store", "import", str(tmp_path), "--home", str(home)]) == 2
    assert "name a folder that `sweepboard store export` wrote" in capsys.readouterr().err


def test_a_job_under_way_here_is_reported(home, tmp_path, capsys):
    main(["store", "export", str(tmp_path / "out"), "--home", str(home)])
    (tmp_path / "other").mkdir()
    store = open_store(tmp_path / "other" / "store.db")
    save(store, sample_job(0))
    claim(store)
    store.close()
    assert main(["store", "import", str(tmp_path / "out"), "--home", str(tmp_path / "other")]) == 0
    assert f"job {sample_job(0).job_id} is under way here and was left alone" in capsys.readouterr().err
