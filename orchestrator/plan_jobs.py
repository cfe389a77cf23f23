"""One point of the product -> its job, and the prepare jobs that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from methods.api import BackboneFacts, MethodError
from methods.facts import MethodFacts, Params, Value, refuse_stack
from methods.params import resolve_params
from orchestrator.plan_variants import Variant
from orchestrator.recipes import resolved_recipe
from orchestrator.resolve import Backbone, Lookup
from storage.records import ArtifactKey, DatasetRef, Job, MethodCall, Phase, Recipe, frozen
from workers.backbone_facts import facts_at
from workers.errors import Unsupported

Change = tuple[str, str, Value]
"""(method name, "train" or "resources"; field; value): one assignment of an override."""

_SPLITS = {Phase.FINAL: ("train800val200", "test"), Phase.SEARCH: ("train800", "val200")}


@dataclass(frozen=True)
class Resolved:
    """All of a job but its data set and seed. `needs`: (kind, position of the method, what decides the artifact)."""

    calls: tuple[MethodCall, ...]
    recipe: Recipe
    resources: Mapping[str, float]
    needs: tuple[tuple[str, int, Params], ...]
    refusal: str | None


@dataclass
class JobMaker:
    """Makes jobs, with what many of them share made once."""

    lookup: Lookup
    _keys: dict[tuple[object, ...], ArtifactKey] = field(default_factory=dict)

    def resolve(self, variant: Variant, backbone: Backbone, changes: tuple[Change, ...]) -> Resolved:
        """Overrides applied, the plan's own values filled in; a recipe that cannot be is a problem of the spec."""
        spec = self.lookup.spec
        params = tuple(
            resolve_params(facts, dict(own) | _set(changes, facts.name))[0]
            for facts, own in zip(variant.methods, variant.params, strict=True)
        )
        size = backbone.facts.image_size if backbone.facts else None
        train: dict[str, Any] = _set(changes, "train")
        recipe = resolved_recipe(replace(variant.recipe, **train), size)
        for name, text in recipe.problems():
            path = variant.stack.train_path or ("train",)
            self.lookup.problem((*path, name), f"{text} (for {variant.stack.name} on {backbone.ref.name})")
        params, refusal = _settled(variant.methods, params, backbone.facts, recipe.image_size)
        resources: dict[str, Any] = {**spec.resources, **_set(changes, "resources")}
        needs = tuple(
            (kind, position, deciding)
            for position, (facts, own) in enumerate(zip(variant.methods, params, strict=True))
            for kind, deciding in facts.needs_for(own)
        )
        calls = tuple(
            MethodCall(facts.name, facts.revision, own) for facts, own in zip(variant.methods, params, strict=True)
        )
        return Resolved(calls, recipe, resources, needs, refusal)

    def job(self, resolved: Resolved, backbone: Backbone, dataset: DatasetRef, seed: int) -> Job:
        """The job at that point."""
        spec = self.lookup.spec
        phase = Phase(spec.phase)
        train_split, score_split = _SPLITS[phase]
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
            needs=tuple(self._key(need, (resolved, backbone, dataset, train_split, seed)) for need in resolved.needs),
        )

    def _key(
        self, need: tuple[str, int, Params], point: tuple[Resolved, Backbone, DatasetRef, str, int]
    ) -> ArtifactKey:
        kind, position, params = need
        resolved, backbone, dataset, split, seed = point
        call, recipe, ref = resolved.calls[position], resolved.recipe, backbone.ref
        read = (recipe.image_size, recipe.resize, recipe.precision)
        short = (kind, call.name, params, ref, read, dataset.name, seed)
        if short not in self._keys:
            inputs: dict[str, object] = {
                "method": call.name,
                "revision": call.revision,
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
                "seed": seed,
            }
            inputs |= {f"{call.name}.{name}": value for name, value in params}
            self._keys[short] = ArtifactKey(kind, frozen(inputs))
        return self._keys[short]

    def prepare_job(self, job: Job, key: ArtifactKey) -> Job:
        """The job that makes an artifact; equal for all jobs that need that key, whatever else they do."""
        inputs = dict(key.inputs)
        name = inputs["method"]
        params = {field.partition(".")[2]: value for field, value in key.inputs if field.startswith(f"{name}.")}
        return replace(
            job,
            phase=Phase.PREPARE,
            methods=(MethodCall(str(name), int(str(inputs["revision"])), frozen(params)),),
            score_split="",
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


def _set(changes: tuple[Change, ...], owner: str) -> dict[str, Value]:
    """What the changes give to one owner; the last one wins."""
    return {name: value for target, name, value in changes if target == owner}
