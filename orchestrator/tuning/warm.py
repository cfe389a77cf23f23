"""Warm start: a search begins with what the same row and backbone found best on other data sets of the sweep.

Cells of a row and backbone are siblings. In the order of the plan they are taken in waves, each as large as all before
it and one more (1, 2, 4, 8 …); a wave waits until the searches before it are over. So every search but the first learns
from others, and half of them still run at the same time. What a cell is offered follows from the outcomes of whole
searches, by number and never by time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import Trial

WARM = "warm_start"
"""What a trial remembers of where its values come from."""
MOST_OFFERS = 3


@dataclass(frozen=True)
class Offer:
    """The best values of a sibling's study, and where they stand: its trial and its data set."""

    params: Mapping[str, Any]
    study: str
    trial: int
    dataset: str

    @property
    def origin(self) -> dict[str, Any]:
        """Plain JSON, kept with the trial."""
        return {"study": self.study, "trial": self.trial, "dataset": self.dataset}


def untried(offers: Sequence[Offer], trials: Sequence[Trial]) -> Iterator[Offer]:
    """Offers that the next trial may take, best first: a study's first trials take offers, all later ones are the
    sampler's. Values that were tried are left out, whoever found them too."""
    if len(trials) >= MOST_OFFERS or any(WARM not in one.attrs for one in trials):
        return
    tried = [dict(one.params) for one in trials]
    yield from (offer for offer in offers if dict(offer.params) not in tried)


def wave_of(position: int) -> int:
    """The wave, from 0, of the sibling at that position: 1, 2, 4, 8 … in each."""
    return (position + 1).bit_length() - 1


def first_of_wave(wave: int) -> int:
    """How many siblings are in the waves before it."""
    return (1 << wave) - 1
