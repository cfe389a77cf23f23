"""Job: one frozen record of all that decides a number, named by its content."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from storage.records.canonical import Params, canonical_json, digest, frozen, text_digest
from storage.records.recipe import Recipe

SCHEMA = 1
"""Version of the record itself; raised when a field is added that changes what a job means."""

CLASSIFICATION, SEGMENTATION = "classification", "segmentation"
"""Kinds of task: one class per image, or one binary mask per image."""

FEATURES = "features"
"""The kind of artifact that holds what a frozen backbone makes of one split (input `split`)."""


class Phase(StrEnum):
    """What kind of work a job is (DESIGN, phases)."""

    PREPARE = "prepare"  # makes a shared artifact
    SEARCH = "search"  # trains on train800, scores on val200, cannot open the test split
    FINAL = "final"  # trains on train800val200, reads the test split once, after the last epoch
    EVALUATE = "evaluate"  # a parent's delta on another test set or at another merge rate
    MEASURE = "measure"  # speed and memory, alone on the device
    PREFLIGHT = "preflight"  # a few steps of another job, to see that it can run; never stored


@dataclass(frozen=True)
class MethodCall:
    """A method with resolved hyper-parameters; `revision` changes whenever its results do."""

    name: str
    revision: int
    params: Params = ()

    @property
    def kwargs(self) -> dict[str, Any]:
        return dict(self.params)

    @cached_property
    def canonical(self) -> str:
        return canonical_json({"name": self.name, "revision": self.revision, "params": self.kwargs})


@dataclass(frozen=True)
class BackboneRef:
    """A pre-trained backbone. Weights are named by hash; mean and std come from the checkpoint, not from habit.

    `weights_hash`: 64 hex of SHA-256 over the weights file; "random" (initialised from the job's seed) or
    "none" (nothing to load). `forced`: the spec gave a mean or a std that is not the checkpoint's.
    """

    name: str
    weights_hash: str
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    forced: bool = False

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of all fields; `forced` only where it is so."""
        return canonical_json({name: value for name, value in asdict(self).items() if name != "forced" or value})


@dataclass(frozen=True)
class DatasetRef:
    """A data set, e.g. `embedded/digits`, named by the hash of its lists and images (or of its formula).

    `task`: what is predicted of an image; `classes` is 1 for the masks of a segmentation.
    """

    name: str
    data_hash: str
    classes: int
    task: str = CLASSIFICATION

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of all fields; `task` only where it is another than classification."""
        fields = {name: value for name, value in asdict(self).items() if name != "task" or value != CLASSIFICATION}
        return canonical_json(fields)


@dataclass(frozen=True)
class ArtifactKey:
    """The name of something shared: what kind it is and the inputs that decide it."""

    kind: str
    inputs: Params

    @cached_property
    def canonical(self) -> str:
        return canonical_json({"kind": self.kind, "inputs": dict(self.inputs)})

    @cached_property
    def key_id(self) -> str:
        return f"{self.kind}-{text_digest(self.canonical)}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that decides a number. Device, worker count, priority and paths are not in it.

    A prepare job `makes` an artifact and trains nothing; other jobs list the artifacts they `need`. A measure job alone
    has a `device` ("cpu" or "cuda"), because its numbers are the device's.

    An evaluate job alone has a `parent`, the id of the final job whose delta it reads, which was `trained_on` another
    data set, in general, than the one that it evaluates. Its `class_map`: for each class of `dataset`, the class of
    `trained_on` that it stands for (the column of the parent's logits).
    """

    phase: Phase
    methods: tuple[MethodCall, ...]
    backbone: BackboneRef
    dataset: DatasetRef
    train_split: str
    score_split: str
    recipe: Recipe
    seed: int
    trainer_revision: int
    protocol: str = "honest"
    makes: ArtifactKey | None = None
    needs: tuple[ArtifactKey, ...] = ()
    parent: str | None = None
    device: str | None = None
    trained_on: DatasetRef | None = None
    class_map: tuple[int, ...] | None = None
    schema: int = SCHEMA

    @cached_property
    def job_id(self) -> str:
        """First 16 hex of SHA-256 over the canonical JSON of all fields; `device`, `trained_on` and `class_map` only
        where there are such."""
        return text_digest(self.canonical())

    @cached_property
    def protocol_id(self) -> str:
        """What must agree before two rows are ranked on a task (DESIGN, protocol)."""
        return digest(
            {
                "test": [self.dataset.name, self.dataset.data_hash, self.score_split],
                "train": self.train_split,
                "weights": self.backbone.weights_hash,
                "input": [
                    list(self.backbone.mean),
                    list(self.backbone.std),
                    self.backbone.interpolation,
                    self.backbone.crop_pct,
                    self.recipe.image_size,
                    self.recipe.resize,
                ],
                "selection": self.protocol,
                "precision": self.recipe.precision,
                **self._transfer,
            }
        )

    @property
    def _transfer(self) -> dict[str, list[object]]:
        """What parts an evaluate job's number from others on the same images."""
        if self.trained_on is None or self.trained_on == self.dataset:
            return {}
        classes = None if self.class_map is None else list(self.class_map)
        return {"trained_on": [self.trained_on.name, self.trained_on.data_hash], "class_map": [classes]}

    @property
    def stack(self) -> str:
        """The method stack's name, e.g. `lora+pyra`."""
        return "+".join(call.name for call in self.methods)

    def canonical(self) -> str:
        """The canonical JSON of all fields, joined from the texts of the parts.

        Ten thousand jobs of a plan share a few recipes, backbones and data sets: writing each of those once makes
        an id eight times cheaper. `canonical_json(job.to_json())` is the same text.
        """
        parts = {
            "backbone": self.backbone.canonical,
            **({} if self.class_map is None else {"class_map": json.dumps(self.class_map, separators=(",", ":"))}),
            "dataset": self.dataset.canonical,
            **({} if self.device is None else {"device": json.dumps(self.device)}),
            "makes": "null" if self.makes is None else self.makes.canonical,
            "methods": f"[{','.join(call.canonical for call in self.methods)}]",
            "needs": f"[{','.join(key.canonical for key in self.needs)}]",
            "parent": json.dumps(self.parent),
            "phase": json.dumps(self.phase),
            "protocol": json.dumps(self.protocol),
            "recipe": self.recipe.canonical,
            "schema": str(self.schema),
            "score_split": json.dumps(self.score_split),
            "seed": str(self.seed),
            "train_split": json.dumps(self.train_split),
            **({} if self.trained_on is None else {"trained_on": self.trained_on.canonical}),
            "trainer_revision": str(self.trainer_revision),
        }
        return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `Job.from_json(job.to_json()) == job`."""
        record: dict[str, Any] = json.loads(self.canonical())
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Job:
        """The job that `to_json` wrote. Raises KeyError or TypeError when the record is not one."""
        backbone, dataset = dict(record["backbone"]), dict(record["dataset"])
        trained_on, class_map = record.get("trained_on"), record.get("class_map")
        backbone["mean"] = tuple(float(x) for x in backbone["mean"])
        backbone["std"] = tuple(float(x) for x in backbone["std"])
        backbone["crop_pct"] = float(backbone["crop_pct"])
        return cls(
            **{
                **record,
                "phase": Phase(record["phase"]),
                "methods": tuple(
                    MethodCall(call["name"], call["revision"], frozen(call["params"])) for call in record["methods"]
                ),
                "backbone": BackboneRef(**backbone),
                "dataset": DatasetRef(**dataset),
                "recipe": Recipe(**record["recipe"]),
                "makes": None if record["makes"] is None else _key_from(record["makes"]),
                "needs": tuple(_key_from(key) for key in record["needs"]),
                "trained_on": None if trained_on is None else DatasetRef(**trained_on),
                "class_map": None if class_map is None else tuple(class_map),
            }
        )


def _key_from(record: dict[str, Any]) -> ArtifactKey:
    return ArtifactKey(record["kind"], frozen(record["inputs"]))
