"""The lines of an exported store: JSON, one header, then one line per sweep and per job.

    {"format": "sweepboard-store", "version": 1, "job_schema": 1, "sweeps": 1, "jobs": 42}
    {"kind": "sweep", "name": …, "spec": …}                         ("studies": […], where it has searches)
    {"kind": "job", "job_id": …, "job": …, "status": …, "places": […], "result": …, "attempt": …, "files": {role: …}}
    {"kind": "trial", "trial": …}                                  (version 2: written only where something was tuned)

`files` names the content of those files of the result that were exported, which lie in `files/` under that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from storage.home import SUBFOLDERS
from storage.records import SCHEMA, Job, Result, Status, Trial, Tuned
from storage.snapshot import Attempt, KeptJob, Place, Snapshot
from storage.store import StoreError

FORMAT = "sweepboard-store"
VERSION = 2
_WITHOUT_TRIALS = 1


class TransferError(StoreError):
    """An export that cannot be written or read; nothing was imported."""


@dataclass(frozen=True)
class StoredFile:
    """The content of a file: SHA-256 in hex, and its size."""

    sha256: str
    size_bytes: int


Files = Mapping[str, StoredFile]
"""By role, as in `Result.files`."""


@dataclass(frozen=True)
class Transfer:
    """A snapshot, and the content of the jobs' files, by job id and role."""

    snapshot: Snapshot
    files: Mapping[str, Files] = field(default_factory=dict)


def header_of(snapshot: Snapshot) -> dict[str, object]:
    counts = {"sweeps": len(snapshot.specs), "jobs": len(snapshot.jobs)}
    is_tuned = snapshot.trials or any(place.tuned for kept in snapshot.jobs for place in kept.places)
    if not is_tuned:
        return {"format": FORMAT, "version": _WITHOUT_TRIALS, "job_schema": SCHEMA, **counts}
    return {"format": FORMAT, "version": VERSION, "job_schema": SCHEMA, **counts, "trials": len(snapshot.trials)}


def lines(transfer: Transfer) -> Iterator[str]:
    """The text, line by line, each with its end."""
    yield _line(header_of(transfer.snapshot))
    for name, spec in transfer.snapshot.specs.items():
        own = transfer.snapshot.studies.get(name)
        yield _line({"kind": "sweep", "name": name, "spec": spec, **({"studies": list(own)} if own else {})})
    for kept in transfer.snapshot.jobs:
        yield _line(_job_record(kept, transfer.files.get(kept.job.job_id, {})))
    for trial in transfer.snapshot.trials:
        yield _line({"kind": "trial", "trial": trial.to_json()})


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n"


def _job_record(kept: KeptJob, files: Files) -> dict[str, object]:
    return {
        "kind": "job",
        "job_id": kept.job.job_id,
        "job": kept.job.to_json(),
        "status": kept.status.value,
        "places": [_place_record(place) for place in kept.places],
        "result": None if kept.result is None else kept.result.to_json(),
        "attempt": None if kept.attempt is None else asdict(kept.attempt),
        "files": {role: asdict(file) for role, file in files.items()},
    }


def _place_record(place: Place) -> dict[str, object]:
    record = {**vars(place), "resources": dict(place.resources)}
    tuned = record.pop("tuned")
    return record if tuned is None else {**record, "tuned": tuned.to_json()}


def _place_from(record: Mapping[str, Any]) -> Place:
    tuned = record.get("tuned")
    return Place(**{**record, "tuned": None if tuned is None else Tuned.from_json(tuned)})


def read_header(path: Path) -> dict[str, Any]:
    """The first line. Raises TransferError when it is not one, or a newer one."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}")
        version, schema, *_ = (int(header[name]) for name in ("version", "job_schema", "sweeps", "jobs"))
    except (ValueError, KeyError, TypeError) as error:
        raise TransferError(
            f"{path}, line 1: this is no exported store ({error}); expected the header that `sweepboard store export` "
            "writes"
        ) from error
    if version > VERSION or schema > SCHEMA:
        raise TransferError(
            f"{path} has format {version} with jobs of schema {schema}, and this Sweepboard reads up to {VERSION} and "
            f"{SCHEMA}: a newer one wrote it. Upgrade this installation, then import again; nothing was imported"
        )
    return dict(header)


def read_transfer(path: Path) -> Transfer:
    """What `lines` wrote. Raises TransferError that names the line, OSError."""
    header = read_header(path)
    specs: dict[str, str] = {}
    jobs: list[KeptJob] = []
    files: dict[str, Files] = {}
    trials: list[Trial] = []
    studies: dict[str, tuple[str, ...]] = {}
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            with _placed(path, number):
                record = json.loads(text)
                if record.get("kind") == "sweep":
                    specs[str(record["name"])] = str(record["spec"])
                    if "studies" in record:
                        studies[str(record["name"])] = tuple(map(str, record["studies"]))
                elif record.get("kind") == "trial":
                    trials.append(Trial.from_json(record["trial"]))
                elif number > 1:
                    kept = _kept_from(record)
                    jobs.append(kept)
                    files[kept.job.job_id] = _files_from(record["files"])
    found = {"sweeps": len(specs), "jobs": len(jobs), "trials": len(trials)}
    told = {"trials": 0, **header}
    if found != {name: told[name] for name in found}:
        raise TransferError(
            f"{path} is not whole: its header tells of {_counted(told)}, it has {_counted(found)}. Copy it again; "
            "nothing was imported"
        )
    return Transfer(Snapshot(specs, tuple(jobs), tuple(trials), studies), files)


def _counted(counts: Mapping[str, Any]) -> str:
    return f"{counts['sweeps']} sweeps, {counts['jobs']} jobs and {counts['trials']} trials"


@contextmanager
def _placed(path: Path, number: int) -> Iterator[None]:
    """Problems of a line, with its number."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise TransferError(
            f"{path}, line {number}: damaged, or written by another version ({why}). Copy or export it again; "
            "nothing was imported"
        ) from error


def _kept_from(record: Mapping[str, Any]) -> KeptJob:
    job = Job.from_json(record["job"])
    result = None if record["result"] is None else Result.from_json(record["result"])
    if job.job_id != record["job_id"]:
        raise ValueError(f"the content is that of job {job.job_id}, the line names job {record['job_id']}")
    if result is not None:
        if result.job_id != job.job_id:
            raise ValueError(f"the result is that of job {result.job_id}")
        _check_paths(result.files.values())
    return KeptJob(
        job,
        Status(record["status"]),
        tuple(_place_from(place) for place in record["places"]),
        result,
        None if record["attempt"] is None else Attempt(**record["attempt"]),
    )


def _files_from(record: Mapping[str, Any]) -> Files:
    found = {role: StoredFile(**file) for role, file in record.items()}
    for role, file in found.items():
        if len(file.sha256) != 64 or not set(file.sha256) <= set("0123456789abcdef"):
            raise ValueError(f"the content of file {role!r} is named {file.sha256!r}; expected 64 hexadecimal digits")
    return found


def _check_paths(paths: Iterable[str]) -> None:
    """A file from elsewhere may only go where files of its kind lie. Raises ValueError."""
    for path in paths:
        parts = PurePosixPath(path).parts
        if len(parts) < 2 or parts[0] not in SUBFOLDERS or ".." in parts or "\\" in path:
            raise ValueError(f"the file {path!r} does not lie in one of {', '.join(SUBFOLDERS)} of a home")
