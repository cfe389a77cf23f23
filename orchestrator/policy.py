"""What happens after an attempt that brought no result: again, or not."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import FailureClass


@dataclass(frozen=True)
class Rule:
    """`attempts`: how many attempts the class allows in all. `counted`: it is the job's own fault, remembered in the
    store across drivers; others are bounded per driver. `wait_s`: pause before the next attempt, doubled each time."""

    attempts: int
    counted: bool
    wait_s: float = 0.0


POLICY: dict[FailureClass, Rule] = {
    FailureClass.NODE_LOST: Rule(10, counted=False, wait_s=1.0),
    FailureClass.PREEMPTED: Rule(10, counted=False, wait_s=1.0),
    FailureClass.TRANSIENT: Rule(5, counted=False, wait_s=2.0),
    FailureClass.CRASH: Rule(2, counted=True),
    FailureClass.CUDA_OOM: Rule(2, counted=True),
    FailureClass.HOST_OOM: Rule(2, counted=True),
    FailureClass.DIVERGED: Rule(1, counted=True),
    FailureClass.USER_ERROR: Rule(1, counted=True),
}
_LONGEST_WAIT_S = 300.0


def pause_s(failure_class: FailureClass, failures_so_far: int) -> float | None:
    """Seconds to wait before the next attempt; None when there is to be none.

    >>> pause_s(FailureClass.USER_ERROR, 1) is None
    True
    >>> pause_s(FailureClass.TRANSIENT, 2)
    4.0
    """
    rule = POLICY[failure_class]
    if failures_so_far >= rule.attempts:
        return None
    return min(rule.wait_s * 2.0 ** (failures_so_far - 1), _LONGEST_WAIT_S)
