"""The leaderboard as data: every format is written from this one model, and only that writing rounds a number.

What may stand beside what. `Job.protocol_id` hashes all that must agree before two numbers on *one task* are compared.
A board needs those facts apart, because they answer three different questions:

- Which task is it? The data set's name, the hash of its lists and images, its classes: a *column*. Two hashes under one
  name are two columns (`digits@1a2b3c4d`, `digits@5e6f7a8b`): no cell and no average ever mixes them.
- How was it measured? Training and scored split, selection rule, precision, resize rule, and for evaluate jobs the data
  set that their parents were trained on: `Protocol`, a *section*. Rows
  of different sections are never ranked together, and the section says in which field they differ.
- What was adapted? Backbone name, weights hash, mean and std, interpolation, crop fraction, image size: the *row*.
  Comparing backbones is what a board is for, and each brings its own weights and normalisation, so all of them share
  one table. But a backbone *name* must mean one thing: where it comes with two inputs (other weights, normalisation or
  size) they are two backbones, the label says which is which, and a note names the fields that differ.

A row is (methods with their revisions and values, backbone as above, trainer revision, protocol), over data sets and
seeds. The recipe belongs to the row and is shown. A recipe field parts rows only where it varies *within* a data set:
there it is an axis. Where it varies only between data sets it is a setting per task, as published tables have them.
Labels rename rows; they never join or part them.

What counts. Only `final` and `evaluate` jobs that are done with a finite test score. A row owes every task of its
section for every seed that it has anywhere in the suite, whether those jobs are finished or not; as long as one is
missing the row has no average and no rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from orchestrator.report.measured import Measured
from storage.records import (
    CLASSIFICATION,
    METRICS,
    PRIMARY,
    SEGMENTATION,
    BackboneRef,
    Job,
    MethodCall,
    Status,
    Value,
)
from storage.store import JobState

SCORE_WORDS = {CLASSIFICATION: "top-1", SEGMENTATION: "Dice"}
"""Kind of task -> what `score_metric` is called."""

MCE = "test_mce_pct"
BOARD_METRICS = (MCE, "trainable_params", "head_params", "macs", "wall_s")
"""What a row says besides its scores: means over its finished jobs, of those that have it."""


@dataclass(frozen=True)
class Place:
    """Where a data set stands: its suite and its group in there ("" where the suite has none)."""

    suite: str
    group: str = ""


def score_metric(task: str) -> str:
    """The metric that is averaged and ranked on data of that kind of task, in percent."""
    return f"test_{PRIMARY[task]}"


def place_of(dataset: str, places: Mapping[str, Place]) -> Place:
    """Where the data set stands; one that has no place forms a suite named by the first part of its name."""
    return places.get(dataset) or Place(dataset.rpartition("/")[0] or dataset)


@dataclass(frozen=True)
class Protocol:
    """How the rows of a section were measured; `selection` is the rule by which the epoch was chosen."""

    train_split: str
    score_split: str
    selection: str
    precision: str
    resize: str
    trained_on: str = ""  # name and content of the parents' data set, where it is not the one that is scored

    @classmethod
    def of(cls, job: Job) -> Protocol:
        source = None if job.trained_on == job.dataset else job.trained_on
        trained_on = "" if source is None else f"{source.name}@{source.data_hash[:8]}"
        read = (job.train_split, job.score_split, job.protocol, job.recipe.precision, job.recipe.resize)
        return cls(*read, trained_on)

    def differing(self, others: tuple[Protocol, ...]) -> tuple[str, ...]:
        """Names of the fields in which any of the others differs from this one."""
        names = [item.name for item in fields(self)]
        return tuple(name for name in names if any(getattr(self, name) != getattr(other, name) for other in others))


@dataclass(frozen=True)
class Task:
    """A column: one data set with one content. `title` is short and unique in its section."""

    dataset: str
    data_hash: str
    classes: int
    place: Place
    title: str


@dataclass(frozen=True)
class Backbone:
    """What was adapted. `label` is the name, with what tells it apart where one name means two things."""

    ref: BackboneRef
    image_size: int | None
    label: str


@dataclass(frozen=True)
class Cell:
    """The score of a row on a task (test top-1, or Dice of masks): (seed, percent) pairs, how many are expected, their
    mean in percent and their sample standard deviation (ddof 1), which is None below two seeds."""

    scores: tuple[tuple[int, float], ...]
    expected: int
    mean: float | None
    std: float | None

    @property
    def n(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a section. `cells` follow the section's tasks, `group_means` its groups; `states` all its jobs.

    `recipe`: (field, its values over the row's tasks), without the fields that the protocol or the backbone carries.
    """

    title: str
    methods: tuple[MethodCall, ...]
    backbone: Backbone
    trainer_revision: int
    recipe: tuple[tuple[str, tuple[Value, ...]], ...]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    group_means: tuple[float | None, ...]
    mean_of_tasks: float | None
    mean_of_groups: float | None
    metric_means: Mapping[str, float]
    states: tuple[JobState, ...]
    measured: Measured | None = None
    rank: int | None = None

    @property
    def done(self) -> int:
        return sum(cell.n for cell in self.cells)

    @property
    def expected(self) -> int:
        return sum(cell.expected for cell in self.cells)

    @property
    def stack(self) -> str:
        return "+".join(call.name for call in self.methods)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows that may be ranked together: one suite under one protocol, with one kind of task (so that no average mixes
    accuracies of classes and of masks).

    `groups` is empty where the tasks shown belong to fewer than two groups. `differs`: (field, its values in the
    suite's other sections). `rows`: ranked ones first, then the incomplete ones by title.
    """

    suite: str
    protocol: Protocol
    tasks: tuple[Task, ...]
    groups: tuple[str, ...]
    rows: tuple[Row, ...]
    differs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    task: str = CLASSIFICATION

    @property
    def seeds(self) -> int:
        """The number of seeds that a cell has unless it says otherwise."""
        return max(len(row.seeds) for row in self.rows)

    @property
    def averages(self) -> tuple[tuple[str, str], ...]:
        """(attribute of the row, its name in words); the last one ranks."""
        named = (("mean_of_tasks", f"mean of {_counted(len(self.tasks), 'task')}"),)
        return (*named, ("mean_of_groups", f"mean of {len(self.groups)} groups")) if self.groups else named


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """All sections of the sweeps asked for. `counts`: the final jobs by status; `metrics`: what may be shown.

    `devices` and `versions` are those of the finished jobs; `command` makes the same board again.
    """

    sweeps: tuple[str, ...]
    sections: tuple[Section, ...]
    counts: Mapping[Status, int]
    seeds: tuple[int, ...]
    devices: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    command: str = ""
    metrics: tuple[str, ...] = field(default=tuple(METRICS))

    @property
    def done(self) -> int:
        """Results that the board shows."""
        return sum(row.done for section in self.sections for row in section.rows)

    @property
    def expected(self) -> int:
        """Results that the board would show if nothing were missing."""
        return sum(row.expected for section in self.sections for row in section.rows)

    def without_costs(self) -> Leaderboard:
        """The same board without anything that depends on the machine: cost metrics, devices, versions."""
        kept = tuple(name for name in self.metrics if not METRICS[name].is_cost)
        sections = tuple(
            replace(section, rows=tuple(_without_costs(row, kept) for row in section.rows)) for section in self.sections
        )
        return replace(self, sections=sections, metrics=kept, devices=(), versions=())


def _without_costs(row: Row, kept: tuple[str, ...]) -> Row:
    means = {name: mean for name, mean in row.metric_means.items() if name in kept}
    return replace(row, metric_means=means, measured=None)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
