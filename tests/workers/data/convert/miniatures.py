"""Small sources that the tests build, and what came of them."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from workers.data.convert.tfrecord import masked_crc32c


@cache
def encoded(number: int, kind: str = "PNG", size: tuple[int, int] = (5, 4)) -> bytes:
    """An image file, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def class_tree(folder: Path, *, splits: Sequence[str] = (), classes: str = "ab", each: int = 10) -> Path:
    """`each` images per class and split; the file endings are mixed."""
    for index, (split, name) in enumerate((split, name) for split in splits or ("",) for name in classes):
        for image in range(each):
            kind, ending = (("PNG", "png"), ("JPEG", "JPG"))[image % 2]
            put(folder / split / name / f"{image} x.{ending}", encoded(1000 * index + image, kind))
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Path -> hash of every file except the card."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "conversion.json"
    }


def card(folder: Path) -> dict[str, object]:
    return json.loads((folder / "conversion.json").read_text())


def listed(folder: Path, name: str) -> list[tuple[str, str]]:
    lines = (folder / name).read_text().splitlines()
    return [(path, label) for path, _, label in (line.rpartition(" ") for line in lines)]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # negative numbers take ten bytes
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protocol buffer, written by hand: the reader under test has code of its own."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def example(**features: Sequence[bytes] | Sequence[int] | Sequence[float]) -> bytes:
    """A serialized tf.train.Example; `__` in a name stands for a slash."""
    entries = b""
    for name, values in features.items():
        if values and isinstance(values[0], bytes):
            value = field(1, b"".join(field(1, one) for one in values))
        elif values and isinstance(values[0], float):
            value = field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            value = field(3, field(1, b"".join(varint(one) for one in values)))
        entries += field(1, field(1, name.replace("__", "/").encode()) + field(2, value))
    return field(1, entries)


def record(payload: bytes) -> bytes:
    """One record of a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (length, payload))
    return length + next(checks) + payload + next(checks)


def write_shards(folder: Path, name: str, split: str, shards: Sequence[Sequence[bytes]]) -> dict[str, object]:
    """TFRecord shards of examples; what dataset_info.json says of the split."""
    for index, examples in enumerate(shards):
        file = folder / f"{name}-{split}.tfrecord-{index:05d}-of-{len(shards):05d}"
        put(file, b"".join(record(one) for one in examples))
    return {"name": split, "shardLengths": [str(len(shard)) for shard in shards]}


def write_tfds(
    folder: Path, name: str, features: dict[str, object], splits: dict[str, Sequence[Sequence[bytes]]]
) -> Path:
    """A prepared folder of TensorFlow Datasets."""
    infos = [write_shards(folder, name, split, shards) for split, shards in splits.items()]
    put(folder / "dataset_info.json", json.dumps({"name": name, "version": "3.0.2", "splits": infos}).encode())
    put(folder / "features.json", json.dumps({"featuresDict": {"features": features}}).encode())
    return folder


IMAGE = {"pythonClassName": "Image", "image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8"}}


def class_label(count: int) -> dict[str, object]:
    return {"pythonClassName": "ClassLabel", "classLabel": {"numClasses": str(count)}}
