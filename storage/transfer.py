"""`store export` and `store import`: a folder with all results of a store and their files, to be joined to another.

`results.jsonl` is written last and whole; `files/` holds deltas, predictions and artifacts by content. Exporting again
into the same folder adds what is new. Logs stay with the machine that wrote them.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.files import advice
from storage.records import Result, Status
from storage.records.whole import written_whole
from storage.snapshot import Absorbed, KeptJob, Snapshot
from storage.store import Store
from storage.transfer_lines import Files, StoredFile, Transfer, TransferError, lines, read_header, read_transfer

RESULTS, FILES = "results.jsonl", "files"
_LOCAL = frozenset({"log"})


@dataclass(frozen=True)
class Exported:
    """`missing`: files that results name and the home lacks, relative to the home."""

    jobs: int
    results: int
    files: int
    size_bytes: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """`jobs`: in the export. `files`: copied into the home. `unmade`: prepare jobs done there whose artifact did not
    come along: they are pending here."""

    absorbed: Absorbed
    jobs: int
    files: int
    unmade: tuple[str, ...]


def export_store(
    store: Store, home: Path, folder: Path, sweeps: Sequence[str] | None = None, with_files: bool = True
) -> Exported:
    """Write the store, or some sweeps of it, into `folder`. Raises TransferError, UnknownSweep."""
    _check_target(folder)
    snapshot = store.snapshot(sweeps)
    jobs = tuple(_without_local(kept) for kept in snapshot.jobs)
    files: dict[str, Files] = {}
    missing: list[str] = []
    try:
        for kept in jobs if with_files else ():
            files[kept.job.job_id] = _brought(kept, home, folder / FILES, missing)
        with written_whole(folder / RESULTS) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines(Transfer(replace(snapshot, jobs=jobs), files)))
    except OSError as error:
        raise TransferError(f"cannot write {folder}: {error.strerror or error}. {advice(error)}") from error
    stored = {file for roles in files.values() for file in roles.values()}
    return Exported(
        jobs=len(jobs),
        results=sum(kept.result is not None for kept in jobs),
        files=len(stored),
        size_bytes=sum(file.size_bytes for file in stored),
        missing=tuple(missing),
    )


def _check_target(folder: Path) -> None:
    """An empty place, an earlier export, or what an interrupted one left."""
    if not folder.exists():
        return
    others = (
        sorted(path.name for path in folder.iterdir() if path.name not in (RESULTS, FILES)) if folder.is_dir() else []
    )
    if not folder.is_dir() or any(not name.startswith(f".{RESULTS}.") for name in others):
        what = f"holds {others[0]!r}" if others else "is a file"
        raise TransferError(f"{folder} {what}: name a new or empty folder, or one of an earlier `store export`")
    if (folder / RESULTS).exists():
        read_header(folder / RESULTS)


def _without_local(kept: KeptJob) -> KeptJob:
    if kept.result is None:
        return kept
    files = {role: path for role, path in kept.result.files.items() if role not in _LOCAL}
    return replace(kept, result=replace(kept.result, files=files))


def _brought(kept: KeptJob, home: Path, target: Path, missing: list[str]) -> Files:
    """Copy the result's files under the names of their contents."""
    found: dict[str, StoredFile] = {}
    for role, path in (kept.result.files if kept.result else {}).items():
        source = home / path
        if not source.is_file():
            missing.append(path)
            continue
        stored = _stored(source)
        if not (target / stored.sha256).is_file():
            _copy(source, target / stored.sha256, stored)
        found[role] = stored
    return found


def import_store(store: Store, home: Path, folder: Path, with_files: bool = True) -> Imported:
    """Join the exported results to this store; twice is once. Raises TransferError, StoreUnavailable.

    Records are taken in one transaction. Artifacts, and deltas of jobs that are not done here, come before it, because
    jobs may start on them; other deltas and predictions after it, for those jobs whose outcome here is the exported
    one.
    """
    try:
        transfer = _read(folder)
        if with_files:
            _check_files(transfer, folder / FILES)
        else:
            transfer = Transfer(transfer.snapshot)
        copied = _place_artifacts(transfer, store, home, folder / FILES)
        snapshot, unmade = _with_artifacts_only(transfer.snapshot, home)
        absorbed = store.absorb(snapshot)
        copied += _place_others(transfer, store, home, folder / FILES)
    except OSError as error:
        raise TransferError(f"cannot import {folder}: {error.strerror or error}. {advice(error)}") from error
    return Imported(absorbed, len(snapshot.jobs), copied, unmade)


