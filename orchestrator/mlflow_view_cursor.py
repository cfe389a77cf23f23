"""How far a tracker has followed the store: one small file per tracking address in the home."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.mlflow_view_process import without_password
from storage.files import write_json
from storage.records import digest

_VERSION = 1


@dataclass(frozen=True)
class Cursor:
    """Everything up to the event `event_id` is shown, but for what is `due`.

    `due`: sweeps whose parents and summaries must be looked at; True when the sweep was saved too, so that its
    members must be. `refused`: job -> why MLflow did not take it. `experiments`: as `Tracker.experiments`.
    """

    store_id: str = ""
    event_id: int = 0
    due: Mapping[str, bool] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    experiments: Mapping[str, str] = field(default_factory=dict)


def cursor_path(home: Path, uri: str) -> Path:
    return home / "mlflow" / f"{digest(without_password(uri))}.json"


def read_cursor(path: Path, store_id: str) -> Cursor:
    """The cursor of that store; from the beginning when there is none, or none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("version") == _VERSION and record["store_id"] == store_id:
            return Cursor(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return Cursor(store_id)


def write_cursor(path: Path, cursor: Cursor) -> None:
    """Raises StoreError when the file cannot be written; it appears whole or not at all."""
    write_json(path, {"version": _VERSION, **asdict(cursor)})
