"""What a plan must know of a backbone without building it. Free of torch, unless a name is new to this machine."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache as remembered
from pathlib import Path
from typing import Any

from methods.api import BackboneFacts
from methods.params import did_you_mean
from storage.records.whole import written_whole
from workers.backbone_names import OLD_IN21K, absent, renamed
from workers.errors import UnknownBackbone, Unsupported

FACTS_FILE = Path(__file__).with_name("backbone_facts.json")
RAW_PIXELS = "raw_pixels"
_PATCHED = ("vit", "swin", "convnext", "sam")


@dataclass(frozen=True)
class KnownBackbone:
    """Facts, and where the default weights are published: a repository of the Hugging Face hub, if anywhere."""

    facts: BackboneFacts
    hub_repository: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `KnownBackbone.from_json(known.to_json()) == known`."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> KnownBackbone:
        """What `to_json` wrote."""
        given = record["facts"]
        facts = BackboneFacts(**{**given, "mean": tuple(given["mean"]), "std": tuple(given["std"])})
        return cls(facts, record["hub_repository"])


def facts_at(known: BackboneFacts, image_size: int | None) -> BackboneFacts:
    """The facts at another image size in pixels (None: its own): tokens follow, `macs` stays that of its own size.

    Raises Unsupported where whole patches do not cover the image.
    """
    if image_size is None or image_size == known.image_size:
        return known
    if known.family not in _PATCHED:
        return replace(known, image_size=image_size)
    side, rest = divmod(image_size, known.patch_size)
    if rest and known.family in ("vit", "sam"):
        near = " or ".join(str(known.patch_size * number) for number in (side, side + 1) if number)
        raise Unsupported(
            f"image_size {image_size} is no multiple of the patch size {known.patch_size} of {known.name}; use {near}"
        )
    return replace(known, image_size=image_size, tokens=known.prefix_tokens + side**2)


def facts(name: str, cache: Path) -> BackboneFacts | None:
    """The facts, from our table, from `cache`, or measured now with timm (seconds, then cached).

    None when only timm could tell and it is not installed. Raises UnknownBackbone.
    """
    known = known_backbone(name, cache)
    return known.facts if known else None


def known_backbone(name: str, cache: Path) -> KnownBackbone | None:
    """As `facts`, with the place of the default weights."""
    if name in table():
        return table()[name]
    if name in OLD_IN21K:
        raise UnknownBackbone(renamed(name, OLD_IN21K[name]))
    if (reason := absent(name)) is not None:
        raise UnknownBackbone(reason)
    path = cache / "backbones" / f"{name.replace('/', '_')}.json"
    if path.exists():
        return KnownBackbone.from_json(json.loads(path.read_text()))
    if importlib.util.find_spec("timm") is None:
        return None
    from workers.make_backbone_facts import is_buildable, measure, present_name

    if (present := present_name(name)) is not None:
        raise UnknownBackbone(renamed(name, (present,)))
    if not is_buildable(name):
        raise UnknownBackbone(
            f"no backbone is called {name!r}; expected a name of timm or one of {RAW_PIXELS}, nano_vit, pico_vit."
            f"{did_you_mean(name, _all_names())}"
        )
    known = measure(name)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(known.to_json()))
    return known


@remembered
def table() -> dict[str, KnownBackbone]:
    """The backbones that ship with their facts (`python -m workers.make_backbone_facts` writes them)."""
    records = json.loads(FACTS_FILE.read_text())
    return {name: KnownBackbone.from_json(record) for name, record in records.items()}


def _all_names() -> list[str]:
    import timm

    return [*table(), *timm.list_models()]
