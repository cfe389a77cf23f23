"""Where the time of a job goes."""

from __future__ import annotations

import time
from collections import defaultdict


class Stopwatch:
    """Seconds by stage since it was made."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._cpu_started_s = time.process_time()
        self._spent_s: dict[str, float] = defaultdict(float)
        self._credited_s = 0.0

    def timed(self, stage: str) -> Timed:
        """For `with`: count the block's wall time to the stage."""
        return Timed(self._spent_s, stage)

    def credit(self, stage: str, seconds: float) -> None:
        """Count time of this job that was spent in another one, or (below 0) time of others that was spent in this."""
        self._spent_s[stage] += seconds
        self._credited_s += seconds

    def metrics(self) -> dict[str, float]:
        """wall_s, cpu_s, train_s, eval_s, and overhead_s: outside those, measuring and the making of artifacts."""
        wall_s = time.monotonic() - self._started_s + self._credited_s
        train_s, eval_s = self._spent_s["train"], self._spent_s["evaluate"]
        other_work_s = self._spent_s["measure"] + self._spent_s["prepare"]
        return {
            "wall_s": wall_s,
            "cpu_s": max(0.0, time.process_time() - self._cpu_started_s + self._credited_s),
            "train_s": train_s,
            "eval_s": eval_s,
            "overhead_s": wall_s - train_s - eval_s - other_work_s,
        }


class Timed:
    """A class, since a generator costs more than an epoch of a head that was trained before."""

    __slots__ = ("_spent_s", "_stage", "_started_s")

    def __init__(self, spent_s: dict[str, float], stage: str) -> None:
        self._spent_s, self._stage = spent_s, stage

    def __enter__(self) -> None:
        self._started_s = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._spent_s[self._stage] += time.monotonic() - self._started_s
