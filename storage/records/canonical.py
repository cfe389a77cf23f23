"""One spelling per value: canonical JSON, the digests made from it, and mappings that can be frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TypeAlias

Value: TypeAlias = "bool | int | float | str | tuple[Value, ...] | None"
"""What a hyper-parameter can be: JSON without objects, lists written as tuples, so that records hash."""

Params: TypeAlias = tuple[tuple[str, Value], ...]
"""A frozen mapping: (name, value) pairs sorted by name."""

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

DIGEST_HEX = 16
_LARGEST_EXACT_INT = 2**53


def frozen(mapping: Mapping[str, object]) -> Params:
    """The mapping as sorted pairs with every list turned into a tuple.

    >>> frozen({"targets": ["qkv"], "rank": 8})
    (('rank', 8), ('targets', ('qkv',)))
    """
    return tuple((name, _frozen_value(mapping[name])) for name in sorted(mapping))


def _frozen_value(value: object) -> Value:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return tuple(_frozen_value(item) for item in value)
    raise TypeError(f"a record holds numbers, strings, booleans and lists of them, not {type(value).__name__}")


def thawed(value: object) -> Json:
    """The JSON form of a frozen value: tuples become lists, integral floats become integers.

    `1` and `1.0` are one value here: a user who writes `lr: 1` and one who writes `lr: 1.0` name the same job.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT_INT:
        return int(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(item) for item in value]
    raise TypeError(f"not JSON: {type(value).__name__}")


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces, no NaN; equal values have equal text whatever the key order.

    >>> canonical_json({"b": 1.0, "a": (1, 2.5)})
    '{"a":[1,2.5],"b":1}'
    """
    return json.dumps(thawed(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: object) -> str:
    """The first 16 hex digits of SHA-256 over the canonical JSON."""
    return text_digest(canonical_json(value))


def text_digest(text: str) -> str:
    """The first 16 hex digits of SHA-256 over a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_HEX]
