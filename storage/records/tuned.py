"""What a search leaves behind: its trials, and what a final job owes to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SEARCH_ROW = "tune "
"""A search's trials stand in their sweep under this and the name of the row that they search for."""
OBJECTIVES = "sweepboard:objectives"
ASKED_BY = "sweepboard:asked_by"
"""Version of Optuna that made a suggestion: another one may have made another."""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended for its study, whatever its job did for others: pruned by the curve up to an epoch, or None.

    `marks`: what the pruner noted about it, on which its later verdicts rest.
    """

    pruned_after: int | None = None
    marks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One suggestion of a study; trials are numbered from 0, in the order in which they were asked.

    `study`: hash of all that decides the suggestions but the outcomes. `job_id` is None where the values cannot be run
    (`refusal` says why). `params`: parameter -> value. `attrs`: what the sampler wants to be told again, and under
    `OBJECTIVES` what the study is after where that is more than accuracy, under `ASKED_BY` who suggested it. `bound`: a
    metric and its highest value, which the best trial must keep. `end` is None until its study has heard of its end.
    """

    study: str
    number: int
    job_id: str | None
    params: Mapping[str, Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    bound: tuple[str, float] | None = None
    end: TrialEnd | None = None

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of metrics; empty where accuracy alone decides."""
        return tuple(self.attrs.get(OBJECTIVES, ()))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `Trial.from_json(trial.to_json()) == trial`."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Trial:
        """What `to_json` wrote. Raises KeyError or TypeError."""
        bound, end = record["bound"], record.get("end")
        read = {
            "bound": None if bound is None else (str(bound[0]), float(bound[1])),
            "end": None if end is None else TrialEnd(**end),
        }
        return cls(**{**record, **read})


@dataclass(frozen=True)
class Tuned:
    """Why a final job has its values: chosen as trial `best` among `trials`; `ties` others had the same accuracy.

    `params`: names of what the search decided ("train.lr", "gps.connections_per_neuron"), and what follows from it.
    `objectives`: metrics of a search after several; `best` is then one of those that no other trial beats in all of
    them, `ties` had the same in each. Empty where accuracy alone decided.
    """

    study: str
    trials: int
    best: int
    ties: int
    params: tuple[str, ...]
    objectives: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `Tuned.from_json(tuned.to_json()) == tuned`. What one objective does not need is left out."""
        record = {**asdict(self), "params": list(self.params), "objectives": list(self.objectives)}
        return record if self.objectives else {name: value for name, value in record.items() if name != "objectives"}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Tuned:
        """What `to_json` wrote. Raises KeyError or TypeError."""
        lists = {name: tuple(record.get(name, ())) for name in ("params", "objectives")}
        return cls(**{**record, **lists})
