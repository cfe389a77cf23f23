"""Results carried from one home to another as a folder."""

import json
import resource
from contextlib import contextmanager

import pytest

from storage.open import open_store
from storage.records import Result, Status
from storage.store import UnknownSweep
from storage.testing.fixtures import claim, save
from storage.testing.samples import curve, done, failed, sample_job, sample_key
from storage.transfer import export_store, import_store
from storage.transfer_lines import TransferError

KEY = sample_key()
MAKER, USER, PLAIN, BROKEN = sample_job(0, makes=KEY), sample_job(1, needs=(KEY,)), sample_job(2), sample_job(3)
ARTIFACT = f"artifacts/{KEY.key_id}.safetensors"


def write(home, path, content):
    (home / path).write_text(content)
    return path


def outcome(home, job):
    if job == BROKEN:
        return failed(job)
    if job == MAKER:
        write(home, ARTIFACT, "scores")
        return done(job)
    files = {
        "delta": write(home, f"deltas/{job.job_id}.safetensors", f"delta of {job.seed}"),
        "predictions": write(home, "predictions/same.npz", "classes"),
        "log": write(home, f"logs/{job.job_id}.1.log", "words"),
    }
    return Result(
        job_id=job.job_id, status=Status.DONE, metrics={"wall_s": 1.0 + job.seed}, epochs=curve(2.0), files=files
    )


@pytest.fixture
def theirs(home_of):
    """A home where four jobs ran."""
    store, home = home_of("theirs")
    save(store, MAKER, USER, PLAIN, BROKEN)
    for _ in range(2):
        for entry, lease in store.claim("s", "me", 9, 60.0):
            store.finish(lease, outcome(home, entry.job))
    return store, home


@pytest.fixture
def exported(theirs, tmp_path):
    folder = tmp_path / "export"
    export_store(*theirs, folder)
    return folder


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("store.db")
    }


def states(store):
    return [(state.job, state.status, state.row, state.attempts) for state in store.jobs("s")]


def test_a_new_home_has_the_same_jobs_results_and_files_afterwards(theirs, exported, home_of):
    store, home = home_of("ours")
    done_here = import_store(store, home, exported)
    assert (done_here.jobs, len(done_here.absorbed.ended), done_here.unmade) == (4, 4, ())
    assert states(store) == states(theirs[0])
    for job in (MAKER, USER, PLAIN, BROKEN):
        here, there = store.job(job.job_id).result, theirs[0].job(job.job_id).result
        assert here.files == {role: path for role, path in there.files.items() if role != "log"}
        assert (here.metrics, here.epochs, here.failure) == (there.metrics, there.epochs, there.failure)
    assert tree(home) == {path: content for path, content in tree(theirs[1]).items() if not path.startswith("logs/")}


def test_a_delta_is_there_before_its_job_is_done_because_children_may_start(theirs, exported, home_of, monkeypatch):
    store, home = home_of("ours")
    there = []
    absorb = store.absorb

    def watched(snapshot):
        there.extend(path.stem for path in (home / "deltas").iterdir())
        return absorb(snapshot)

    monkeypatch.setattr(store, "absorb", watched)
    import_store(store, home, exported)
    assert sorted(there) == sorted(job.job_id for job in (USER, PLAIN))


def test_importing_twice_changes_nothing(exported, home_of):
    store, home = home_of("ours")
    import_store(store, home, exported)
    before = (store.snapshot(), store.events(), tree(home))
    again = import_store(store, home, exported)
    assert (again.absorbed.new, again.absorbed.ended, again.files) == ((), (), 0)
    assert (store.snapshot(), store.events(), tree(home)) == before


def test_equal_stores_give_equal_exports_and_an_earlier_export_is_brought_up_to_date(theirs, exported, tmp_path):
    store, home = theirs
    before = tree(exported)
    export_store(store, home, exported)
    assert tree(exported) == before
    (exported / ".results.jsonl.0123").write_text("left by an export that was killed")
    store.save_sweep("more", "spec", [])
    export_store(store, home, exported)
    assert '"name":"more"' in (exported / "results.jsonl").read_text()


def test_one_content_is_stored_once_and_named_by_its_hash(exported):
    assert len(list((exported / "files").iterdir())) == 4  # two deltas, one artifact, predictions that are equal


def test_a_file_that_the_home_lacks_is_told_and_the_rest_is_exported(theirs, tmp_path, home_of):
    (theirs[1] / ARTIFACT).unlink()
    made = export_store(*theirs, tmp_path / "partial")
    assert (made.missing, made.files) == ((ARTIFACT,), 3)
    imported = import_store(*home_of("ours"), tmp_path / "partial")
    assert imported.unmade == (MAKER.job_id,)


def test_records_alone_leave_prepare_jobs_pending_and_a_later_import_brings_the_files(exported, home_of):
    store, home = home_of("ours")
    first = import_store(store, home, exported, with_files=False)
    assert (first.unmade, store.job(MAKER.job_id).status, tree(home)) == ((MAKER.job_id,), Status.PENDING, {})
    assert store.job(USER.job_id).status is Status.DONE
    second = import_store(store, home, exported)
    assert (second.absorbed.ended, second.unmade, second.files) == ((MAKER.job_id,), (), 4)
    assert (home / "deltas" / f"{USER.job_id}.safetensors").read_text() == "delta of 1"


