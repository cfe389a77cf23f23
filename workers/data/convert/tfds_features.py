"""`features.json` of TensorFlow Datasets in its three spellings, as the newest one says it.

The newest is `{"pythonClassName", "featuresDict": {"features": …}}`. Before that it was `{"type", "content",
"proto_cls"}`, where the content is that same message, as an object or as text, and at first `{"type", "content"}` all
the way down, with names in snake case and shapes as lists.
"""

from __future__ import annotations

import json
from typing import Any

Feature = dict[str, Any]


def described(document: Feature) -> dict[str, Feature]:
    """Name -> feature, with keys `image`, `classLabel` or `tensor` where it is one; {} where there are none."""
    found = _newest(document).get("featuresDict", {})
    features = found.get("features", {}) if isinstance(found, dict) else {}
    return {name: _newest(feature) for name, feature in features.items() if isinstance(feature, dict)}


def is_image(feature: Feature) -> bool:
    """An encoded image, or a plain uint8 tensor of two or three dimensions."""
    tensor = feature.get("tensor", {})
    return "image" in feature or (tensor.get("dtype") == "uint8" and len(shape_of(feature)) in (2, 3))


def shape_of(feature: Feature) -> tuple[int, ...]:
    """Dimensions of a tensor."""
    return tuple(int(size) for size in feature["tensor"].get("shape", {}).get("dimensions", []))


def classes_of(feature: Feature) -> int | None:
    """How many classes a label has; None where it does not say."""
    count = feature.get("classLabel", {}).get("numClasses")
    return int(count) if count else None


def _newest(feature: Feature) -> Feature:
    if "content" not in feature:
        return feature
    content = feature["content"]
    content = json.loads(content) if isinstance(content, str) else content
    kind = str(feature.get("type", "")).rpartition(".")[2]
    if kind == "FeaturesDict":
        return {"featuresDict": {"features": content.get("features", content) if "proto_cls" in feature else content}}
    if kind == "ClassLabel":
        return {"classLabel": {"numClasses": content.get("numClasses", content.get("num_classes"))}}
    if kind == "Tensor":
        shape = content.get("shape", [])
        sizes = shape if isinstance(shape, list) else shape.get("dimensions", [])
        return {"tensor": {"dtype": content.get("dtype"), "shape": {"dimensions": sizes}}}
    return {"image": content} if kind == "Image" else {}