def _read(folder: Path) -> Transfer:
    if not (folder / RESULTS).is_file():
        raise TransferError(f"there is no {folder / RESULTS}; name a folder that `sweepboard store export` wrote")
    return read_transfer(folder / RESULTS)


def _check_files(transfer: Transfer, source: Path) -> None:
    """All contents are here and are what their names say. Raises TransferError."""
    stored = {file for roles in transfer.files.values() for file in roles.values()}
    for file in sorted(stored, key=lambda file: file.sha256):
        path = source / file.sha256
        if not path.is_file() or _stored(path) != file:
            state = "is damaged" if path.exists() else "is missing"
            raise TransferError(
                f"{path} {state}. Copy the folder again, or import the records alone with --no-files; nothing was "
                "imported"
            )


def _place_artifacts(transfer: Transfer, store: Store, home: Path, source: Path) -> int:
    """An artifact is named by what decides it: one that is here already serves as well. Evaluate jobs read deltas."""
    here = store.known(result.job_id for result, role, _, _ in _named(transfer) if role == "delta")
    wanted = [
        (path, file)
        for result, role, path, file in _named(transfer)
        if role == "artifact" or (role == "delta" and here.get(result.job_id) is not Status.DONE)
    ]
    absent = {path: file for path, file in wanted if not (home / path).exists()}
    for path, file in absent.items():
        _copy(source / file.sha256, home / path, file)
    return len(absent)


def _with_artifacts_only(snapshot: Snapshot, home: Path) -> tuple[Snapshot, tuple[str, ...]]:
    """Prepare jobs count as done only where their artifact is; else jobs that need it would wait for ever."""
    jobs, unmade = [], []
    for kept in snapshot.jobs:
        path = kept.result.files.get("artifact") if kept.result else None
        if kept.job.makes is not None and kept.status is Status.DONE and not (path and (home / path).is_file()):
            unmade.append(kept.job.job_id)
            jobs.append(replace(kept, status=Status.PENDING, result=None, attempt=None))
        else:
            jobs.append(kept)
    return replace(snapshot, jobs=tuple(jobs)), tuple(unmade)


def _place_others(transfer: Transfer, store: Store, home: Path, source: Path) -> int:
    outcomes = {state.job.job_id: state.result for state in store.jobs()} if transfer.files else {}
    copied = 0
    for result, role, path, file in _named(transfer):
        target, here = home / path, outcomes.get(result.job_id)
        if role == "artifact" or here is None or not _is_same(here, result):
            continue
        if not target.is_file() or _stored(target) != file:
            _copy(source / file.sha256, target, file)
            copied += 1
    return copied


def _is_same(one: Result, other: Result) -> bool:
    """The same attempt brought them: times and measured values agree."""
    return dict(one.metrics) == dict(other.metrics) and dict(one.facts) == dict(other.facts)


def _named(transfer: Transfer) -> Iterator[tuple[Result, str, str, StoredFile]]:
    """(result, role, path in the home, content) of every file that came along."""
    for kept in transfer.snapshot.jobs:
        for role, file in transfer.files.get(kept.job.job_id, {}).items():
            if kept.result is not None and role in kept.result.files:
                yield kept.result, role, kept.result.files[role], file


def _stored(path: Path) -> StoredFile:
    with path.open("rb") as file:
        return StoredFile(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _copy(source: Path, target: Path, expected: StoredFile) -> None:
    with written_whole(target) as draft:
        shutil.copyfile(source, draft)
        if _stored(draft) != expected:
            raise TransferError(f"{source} changed while it was copied; try again")
