"""What a person sees while a sweep runs: a live table in a terminal, plain lines elsewhere, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from orchestrator.progress import SweepProgress
from workers.pools.protocol import Done, Lost, PoolEvent

_PLAIN_EVERY_S = 30.0
_DRAW_EVERY_S = 0.25


class Display(Protocol):
    """Draws the progress; called by the loop after every change, so it must be quick and may skip calls."""

    def __call__(self, progress: SweepProgress, event: PoolEvent | None) -> None: ...

    def close(self) -> None:
        """Leave the terminal as it was."""


def choose_display(*, as_json: bool, slots: int, stream: TextIO | None = None) -> Display:
    """JSON lines on stdout when asked for; else a live table where stderr is a terminal; else plain lines."""
    stream = stream or sys.stderr
    if as_json:
        return JsonLines(sys.stdout)
    return LiveTable(stream, slots) if stream.isatty() else PlainLines(stream, slots)


def duration(seconds: float) -> str:
    """
    >>> duration(42.4), duration(150), duration(7260)
    ('42 s', '2 min 30 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def headline(progress: SweepProgress, slots: int) -> str:
    """One line: counts, what runs, and when it will be done."""
    parts = [f"{progress.sweep}  {progress.done}/{progress.total} done"]
    if progress.already_done:
        parts.append(f"{progress.already_done} known before")
    parts.append(f"{len(progress.running)} running")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.retries:
        parts.append(f"{progress.retries} tried again")
    eta = progress.eta_s(slots)
    if eta is not None and eta[0] > 0:
        parts.append(f"about {duration(eta[0])} ± {duration(eta[1])} to go")
    return ", ".join(parts)


class PlainLines:
    """A line every 30 s and one for each failure, for logs."""

    def __init__(self, stream: TextIO, slots: int) -> None:
        self._stream, self._slots = stream, slots
        self._last_s = time.monotonic()

    def __call__(self, progress: SweepProgress, event: PoolEvent | None) -> None:
        failure = _failure_line(progress, event)
        if failure:
            print(failure, file=self._stream, flush=True)
        if time.monotonic() - self._last_s >= _PLAIN_EVERY_S:
            self._last_s = time.monotonic()
            print(headline(progress, self._slots), file=self._stream, flush=True)

    def close(self) -> None:
        self._stream.flush()


class JsonLines:
    """One JSON object per finished job; `version` is raised when a key changes its meaning."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, progress: SweepProgress, event: PoolEvent | None) -> None:
        if not isinstance(event, Done | Lost):
            return
        line = {
            "version": 1,
            "job_id": event.job_id,
            "row": progress.title_of(event.job_id),
            "status": event.result.status if isinstance(event, Done) else "lost",
            "metrics": dict(event.result.metrics) if isinstance(event, Done) else {},
            "failure": _failure_line(progress, event),
            "done": progress.done,
            "total": progress.total,
        }
        print(json.dumps(line, sort_keys=True), file=self._stream, flush=True)

    def close(self) -> None:
        self._stream.flush()


class LiveTable:
    """Rows with done/total and best so far, redrawn a few times a second."""

    def __init__(self, stream: TextIO, slots: int) -> None:
        self._slots = slots
        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._drawn_s = 0.0

    def __call__(self, progress: SweepProgress, event: PoolEvent | None) -> None:
        failure = _failure_line(progress, event)
        if failure:
            self._console.print(failure, markup=False, highlight=False)
        if time.monotonic() - self._drawn_s >= _DRAW_EVERY_S:
            self._drawn_s = time.monotonic()
            self._live.update(_table(progress, self._slots), refresh=True)

    def close(self) -> None:
        self._live.stop()


def _table(progress: SweepProgress, slots: int) -> Table:
    table = Table(title=headline(progress, slots), title_justify="left", box=None, pad_edge=False)
    table.add_column("row", overflow="fold")
    for name in ("done", "failed", "best %"):
        table.add_column(name, justify="right")
    table.add_column("now", overflow="ellipsis", no_wrap=True)
    now: dict[str, list[str]] = {}
    for job_id, stage in progress.running.items():
        now.setdefault(progress.title_of(job_id), []).append(stage)
    for title, row in progress.rows.items():
        best = "" if row.best is None else f"{row.best:.1f}"
        table.add_row(title, f"{row.done}/{row.total}", str(row.failed or ""), best, ", ".join(now.get(title, [])))
    return table


def _failure_line(progress: SweepProgress, event: PoolEvent | None) -> str:
    failure = event.failure if isinstance(event, Lost) else event.result.failure if isinstance(event, Done) else None
    if event is None or failure is None:
        return ""
    return f"job {event.job_id} ({progress.title_of(event.job_id)}) {failure.failure_class}: {failure.message}"
