"""One point of the product -> its job, and the prepare jobs that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from methods.api import BackboneFacts, MethodError
from methods.facts import MethodFacts, Params, Value, refuse_stack
from methods.params import resolve_params
from orchestrator.plan_axes import TRAIN
from orchestrator.plan_recipes import Change
from orchestrator.plan_rows import row_of
from orchestrator.plan_variants import Variant, trained_part
from orchestrator.recipes import resolved_recipe
from orchestrator.resolve import Backbone, Lookup
from storage.records import CLASSIFICATION, FEATURES, ArtifactKey, DatasetRef, Job, MethodCall, Phase, Recipe, frozen
from workers.backbone_facts import facts_at
from workers.errors import Unsupported
from workers.segmentation.rules import recommended, refusal
from workers.weights import RANDOM_WEIGHTS

_Read = tuple["Resolved", Backbone, DatasetRef, str]
"""What an artifact is made from: the pixels that a recipe reads, the backbone, the data set and its split."""

_SPLITS = {Phase.FINAL: ("train800val200", "test"), Phase.SEARCH: ("train800", "val200")}


@dataclass(frozen=True)
class Resolved:
    """All of a job but its data set and seed. `needs`: (kind, position of the method, what decides the artifact);
    `shares_features`: the job reads frozen features of both its splits. `trained`: of a stack with members off the
    shelf, what its parent is made of, and that one's row."""

    calls: tuple[MethodCall, ...]
    recipe: Recipe
    resources: Mapping[str, float]
    needs: tuple[tuple[str, int, Params], ...]
    shares_features: bool
    refusal: str | None
    trained: tuple[Resolved, str] | None = None
    changes: tuple[Change, ...] = ()


@dataclass
class JobMaker:
    """Makes jobs, with what many of them share made once."""

    lookup: Lookup
    phase: Phase | None = None  # None: the spec's
    _keys: dict[tuple[object, ...], ArtifactKey] = field(default_factory=dict)

    def resolve(self, variant: Variant, backbone: Backbone, changes: tuple[Change, ...], task: str) -> Resolved:
        """Changes applied, the last one last, the plan's own values filled in; a recipe that cannot be is a problem."""
        spec = self.lookup.spec
        family = backbone.facts.family if backbone.facts else None
        params = tuple(
            resolve_params(facts, dict(own) | _of_task(variant, position, task) | _set(changes, facts.name))[0]
            for position, (facts, own) in enumerate(zip(variant.methods, variant.params, strict=True))
        )
        size = backbone.facts.image_size if backbone.facts else None
        train: dict[str, Any] = {**_recommended(variant, task, family), **_set(changes, "train")}
        recipe = resolved_recipe(replace(variant.recipe, **train), size)
        for name, text in recipe.problems():
            path = variant.stack.train_path or ("train",)
            by = "" if variant.published is None else f", recipe {variant.published.name}"
            self.lookup.problem((*path, name), f"{text} (for {variant.stack.name} on {backbone.ref.name}{by})")
        params, reason = _settled(variant.methods, params, backbone.facts, recipe.image_size)
        reason = reason or refusal(task, family, variant.methods, recipe)
        resources: dict[str, Any] = {**spec.resources, **_set(changes, "resources")}
        needs = tuple(
            (kind, position, deciding)
            for position, (facts, own) in enumerate(zip(variant.methods, params, strict=True))
            for kind, deciding in facts.needs_for(own)
        )
        calls = tuple(
            MethodCall(facts.name, facts.revision, facts.named_by(own))
            for facts, own in zip(variant.methods, params, strict=True)
        )
        # Raw pixels cost nothing to make, and their features are larger than the images.
        is_plain = recipe.sees_images_as_they_are and (backbone.facts is None or backbone.facts.macs > 0)
        shares = is_plain and task == CLASSIFICATION and all(facts.keeps_features for facts in variant.methods)
        trained = None
        if variant.stack.off_the_shelf:
            rest = trained_part(variant)
            trained = (self.resolve(rest, backbone, changes, task), row_of(rest))
        return Resolved(calls, recipe, resources, needs, shares, reason, trained, changes)

    def job(self, resolved: Resolved, backbone: Backbone, dataset: DatasetRef, seed: int) -> Job:
        """The job at that point."""
        spec = self.lookup.spec
        phase = self.phase or Phase(spec.phase)
        train_split, score_split = _SPLITS[phase]
        read = (resolved, backbone, dataset)
        needs = [self._of_method(need, (*read, train_split), seed) for need in resolved.needs]
        if resolved.shares_features:
            needs += [self._features((*read, split), seed) for split in (train_split, score_split)]
        return Job(
            phase=phase,
            methods=resolved.calls,
            backbone=backbone.ref,
            dataset=dataset,
            train_split=train_split,
            score_split=score_split,
            recipe=resolved.recipe,
            seed=seed,
            trainer_revision=self.lookup.catalogue.trainer_revision,
            protocol=spec.protocol,
            needs=tuple(needs),
        )

    def _of_method(self, need: tuple[str, int, Params], read: _Read, seed: int) -> ArtifactKey:
        kind, position, params = need
        call = read[0].calls[position]
        own = {f"{call.name}.{name}": value for name, value in params}
        return self._key(kind, read, {"method": call.name, "revision": call.revision, "seed": seed, **own})

    def _features(self, read: _Read, seed: int) -> ArtifactKey:
        """Weights drawn from the seed give every seed its own features."""
        is_drawn = read[1].ref.weights_hash == RANDOM_WEIGHTS
        return self._key(FEATURES, read, {"seed": seed} if is_drawn else {})

    def _key(self, kind: str, read: _Read, own: Mapping[str, Value]) -> ArtifactKey:
        resolved, backbone, dataset, split = read
        recipe, ref = resolved.recipe, backbone.ref
        pixels = (recipe.image_size, recipe.resize, recipe.precision)
        short = (kind, tuple(own.items()), ref, pixels, dataset.name, split)
        if short not in self._keys:
            inputs: dict[str, object] = {
                "trainer_revision": self.lookup.catalogue.trainer_revision,
                "backbone": ref.name,
                "weights": ref.weights_hash,
                "mean": ref.mean,
                "std": ref.std,
                "interpolation": ref.interpolation,
                "crop_pct": ref.crop_pct,
                "dataset": dataset.name,
                "data": dataset.data_hash,
                "split": split,
                "image_size": recipe.image_size,
                "resize": recipe.resize,
                "precision": recipe.precision,
            }
            self._keys[short] = ArtifactKey(kind, frozen({**inputs, **own}))
        return self._keys[short]

    def prepare_job(self, job: Job, key: ArtifactKey) -> Job:
        """The job that makes an artifact; equal for all jobs that need that key, whatever else they do."""
        inputs = dict(key.inputs)
        return replace(
            job,
            phase=Phase.PREPARE,
            methods=_makers(key),
            train_split=str(inputs["split"]),
            score_split="",
            seed=int(str(inputs.get("seed", 0))),
            recipe=Recipe(
                epochs=1,
                warmup_epochs=0.0,
                image_size=job.recipe.image_size,
                resize=job.recipe.resize,
                precision=job.recipe.precision,
            ),
            protocol="honest",
            makes=key,
            needs=(),
        )


