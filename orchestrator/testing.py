"""A catalogue for tests: this installation's methods, tasks and backbone facts, with weights that are never opened."""

from __future__ import annotations

from collections.abc import Iterable

from methods.api import BackboneFacts
from methods.registry import COMING, facts, known_names
from orchestrator.catalogue import Catalogue
from orchestrator.spec_problems import named
from storage.records import BackboneRef, digest
from workers.backbone_facts import table
from workers.data import catalogue as data
from workers.errors import UnknownBackbone, WeightsMissing
from workers.weights import RANDOM_WEIGHTS


def shipped_catalogue(missing_weights: Iterable[str] = ()) -> Catalogue:
    """What ships with the package. Weights are named by a hash of their name; those of `missing_weights` are missing,
    as on a machine without network."""
    absent = frozenset(missing_weights)

    def backbone(name: str) -> BackboneFacts:
        if name not in table():
            raise UnknownBackbone(named("backbone", name, table()))
        return table()[name].facts

    def reference(name: str, weights: str | None) -> BackboneRef:
        known = backbone(name)
        if name in absent:
            raise WeightsMissing(f"weights of {name} are missing; write weights: path/to/file.safetensors")
        content = RANDOM_WEIGHTS if weights == RANDOM_WEIGHTS else digest([name, weights]) * 4
        return BackboneRef(name, content, known.mean, known.std, known.interpolation, known.crop_pct)

    return Catalogue(
        method_names=known_names(),
        method=facts,
        expand=data.expand,
        classes=lambda name: data.info(name).classes,
        task=lambda name: data.info(name).task,
        group=data.group_of,
        images=lambda name: (data.info(name).trained, data.info(name).test),
        class_names=data.class_names_of,
        data_hash=data.data_hash,
        backbone_facts=backbone,
        backbone_ref=reference,
        trainer_revision=1,
        coming_methods=COMING,
    )
