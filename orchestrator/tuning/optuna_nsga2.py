"""NSGA-II with the parents of its generations kept by who asks, not in the study. Imports Optuna: load it lazily.

Optuna notes the parents of a generation in the study when that generation is first asked, and never looks again. With
several trials in flight that note depends on which outcomes were known at that moment, so a study built anew would go
on with other suggestions. Here parents are looked up by what they follow from, and a thousand trials need not be
ranked again for every suggestion.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState


@dataclass
class Generations:
    """Of one study that only grows: generation -> its finished trials, and its parents as they follow from those."""

    sizes: Counter[int] = field(default_factory=Counter)
    parents: dict[int, list[FrozenTrial]] = field(default_factory=dict)


class NSGAIISampler(optuna.samplers.NSGAIISampler):
    """Has its parent's name because Optuna notes a trial's generation under the name of the sampler's class."""

    def __init__(self, generations: Generations, seed: int, population_size: int) -> None:
        super().__init__(seed=seed, population_size=population_size)
        self._generations = generations

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Forget the parents that follow from a generation that has grown since."""
        super().before_trial(study, trial)
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        key = self._get_generation_key()
        sizes = Counter(int(one.system_attrs[key]) for one in finished if key in one.system_attrs)
        grown = min((one for one in sizes if sizes[one] != self._generations.sizes[one]), default=None)
        if grown is not None:
            kept = {one: parents for one, parents in self._generations.parents.items() if one <= grown}
            self._generations.sizes, self._generations.parents = sizes, kept

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The parents of that generation: a function of the finished trials of earlier ones."""
        parents = self._generations.parents
        for one in range(1, generation + 1):  # upwards: Optuna's own recursion is as deep as there are generations
            if one not in parents:
                parents[one] = self.select_parent(study, one)
        return list(parents[generation]) if generation else []
