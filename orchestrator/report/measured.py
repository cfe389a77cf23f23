"""Speed and memory of the board's rows, from measure jobs alone: numbers of packed, warm workers are contaminated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.records import SPEED_METRICS, BackboneRef, Job, MethodCall, Phase, Recipe, Status
from storage.store import JobState

SPEED_COLUMNS = {
    "train_img_per_s": "train img/s",
    "infer_img_per_s": "infer img/s",
    "infer_merged_img_per_s": "merged img/s",
    "train_peak_mem_mib": "train MiB",
    "infer_peak_mem_mib": "infer MiB",
}
"""Metric -> title, in reading order."""

_Key = tuple[tuple[MethodCall, ...], BackboneRef, str, int, Recipe]
"""Stack, backbone, kind of task, trainer revision, and what of the recipe decides the cost."""


@dataclass(frozen=True)
class Setting:
    """Under which numbers may be compared: all of it is named under the board."""

    device: str
    kind: str  # "cpu" or "cuda"
    threads: str
    precision: str
    batch_size: int

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' * (self.threads != '1')}" if self.kind == "cpu" else ""
        return f"{self.device}{threads}, {self.precision}, batch {self.batch_size}"


@dataclass(frozen=True)
class Measured:
    """What one measure job found."""

    setting: Setting
    metrics: Mapping[str, float]


class Measurements:
    """All finished measure jobs among the states, to be asked by row."""

    def __init__(self, states: Iterable[JobState]) -> None:
        self._found: dict[_Key, list[Measured]] = {}
        for state in states:
            job, result = state.job, state.result
            if job.phase is Phase.MEASURE and state.status is Status.DONE and result is not None:
                facts, recipe = result.facts, job.recipe
                device = (facts.get("device", "unknown device"), job.device or "", facts.get("threads", "?"))
                metrics = {name: result.metrics[name] for name in SPEED_METRICS if name in result.metrics}
                measured = Measured(Setting(*device, recipe.precision, recipe.batch_size), metrics)
                self._found.setdefault(_key(job, recipe), []).append(measured)

    def of(self, job: Job, recipes: Sequence[Recipe]) -> Measured | None:
        """The measurement of a row that has this job and these recipes: at a batch size of its own where there is one,
        on a GPU rather than on a CPU; None where the row was not measured."""
        sizes = {recipe.batch_size for recipe in recipes}
        return min(
            (one for recipe in recipes for one in self._found.get(_key(job, recipe), [])),
            key=lambda one: (one.setting.batch_size not in sizes, one.setting.kind != "cuda", str(one.setting)),
            default=None,
        )


def _key(job: Job, recipe: Recipe) -> _Key:
    return job.methods, job.backbone, job.dataset.task, job.trainer_revision, recipe.of_cost(1)


def speed_lines(measured: Sequence[tuple[str, Measured | None]]) -> list[str]:
    """What a reader must know of the speed columns; `measured` are the rows of a section by title."""
    by_setting: dict[Setting, list[str]] = {}
    for title, one in measured:
        if one is not None:
            by_setting.setdefault(one.setting, []).append(title)
    if not by_setting:
        return []
    kinds = {setting.kind for setting in by_setting}
    memory = [text for kind, text in _MEMORY.items() if kind in kinds]
    spread = max(_spread_pct(one) for _, one in measured if one is not None)
    how = "each row alone, in a process of its own, on noise images; median of windows, which lie up to "
    how += f"{spread:.0f} % apart; memory: {' / '.join(memory)}"
    if len(by_setting) == 1:
        return [f"Speed and memory on {next(iter(by_setting))}: {how}"]
    lines = [f"Speed and memory: {how}. Not all rows were measured alike; compare only within:"]
    return lines + [
        f"  {setting}: {', '.join(titles)}"
        for setting, titles in sorted(by_setting.items(), key=lambda one: str(one[0]))
    ]


def _spread_pct(one: Measured) -> float:
    return max((value for name, value in one.metrics.items() if name.endswith("_spread_pct")), default=0.0)


_MEMORY = {
    "cuda": "peak of what torch allocated on the GPU",
    "cpu": "growth of resident memory (libraries load and buffers stay: small models look large)",
}
