"""How much each parameter decided, by Optuna's own evaluator, PED-ANOVA, and whether chance alone would say as much.

Shares of one always add up to one, also where no parameter matters: on scores drawn at random either of two parameters
had anything from 1 to 96 % (60 trials). So every number is held against those of the same trials with shuffled scores.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.tuning.optuna_study import distributions
from orchestrator.tuning.study_record import StudyRecord

EVALUATOR = "PED-ANOVA"
FEWEST_TRIALS = 10  # twice the best ones: with fewer, "best" would be most of them
_FEWEST_BEST = 5  # Optuna's advice; its default, a tenth, would be two of twenty trials
_BEST_PART = 0.1
_SHUFFLES = 39  # none of them as large: less than one in twenty, with room for one
CHANCE = 0.05
"""A parameter whose number is matched by more of the shuffles than this part is not told from chance."""


@dataclass(frozen=True)
class Importance:
    """`shares`: parameter -> part of 1, the largest first; empty where `reason` says why there are none.

    They rest on `finished` trials, and say what decided whether one is among the `best` of them. `chance`: parameter ->
    how often shuffled scores give as much, as a part of 1.
    """

    finished: int
    best: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
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
    raw = _evaluated(study, scores, part)
    total = sum(raw.values())
    if total <= 0:
        return Importance(finished, best, reason="the best trials have the same values as the rest")
    ranked = sorted(raw, key=lambda name: (-raw[name], name))
    chance = _chance(study, scores, part, raw)
    return Importance(finished, best, {name: raw[name] / total for name in ranked}, chance)


def _chance(study: StudyRecord, scores: Sequence[float], part: float, raw: Mapping[str, float]) -> dict[str, float]:
    """Drawn by the study's name: the same trials give the same answer."""
    draw = random.Random(study.report.study)
    shuffled = [_evaluated(study, draw.sample(scores, len(scores)), part) for _ in range(_SHUFFLES)]
    return {name: (1 + sum(one[name] >= raw[name] for one in shuffled)) / (1 + _SHUFFLES) for name in raw}


def _evaluated(study: StudyRecord, scores: Sequence[float], part: float) -> dict[str, float]:
    """Parameter -> PED-ANOVA's number for being in that best part of the finished trials, had they these scores."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    in_memory = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    space = distributions(study.space)
    in_memory.add_trials(
        optuna.trial.create_trial(value=score, params=dict(one.report.trial.params), distributions=space)
        for one, score in zip(study.finished, scores, strict=True)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `normalize` counts as experimental
        return get_param_importances(
            in_memory, evaluator=PedAnovaImportanceEvaluator(target_quantile=part), normalize=False
        )
