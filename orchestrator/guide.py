"""Who may add jobs to a sweep while it runs, and stop those that lead nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from storage.records import EpochMetrics, Result, Status
from storage.store import Entry

PRUNED_AFTER = "pruned_after_epoch"
"""The fact of a pruned result that says how far it came."""


class Guide(Protocol):
    """What the loop asks while it runs. Tuning is one; a sweep without one is what its plan says."""

    def more(self) -> Sequence[Entry]:
        """Jobs that have joined the sweep in the store since the last call, by what has finished until now."""

    def stops(self, job_id: str, epoch: EpochMetrics) -> bool:
        """Whether a running job, having reported this epoch, should end as pruned."""

    def excused(self) -> int:
        """Failed jobs of the sweep that are no failure of it."""

    def owed(self) -> int:
        """At least so many jobs have not joined, and the sweep is not whole without them."""

    def to_come(self) -> int:
        """How many jobs will join, as far as it is known: for those who watch."""


class NoGuide:
    """Adds nothing and stops nothing."""

    def more(self) -> Sequence[Entry]:
        return ()

    def stops(self, job_id: str, epoch: EpochMetrics) -> bool:
        return False

    def excused(self) -> int:
        return 0

    def owed(self) -> int:
        return 0

    def to_come(self) -> int:
        return 0


def pruned(job_id: str, epochs: Sequence[EpochMetrics]) -> Result:
    """The result of a job that was stopped: its epochs up to the verdict, whatever it trained until it heard of it."""
    return Result(
        job_id=job_id,
        status=Status.PRUNED,
        metrics={"wall_s": epochs[-1].wall_s},
        epochs=tuple(epochs),
        facts={PRUNED_AFTER: str(epochs[-1].epoch)},
    )
