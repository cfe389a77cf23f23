"""Files that are whole or absent, and results that workers left."""

import json
import resource

import pytest

from storage.files import read_spool, write_json
from storage.records import Lease
from storage.records.spool import write_spool
from storage.store import StoreError
from storage.testing.samples import curve, done, sample_job


def spool_of(home, lease):
    return home / "spool" / f"{lease.job_id}.{lease.epoch}.json"


@pytest.fixture
def spooled(tmp_path):
    """Two results, spooled."""
    found = []
    for seed in range(2):
        job = sample_job(seed)
        lease, result = Lease(job.job_id, 3, "host:1:2", 99.0), done(job, epochs=curve(2.0, 1.0))
        write_spool(spool_of(tmp_path, lease), lease, result)
        found.append((spool_of(tmp_path, lease), lease, result))
    return found


def test_what_was_spooled_is_read_with_the_lease_of_its_attempt(spooled, tmp_path):
    read = list(read_spool(tmp_path))
    assert [(path, result) for path, _, result in read] == sorted((path, result) for path, _, result in spooled)
    assert {(lease.epoch, lease.owner) for _, lease, _ in read} == {(3, "host:1:2")}
    assert all(lease.job_id == result.job_id for _, lease, result in read)


def test_the_format_of_a_spool_file_is_the_agreed_one(spooled):
    path, _, result = spooled[0]
    expected = {"lease_epoch": 3, "owner": "host:1:2", "result": json.loads(json.dumps(result.to_json()))}
    assert json.loads(path.read_text()) == expected


BROKEN = {
    "cut": '{"lease_epoch": 1, "own',
    "empty": "",
    "list": "[]",
    "other": '{"lease_epoch": 1}',
    "newer": '{"lease_epoch": 1, "owner": "x", "result": {"job_id": "a", "status": "done", "novelty": 1}}',
    "status": '{"lease_epoch": 1, "owner": "x", "result": {"job_id": "a", "status": "splendid"}}',
    "epoch": '{"lease_epoch": "1", "owner": "x", "result": {"job_id": "a", "status": "done"}}',
    "bytes": "\udcff",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_moved_aside_with_a_note_and_the_others_are_read(spooled, tmp_path, content):
    broken = tmp_path / "spool" / "0000.1.json"
    broken.write_bytes(content.encode(errors="surrogateescape"))
    assert len(list(read_spool(tmp_path))) == 2
    aside = tmp_path / "spool" / "broken" / "0000.1.json"
    assert (broken.exists(), aside.exists()) == (False, True)
    assert "0000.1.json" in aside.with_name("0000.1.json.note").read_text()
    assert len(list(read_spool(tmp_path))) == 2


def test_a_file_that_is_still_being_written_is_not_looked_at(tmp_path):
    half = tmp_path / "spool" / ".a.1.json.x.tmp"
    half.parent.mkdir()
    half.write_text('{"lease')
    assert list(read_spool(tmp_path)) == []
    assert half.exists()


def test_a_home_without_spool_has_nothing_spooled(tmp_path):
    assert list(read_spool(tmp_path)) == []


def test_json_is_written_and_replaced_whole(tmp_path):
    path = tmp_path / "new" / "value.json"
    for value in ({"a": 1}, {"b": [1.5, None]}):
        write_json(path, value)
        assert json.loads(path.read_text()) == value
    assert list(path.parent.iterdir()) == [path]


def test_on_a_full_disk_the_old_file_stays_and_nothing_is_left_behind(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"value\.json.*Free some space"):
            write_json(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert json.loads(path.read_text()) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/value\.json.*SWEEPBOARD_HOME"):
        write_json(tmp_path / "file" / "value.json", 1)


def test_a_value_that_is_not_json_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", object())
    assert list(tmp_path.iterdir()) == []
