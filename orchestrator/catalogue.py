"""The look-ups that a plan needs of methods, data sets and backbones: one record, so that `plan` itself is pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from methods.api import BackboneFacts
from methods.facts import MethodFacts
from storage.records import CLASSIFICATION, BackboneRef


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Nothing here imports torch, as long as only methods of our own are asked for.

    `method` raises MethodError; `expand`, `classes`, `task`, `images`, `class_names` and `data_hash` raise
    UnknownDataset, DataMissing, DataUnreadable; `backbone_facts` and `backbone_ref` raise UnknownBackbone and
    WeightsMissing. `backbone_facts` answers None for a backbone that exists but has not been looked at here.
    `backbone_ref` takes a name and None, "default", "random" or the path of a weights file. `device`, "cpu" or "cuda",
    is what jobs that ask for no GPU run on: only measure jobs are named by it. `weights_root` is searched for weights
    files that a spec gives by bare name and that are not beside it. Specs may name `coming_methods`: their rows are
    left out.
    """

    method_names: tuple[str, ...]
    method: Callable[[str], MethodFacts]
    expand: Callable[[str], tuple[str, ...]]
    classes: Callable[[str], int]
    images: Callable[[str], tuple[int, int]]  # training images of a final job, test images
    class_names: Callable[[str], tuple[str, ...] | None]  # by label; None where nobody has named them
    data_hash: Callable[[str], str]
    backbone_facts: Callable[[str], BackboneFacts | None]
    backbone_ref: Callable[[str, str | None], BackboneRef]
    trainer_revision: int
    task: Callable[[str], str] = lambda name: CLASSIFICATION
    group: Callable[[str], str | None] = lambda name: None  # in its suite
    device: str = "cpu"
    weights_root: Path | None = None
    coming_methods: frozenset[str] = frozenset()


def installed_catalogue(
    data_root: Path | None, cache: Path, device: str = "cpu", weights_root: Path | None = None
) -> Catalogue:
    """What this installation knows. `data_root` holds the user's data sets, `weights_root` weights files, `cache`
    remembers facts and hashes."""
    from methods.registry import COMING, facts, known_names
    from workers.backbone_facts import facts as backbone_facts
    from workers.data import catalogue as data
    from workers.data.check_lists import refuse_broken
    from workers.data.class_names import class_names
    from workers.revision import TRAINER_REVISION
    from workers.weights import reference

    def images(name: str) -> tuple[int, int]:
        info = data.info(name, data_root)
        return info.trained, info.test

    def data_hash(name: str) -> str:
        """Broken lists get no identity, so that nothing is planned on them."""
        if not name.startswith(f"{data.EMBEDDED_SUITE}/") and data.class_folders(name, data_root) is None:
            known = data.described(name, data_root)
            names = class_names(known.class_names) if known is not None and known.class_names else ()
            refuse_broken(name, data.dataset_folder(name, data_root), None if known is None else known.classes, names)
        return data.data_hash(name, data_root, cache)

    return Catalogue(
        method_names=known_names(),
        method=facts,
        expand=lambda pattern: data.expand(pattern, data_root),
        classes=lambda name: data.info(name, data_root).classes,
        images=images,
        class_names=lambda name: data.class_names_of(name, data_root),
        data_hash=data_hash,
        backbone_facts=lambda name: backbone_facts(name, cache),
        backbone_ref=lambda name, weights: reference(name, weights, cache),
        trainer_revision=TRAINER_REVISION,
        task=lambda name: data.info(name, data_root).task,
        group=lambda name: data.group_of(name, data_root),
        device=device.partition(":")[0],
        weights_root=weights_root,
        coming_methods=COMING,
    )
