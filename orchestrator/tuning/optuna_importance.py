"""How much each parameter decided, by Optuna's own evaluator: PED-ANOVA, which draws nothing at random."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.tuning.optuna_study import distributions
from orchestrator.tuning.study_record import StudyRecord

EVALUATOR = "PED-ANOVA"
FEWEST_TRIALS = 10  # twice the best ones: with fewer, "best" would be most of them
_FEWEST_BEST = 5  # Optuna's advice; its default, a tenth, would be two of twenty trials
_BEST_PART = 0.1


@dataclass(frozen=True)
class Importance:
    """`shares`: parameter -> part of 1, the largest first; empty where `reason` says why there are none.

    They rest on `finished` trials, and say what decided whether one is among the `best` of them.
    """

    finished: int
    best: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def importance_of(study: StudyRecord) -> Importance:
    """Pruned, diverged and failed trials have no final score and do not count."""
    scores = [one.score for one in study.finished if one.score is not None]
    finished = len(scores)
    varied = [name for name in study.space if len({repr(one.report.trial.params[name]) for one in study.finished}) > 1]
    if finished < FEWEST_TRIALS:
        return Importance(finished, reason=f"needs {FEWEST_TRIALS} finished trials")
    if len(varied) < 2:
        rest = "all trials have the same values" if not varied else f"{varied[0]} is the only one that varied"
        return Importance(finished, reason=f"nothing to compare: {rest}")
    part = max(_BEST_PART, _FEWEST_BEST / finished)
    cutoff = sorted(scores, reverse=True)[math.ceil(part * finished) - 1]
    best = sum(score >= cutoff for score in scores)
    if best == finished:
        return Importance(finished, reason="the best trials cannot be told from the rest: their scores are the same")
    raw = _evaluated(study, part)
    total = sum(raw.values())
    if total <= 0:
        return Importance(finished, best, reason="the best trials have the same values as the rest")
    ranked = sorted(raw.items(), key=lambda item: (-item[1], item[0]))
    return Importance(finished, best, {name: value / total for name, value in ranked})


def _evaluated(study: StudyRecord, part: float) -> dict[str, float]:
    """Parameter -> PED-ANOVA's number for being in that best part of the finished trials."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    in_memory = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    space = distributions(study.space)
    in_memory.add_trials(
        optuna.trial.create_trial(value=one.score, params=dict(one.report.trial.params), distributions=space)
        for one in study.finished
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `normalize` counts as experimental
        return get_param_importances(
            in_memory, evaluator=PedAnovaImportanceEvaluator(target_quantile=part), normalize=False
        )
