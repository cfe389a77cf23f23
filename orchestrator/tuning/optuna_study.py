"""Builds studies from the trials in the store: suggestions and verdicts as functions of (study, trial number, history).

Nothing is kept on disk: the trials in the store are the truth, and an in-memory study is built from them. Every ask
has a sampler of its own, seeded by the study's name and the trial's number. Optuna loads when the first study is made.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from methods.api import Domain, Scalar
from orchestrator.tuning.outcomes import DIVERGED, DONE, FAILED, SCORE, Outcome, Past, is_maximised

if TYPE_CHECKING:
    import optuna

Asked = tuple[dict[str, Scalar], dict[str, Any]]
"""Parameter -> value, and what the sampler wants to be told again of this trial."""

_STARTUP_TRIALS = 5  # before the pruner compares
_REDUCTION = 3
_POPULATION = 10  # Optuna's 50 would leave a usual budget of trials to chance


class OptunaStudy:
    """One study. `name` decides its random numbers; `epochs` is how long a trial trains at most."""

    def __init__(self, name: str, space: Mapping[str, Domain], sampler: str, pruner: str, epochs: int) -> None:
        self._name, self._space, self._sampler, self._pruner, self._epochs = name, space, sampler, pruner, epochs
        self._objectives: tuple[str, ...] = (SCORE,)
        self._live: _Live | None = None

    def toward(self, objectives: Sequence[str]) -> OptunaStudy:
        """The same study toward other objectives than accuracy alone; with several of them nothing is pruned."""
        self._objectives = tuple(objectives)
        return self

    def ask(self, past: Sequence[Past], given: Mapping[str, Any] | None = None) -> Asked:
        """The next suggestion, number `len(past)`; `given`: its values, which the sampler then has no say in.

        A pure function of the arguments: the study that is kept between calls only saves building it again.
        """
        if self._sampler == "grid":
            return grid_point(self._space, len(past)), {}
        if self._live is None or not self._live.catch_up(past):
            self._live = _Live(self._name, distributions(self._space), past, self._objectives)
        return self._live.ask(self._sampler_of(len(past), self._live), given)

    def judge(self, past: Sequence[Past]) -> Judge:
        """Who says after each epoch of trial `len(past)` whether it goes on."""
        return Judge(self._pruner_of(), self._name, past)

    def _sampler_of(self, number: int, live: _Live) -> optuna.samplers.BaseSampler:
        from optuna import samplers

        from orchestrator.tuning.optuna_nsga2 import NSGAIISampler

        seed = int.from_bytes(hashlib.sha256(f"{self._name}:{number}".encode()).digest()[:4], "big")
        if self._sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self._sampler == "nsga2":
            return NSGAIISampler(live.generations, seed, _POPULATION)
        # Running trials are a constant liar, by default. Multivariate also with several objectives, where it is not the
        # default: one model of all parameters found fronts as good as a model of each, and is built once per ask.
        return samplers.TPESampler(seed=seed, multivariate=True)

    def _pruner_of(self) -> optuna.pruners.BasePruner:
        from optuna import pruners

        least = max(1, self._epochs // _REDUCTION**2)
        if self._pruner == "median":
            return pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=max(1, self._epochs // 4))
        if self._pruner == "successive_halving":
            return pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=_REDUCTION)
        if self._pruner == "hyperband":
            return pruners.HyperbandPruner(
                min_resource=least, max_resource=max(least, self._epochs), reduction_factor=_REDUCTION
            )
        return pruners.NopPruner()


class Judge:
    """Follows one trial. `marks` is what the pruner noted about it: later verdicts rest on that."""

    def __init__(self, pruner: optuna.pruners.BasePruner, name: str, past: Sequence[Past]) -> None:
        import optuna

        study = _new_study(name, optuna.samplers.RandomSampler(seed=0), pruner)
        study.add_trials([_frozen_for_pruner(one) for one in past])
        self._study, self._trial = study, study.ask()

    def prunes(self, epoch: int, score: float) -> bool:
        """Whether the trial should end after that epoch (1-based), having reached that score."""
        self._trial.report(score, epoch)
        return self._trial.should_prune()

    @property
    def marks(self) -> dict[str, Any]:
        return dict(self._study.get_trials(deepcopy=False)[self._trial.number].system_attrs)


class _Live:
    """An in-memory study that knows the past up to some trial."""

    def __init__(self, name: str, space: Mapping[str, Any], past: Sequence[Past], objectives: tuple[str, ...]) -> None:
        import optuna

        from orchestrator.tuning.optuna_nsga2 import Generations

        self._space, self._objectives = space, objectives
        self.generations = Generations()
        self._study = _new_study(name, optuna.samplers.RandomSampler(seed=0), objectives=objectives)
        self._study.add_trials([_frozen(one, space, objectives) for one in past])
        self._told = [one.outcome is not None for one in past]
        self._asked: dict[int, optuna.trial.Trial] = {}

    def catch_up(self, past: Sequence[Past]) -> bool:
        """Tell what has become known since; False when this study does not lead to that past."""
        if len(past) != len(self._told):
            return False
        for number, one in enumerate(past):
            if one.outcome is None or self._told[number]:
                continue
            if number not in self._asked:
                return False  # it ran when this study was built
            _tell(self._study, self._asked.pop(number), one.outcome, self._objectives)
            self._told[number] = True
        return True

    def ask(self, sampler: optuna.samplers.BaseSampler, given: Mapping[str, Any] | None) -> Asked:
        self._study.sampler = sampler
        if given is not None:
            self._study.enqueue_trial(dict(given))  # answered by the ask that follows
        trial = self._study.ask(dict(self._space))
        self._asked[trial.number] = trial
        self._told.append(False)
        attrs = self._study.get_trials(deepcopy=False)[trial.number].system_attrs
        return dict(trial.params), dict(attrs)


def distributions(space: Mapping[str, Domain]) -> dict[str, Any]:
    """Parameter -> Optuna distribution."""
    from optuna import distributions as optuna_distributions

    found: dict[str, Any] = {}
    for name, domain in space.items():
        if domain.kind == "choice":
            found[name] = optuna_distributions.CategoricalDistribution(domain.values)
        elif domain.kind == "int":
            low, high = (int(str(value)) for value in domain.values)
            found[name] = optuna_distributions.IntDistribution(low, high)
        else:
            low_f, high_f = (float(str(value)) for value in domain.values)
            found[name] = optuna_distributions.FloatDistribution(low_f, high_f, log=domain.kind == "log")
    return found


def grid_size(space: Mapping[str, Domain]) -> int:
    """How many points a grid over that space has."""
    return math.prod(len(_steps(domain)) for domain in space.values())


def most_trials(sampler: str, trials: int | None, space: Mapping[str, Domain]) -> int | None:
    """How many trials a budget of so many comes to: a grid ends with its points. None where hours alone decide."""
    if sampler != "grid":
        return trials
    return grid_size(space) if trials is None else min(trials, grid_size(space))


def grid_point(space: Mapping[str, Domain], number: int) -> dict[str, Scalar]:
    """The point of that number, the last parameter moving fastest. Raises IndexError behind the last one."""
    if number >= grid_size(space):
        raise IndexError(f"a grid of {grid_size(space)} points has no point {number}")
    point: dict[str, Scalar] = {}
    for name, domain in reversed(list(space.items())):
        steps = _steps(domain)
        number, at = divmod(number, len(steps))
        point[name] = steps[at]
    return {name: point[name] for name in space}


def _steps(domain: Domain) -> Sequence[Scalar]:
    if domain.kind == "int":
        low, high = (int(str(value)) for value in domain.values)
        return range(low, high + 1)
    return domain.values


def _new_study(
    name: str,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner | None = None,
    objectives: Sequence[str] = (SCORE,),
) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # one line per trial belongs to the store, not to the terminal
    toward = optuna.study.StudyDirection
    directions = [toward.MAXIMIZE if is_maximised(objective) else toward.MINIMIZE for objective in objectives]
    pruner = pruner or optuna.pruners.NopPruner()
    return optuna.create_study(study_name=name, directions=directions, sampler=sampler, pruner=pruner)


def _frozen(one: Past, space: Mapping[str, Any], objectives: Sequence[str]) -> optuna.trial.FrozenTrial:
    """An earlier trial as a sampler sees it."""
    from optuna.trial import TrialState, create_trial

    common: dict[str, Any] = {"params": dict(one.params), "distributions": dict(space), "system_attrs": dict(one.attrs)}
    if one.outcome is None:
        return create_trial(state=TrialState.RUNNING, **common)
    state, values, curve = _as_told(one.outcome, objectives)
    constraints = None if one.outcome.violation is None else {"bound": one.outcome.violation}
    return create_trial(state=state, values=values, intermediate_values=curve, constraints=constraints, **common)


def _frozen_for_pruner(one: Past) -> optuna.trial.FrozenTrial:
    """An earlier trial as a pruner sees it: its curve and marks, without its parameters."""
    from optuna.trial import TrialState, create_trial

    if one.outcome is None:
        return create_trial(state=TrialState.RUNNING)
    state, values, _ = _as_told(one.outcome, (SCORE,))
    return create_trial(
        state=state, values=values, intermediate_values=dict(one.outcome.curve), system_attrs=dict(one.outcome.marks)
    )


def _tell(study: optuna.Study, trial: optuna.trial.Trial, outcome: Outcome, objectives: Sequence[str]) -> None:
    state, values, curve = _as_told(outcome, objectives)
    for epoch, score in curve.items():
        trial.report(score, epoch)
    if outcome.violation is not None:
        trial.set_constraint("bound", outcome.violation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.tell(trial, values if state.name == "COMPLETE" else None, state=state)


def _as_told(outcome: Outcome, objectives: Sequence[str]) -> tuple[Any, list[float] | None, dict[int, float]]:
    """State, values and curve.

    A diverged trial is told as pruned before its first epoch: Optuna's samplers learn from pruned trials, the earlier
    pruned the worse, and nothing from failed ones, so that they would suggest the same region again. With several
    objectives Optuna takes no curves.
    """
    from optuna.trial import TrialState

    if outcome.state == DONE:
        values = outcome.values(objectives)
        return (TrialState.FAIL, None, {}) if values is None else (TrialState.COMPLETE, list(values), {})
    if outcome.state == FAILED:
        return TrialState.FAIL, None, {}
    curve = {} if outcome.state == DIVERGED or len(objectives) > 1 else dict(outcome.curve)
    last = [curve[max(curve)]] if curve else None
    return TrialState.PRUNED, last, curve
