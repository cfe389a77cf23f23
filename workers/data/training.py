"""The training split as methods may see it (`methods.api.TrainingData`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Generator, Tensor

from methods.api import MissingArtifact
from storage.records import Job
from workers.data.batches import Batches
from workers.randomness import generator

Told = Callable[[str, int, int], None]
"""Told (stage, done, total) before each batch, so that a long scoring pass is seen to be alive and can be stopped."""


class JobTrainingData:
    """Wraps one split's batches; it holds no other split. Passes are numbered, so a second pass has its own order."""

    def __init__(self, job: Job, batches: Batches, artifacts: Mapping[str, Mapping[str, Tensor]], told: Told) -> None:
        self._job, self._batches, self._artifacts, self._told = job, batches, artifacts, told
        self._generator = generator(job.seed, "method")
        self._passes = 0

    @property
    def classes(self) -> int:
        return self._job.dataset.classes

    @property
    def generator(self) -> Generator:
        """One CPU generator per job, derived from its seed."""
        return self._generator

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in shuffled order: images [n, 3, s, s] normalised, labels [n]."""
        self._passes += 1
        return self._counted(self._batches.shuffled(batch_size, "method", self._passes), batch_size)

    def two_view_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass with two augmented views per image: [n, 2, 3, s, s] and labels [n]."""
        self._passes += 1
        return self._counted(self._batches.two_views(batch_size, "method", self._passes), batch_size)

    def artifact(self, kind: str) -> Mapping[str, Tensor]:
        """The shared artifact of that kind. Raises MissingArtifact."""
        if kind not in self._artifacts:
            raise MissingArtifact(
                f"artifact {kind!r} was not handed to job {self._job.job_id}; it needs "
                f"{', '.join(self._artifacts) or 'none'}: plan it again, or add the need to the method"
            )
        return self._artifacts[kind]

    def _counted(self, passed: Iterator[tuple[Tensor, Tensor]], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for done, batch in enumerate(passed):
            self._told("score", done, self._batches.steps(batch_size))
            yield batch