def test_a_new_store_beside_the_same_home_needs_no_files(theirs, tmp_path, home_of):
    export_store(*theirs, tmp_path / "records", with_files=False)
    moved = open_store(tmp_path / "moved.db")
    assert import_store(moved, theirs[1], tmp_path / "records").unmade == ()
    assert states(moved) == states(theirs[0])
    moved.close()


def test_the_delta_of_a_job_that_ended_otherwise_here_stays(exported, home_of):
    store, home = home_of("ours")
    save(store, PLAIN)
    (lease,) = claim(store)
    path = write(home, f"deltas/{PLAIN.job_id}.safetensors", "ours")
    store.finish(lease, Result(job_id=PLAIN.job_id, status=Status.DONE, metrics={"wall_s": 9.0}, files={"delta": path}))
    import_store(store, home, exported)
    assert ((home / path).read_text(), store.job(PLAIN.job_id).result.metrics) == ("ours", {"wall_s": 9.0})


def test_an_unfinished_delta_here_gives_way_to_the_imported_one(exported, home_of):
    store, home = home_of("ours")
    save(store, PLAIN)
    path = home / write(home, f"deltas/{PLAIN.job_id}.safetensors", "of a lost attempt")
    import_store(store, home, exported)
    assert path.read_text() == "delta of 2"


def _line(change):
    def damage(folder):
        path = folder / "results.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        lines[3] = change(lines[3])
        path.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")

    return damage


def _record(change):
    def edit(line):
        record = json.loads(line)
        change(record)
        return json.dumps(record) + "\n"

    return _line(edit)


DAMAGES = {
    "cut line": (_line(lambda line: line[:50] + "\n"), "line 4"),
    "not text": (_line(lambda line: "\udcff" + line), "line 4"),
    "no object": (_line(lambda line: "[]\n"), "line 4"),
    "another job": (_record(lambda record: record["job"].update(seed=99)), "line 4.*content is that of job"),
    "another status": (_record(lambda record: record.update(status="splendid")), "line 4.*splendid"),
    "the end is missing": (
        lambda folder: (folder / "results.jsonl").write_text(
            "".join((folder / "results.jsonl").read_text().splitlines(keepends=True)[:-1])
        ),
        "not whole",
    ),
    "no header": (lambda folder: (folder / "results.jsonl").write_text("{}\n"), "line 1.*no exported store"),
    "no records": (lambda folder: (folder / "results.jsonl").unlink(), "there is no .*results.jsonl"),
    "a file is missing": (lambda folder: next((folder / "files").iterdir()).unlink(), "is missing.*--no-files"),
    "a file is damaged": (lambda folder: next((folder / "files").iterdir()).write_text("?"), "is damaged"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_from_a_damaged_export_nothing_is_imported_and_the_place_is_named(exported, home_of, damage, message):
    store, home = home_of("ours")
    damage(exported)
    with pytest.raises(TransferError, match=message):
        import_store(store, home, exported)
    assert (store.jobs(), store.sweeps(), tree(home)) == ([], (), {})


@pytest.mark.parametrize("path", ["../../x", "/etc/x", "store.db", "deltas/../../x", "elsewhere/x"])
def test_a_file_can_only_go_where_files_of_a_home_lie(exported, home_of, path):
    lines = (exported / "results.jsonl").read_text().splitlines()
    number = next(number for number, line in enumerate(lines) if '"files":{"' in line)
    record = json.loads(lines[number])
    record["result"] = record["result"] | {"files": {"delta": path}}
    lines[number] = json.dumps(record)
    (exported / "results.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(TransferError, match=f"line {number + 1}.*does not lie in"):
        import_store(*home_of("ours"), exported)


@pytest.mark.parametrize("field", ["version", "job_schema"])
def test_an_export_of_a_newer_sweepboard_is_refused(exported, home_of, field):
    path = exported / "results.jsonl"
    header, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps(json.loads(header) | {field: 99}) + "\n" + rest)
    with pytest.raises(TransferError, match="a newer one wrote it"):
        import_store(*home_of("ours"), exported)


def test_only_known_sweeps_are_exported_and_only_into_a_place_for_it(theirs, tmp_path):
    with pytest.raises(UnknownSweep):
        export_store(*theirs, tmp_path / "x", ["nope"])
    for name, content in {"notes.txt": "mine", "results.jsonl": "mine"}.items():
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text(content)
        with pytest.raises(TransferError, match=r"no exported store|name a new or empty folder"):
            export_store(*theirs, folder)
        assert [path.name for path in folder.iterdir()] == [name]


@contextmanager
def small_disk(size_bytes):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_on_a_full_disk_there_is_no_half_export_and_the_same_command_goes_on(theirs, tmp_path):
    folder = tmp_path / "export"
    with small_disk(1000), pytest.raises(TransferError, match="Free some space"):
        export_store(*theirs, folder)
    assert not (folder / "results.jsonl").exists()
    assert export_store(*theirs, folder).files == 4