def made_row(job: Job) -> str:
    """What a prepare job is called in lists."""
    kind = "" if job.makes is None else job.makes.kind
    return f"{kind}({job.train_split})" if kind == FEATURES else kind


def _makers(key: ArtifactKey) -> tuple[MethodCall, ...]:
    """The method that makes an artifact; none for what the plain backbone makes."""
    inputs = dict(key.inputs)
    if "method" not in inputs:
        return ()
    name = str(inputs["method"])
    params = {field.partition(".")[2]: value for field, value in key.inputs if field.startswith(f"{name}.")}
    return (MethodCall(name, int(str(inputs["revision"])), frozen(params)),)


def _settled(
    methods: Sequence[MethodFacts], params: tuple[Params, ...], facts: BackboneFacts | None, image_size: int | None
) -> tuple[tuple[Params, ...], str | None]:
    """The hyper-parameters fitted to the backbone at that image size, and why they or the methods cannot be."""
    reason = refuse_stack(methods, facts.family if facts else None)
    if reason is not None or facts is None:
        return params, reason
    try:
        here = facts_at(facts, image_size)
        return tuple(method.settled(own, here) for method, own in zip(methods, params, strict=True)), None
    except (MethodError, Unsupported) as error:
        return params, str(error)


def _of_task(variant: Variant, position: int, task: str) -> dict[str, Value]:
    """What a method defaults to on another kind of task, where the spec gives nothing."""
    values = variant.methods[position].by_task.get(task, {})
    return {name: value for name, value in values.items() if (position, name) not in variant.given}


def _recommended(variant: Variant, task: str, family: str | None) -> dict[str, Value]:
    values = recommended(task, family)
    return {name: value for name, value in values.items() if (TRAIN, name) not in variant.given}


def _set(changes: tuple[Change, ...], owner: str) -> dict[str, Value]:
    """What the changes give to one owner; the last one wins."""
    return {name: value for target, name, value in changes if target == owner}
