"""Opening a store: what works at once, and what a person reads when it does not."""

import multiprocessing
import resource
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from storage.open import open_store
from storage.records import Status
from storage.sql.schema import VERSION_TABLE
from storage.store import SchemaTooNew, StoreError, StoreUnavailable
from storage.testing.samples import entries_of, sample_job


def test_what_was_saved_is_there_after_closing_and_opening_again(tmp_path):
    for address in (tmp_path / "store.db", str(tmp_path / "store.db"), f"sqlite:///{tmp_path / 'store.db'}"):
        store = open_store(address)
        change = store.save_sweep("s", "spec", entries_of(sample_job()))
        store.close()
    assert change.known == (sample_job().job_id,)


def test_without_a_clock_this_machines_time_counts(tmp_path):
    store = open_store(tmp_path / "store.db")
    before_s = time.time()
    store.append_event("note", {})
    assert before_s <= store.events()[0].at_s <= time.time()
    store.close()


def test_processes_that_open_a_new_file_at_once_all_succeed(tmp_path):
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(4)

    def submit(seed):
        barrier.wait()
        store = open_store(tmp_path / "store.db")
        store.save_sweep(f"sweep {seed}", "", entries_of(sample_job(0), sample_job(seed)))
        store.close()

    processes = [fork.Process(target=submit, args=(seed,)) for seed in range(1, 5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    store = open_store(tmp_path / "store.db")
    assert len(store.sweeps()) == 4
    assert len(store.jobs(status=Status.PENDING)) == 5
    store.close()


DRIVER = """
import sys
from storage.open import open_store
from storage.testing.samples import done, entries_of, sample_job
store = open_store(sys.argv[1])
store.save_sweep("s", "", entries_of(*(sample_job(seed) for seed in range(2000))))
while True:
    ((entry, lease),) = store.claim("s", "me", 1, 60.0)
    store.start(lease)
    store.finish(lease, done(entry.job))
    print(lease.job_id, flush=True)
"""


def test_a_killed_driver_loses_nothing_that_it_recorded(tmp_path):
    path = tmp_path / "store.db"
    with subprocess.Popen([sys.executable, "-c", DRIVER, path], stdout=subprocess.PIPE, text=True) as driver:
        recorded = {next(driver.stdout).strip() for _ in range(20)}
        driver.kill()
        recorded |= {line.strip() for line in driver.stdout if line.endswith("\n")}
    store = open_store(path)
    finished = {state.job.job_id for state in store.jobs("s") if state.result is not None}
    told = {event.job_id for event in store.events(limit=100_000) if event.kind == "job_done"}
    assert recorded <= finished
    assert finished == told == {state.job.job_id for state in store.jobs("s", Status.DONE)}
    assert len(store.leases("s")) <= 1
    store.close()


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "store.db"
    open_store(path).close()
    _execute(path, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match=r"9999.*Update Sweepboard"):
        open_store(path)
    assert _execute(path, f"SELECT version_num FROM {VERSION_TABLE}") == [("9999",)]


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    _execute(path, "CREATE TABLE jobs (id INTEGER)")
    with pytest.raises(StoreUnavailable, match=r"did not make \(jobs\)"):
        open_store(path)
    assert _execute(path, "SELECT name FROM sqlite_master") == [("jobs",)]


def test_a_file_that_is_no_database_is_refused_with_advice(tmp_path):
    path = tmp_path / "store.db"
    path.write_text("name: not a database\n" * 100)
    with pytest.raises(StoreUnavailable, match=r"store\.db.*not a database.*restore a copy"):
        open_store(path)


def test_a_damaged_file_is_an_error_of_the_store(tmp_path):
    path = tmp_path / "store.db"
    store = open_store(path)
    store.save_sweep("s", "", entries_of(*(sample_job(seed) for seed in range(50))))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="restore a copy"):
        open_store(path).jobs("s")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(StoreUnavailable, match=r"nowhere/store\.db.*folder exists"):
        open_store(tmp_path / "nowhere" / "store.db")


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(tmp_path):
    path = tmp_path / "store.db"
    store = open_store(path)
    store.save_sweep("s", "", entries_of(sample_job()))
    store.close()
    store = open_store(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert store.counts("s") == {Status.PENDING: 1}
    with pytest.raises(StoreUnavailable, match=r"readonly.*SWEEPBOARD_HOME"):
        store.claim("s", "me", 1, 60.0)
    store.close()


@pytest.fixture
def small_disk():
    """No file of this process may grow beyond 512 KiB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_on_a_full_disk_a_change_happens_not_at_all(tmp_path, small_disk):
    store = open_store(tmp_path / "store.db")
    store.save_sweep("s", "small", entries_of(sample_job()))
    with pytest.raises(StoreUnavailable, match=r"free space|Free some space"):
        store.save_sweep("s", "large", entries_of(*(sample_job(seed) for seed in range(2_000))))
    assert (store.spec("s"), store.counts("s")) == ("small", {Status.PENDING: 1})
    store.close()


@pytest.mark.parametrize("address", ["mysql://host/db", "sqlite+aiosqlite:///x.db", "://"])
def test_an_address_that_cannot_be_used_says_what_can(address):
    with pytest.raises(StoreError, match="expected a path, sqlite:///PATH"):
        open_store(address)


def test_a_path_with_signs_that_urls_know_is_a_path(tmp_path):
    folder = tmp_path / "50% of?x#y"
    folder.mkdir()
    open_store(folder / "store.db").close()
    assert (folder / "store.db").is_file()


def test_the_migrations_work_where_the_package_lies_in_a_folder_with_a_percent_sign(tmp_path):
    import storage

    folder = tmp_path / "50%s"
    shutil.copytree(storage.__path__[0], folder / "storage", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from storage.open import open_store; open_store('sqlite://')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env={"PYTHONPATH": str(folder)}, check=True)


def _execute(path, statement):
    connection = sqlite3.connect(path)
    with connection:
        rows = connection.execute(statement).fetchall()
    connection.close()
    return rows
