"""The home: the one folder under which everything of a project lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storage.store import StoreUnavailable

FOLDER = ".sweepboard"
SUBFOLDERS = ("artifacts", "deltas", "logs", "predictions", "spool")


def find_home(start: Path, env: Mapping[str, str]) -> Path:
    """SWEEPBOARD_HOME, else the nearest `.sweepboard/` from `start` upwards (as git does), else a new one in `start`.

    The folder exists afterwards, with its sub-folders and a `.gitignore` that hides it from git. Raises
    StoreUnavailable when it cannot be made.
    """
    named = env.get("SWEEPBOARD_HOME")
    home = Path(start, named).expanduser().absolute() if named else _nearest(start.absolute())
    try:
        for folder in (home, *(home / name for name in SUBFOLDERS)):
            folder.mkdir(parents=True, exist_ok=True)
        ignore = home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise StoreUnavailable(
            f"the home {home} cannot be made: {error.strerror} ({error.filename}). Expected a folder that can be "
            "written; make it so, or name another one in SWEEPBOARD_HOME"
        ) from error
    return home


def store_url(home: Path, env: Mapping[str, str]) -> str:
    """Where the store is: SWEEPBOARD_STORE (a URL or a path), else the SQLite file `store.db` in the home."""
    return env.get("SWEEPBOARD_STORE") or str(home / "store.db")


def cache_dir(home: Path, env: Mapping[str, str]) -> Path:
    """Where decoded images are kept, best on a local disk: SWEEPBOARD_CACHE, else `cache` in the home."""
    named = env.get("SWEEPBOARD_CACHE")
    return Path(named).expanduser().absolute() if named else home / "cache"


def _nearest(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    return start / FOLDER
