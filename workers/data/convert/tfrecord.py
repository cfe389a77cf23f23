"""TFRecord files without TensorFlow: the framing, its checksums, and tf.train.Example.

A record is a little-endian uint64 length, a masked CRC-32C of those 8 bytes, the payload, and a masked CRC-32C of the
payload (tensorflow.org/tutorials/load_data/tfrecord). CRC-32C is computed in numpy, over many parts of a payload at
once, joined by shifting each part's remainder over the bytes that follow it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.data.convert.source import missing_package
from workers.errors import ConversionFailed

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_ONES = 0xFFFFFFFF
_HEADER_BYTES, _CHECKSUM_BYTES = 12, 4
_SHORT = 64  # bytes up to which a plain loop is faster


@dataclass(frozen=True)
class Record:
    """Where a payload lies in its file, in bytes."""

    file: Path
    offset: int
    size: int


def records(file: Path) -> Iterator[Record]:
    """Every record of a file, from its lengths alone. Raises ConversionFailed at the first damage, OSError."""
    total = file.stat().st_size
    with file.open("rb") as opened:
        position = 0
        while position < total:
            header = opened.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                raise ConversionFailed(f"{file.name} ends within the header of a record, at byte {position:,}")
            size, checksum = struct.unpack("<QI", header)
            if masked_crc32c(header[:8]) != checksum:
                raise ConversionFailed(
                    f"{file.name}: the length of the record at byte {position:,} has a wrong checksum"
                )
            end = position + _HEADER_BYTES + size + _CHECKSUM_BYTES
            if end > total:
                raise ConversionFailed(
                    f"{file.name} is truncated: the record at byte {position:,} ends behind the file"
                )
            yield Record(file, position + _HEADER_BYTES, size)
            position = end
            opened.seek(position)


def payload(record: Record) -> bytes:
    """Raises ConversionFailed where the checksum is wrong, OSError."""
    with record.file.open("rb") as opened:
        opened.seek(record.offset)
        data = opened.read(record.size + _CHECKSUM_BYTES)
    if len(data) < record.size + _CHECKSUM_BYTES:
        raise ConversionFailed(f"{record.file.name} is truncated within the record at byte {record.offset:,}")
    if masked_crc32c(data[: record.size]) != struct.unpack("<I", data[record.size :])[0]:
        raise ConversionFailed(f"{record.file.name}: the record at byte {record.offset:,} has a wrong checksum")
    return data[: record.size]


def features(message: bytes) -> dict[str, list[Any]]:
    """Name -> values (bytes, floats or ints) of a serialized tf.train.Example. Raises ConversionFailed."""
    kind, damage = _example_class()
    try:
        parsed = kind.FromString(message)
    except damage as error:
        raise ConversionFailed(f"a record is no tf.train.Example ({error})") from None
    return {name: list(getattr(one, one.WhichOneof("kind")).value) if one.WhichOneof("kind") else []
            for name, one in parsed.features.feature.items()}  # fmt: skip


def masked_crc32c(data: bytes) -> int:
    """TFRecord's checksum: CRC-32C, turned by 15 bits, plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & _ONES


def crc32c(data: bytes) -> int:
    """CRC-32C of bytes (RFC 3720, appendix B.4)."""
    table = _table()
    if len(data) <= _SHORT:
        crc = _ONES
        for byte in data:
            crc = int(table[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
        return crc ^ _ONES
    width = 16 if len(data) < 1 << 13 else 64 if len(data) < 1 << 16 else 512
    padded = np.zeros(-(-len(data) // width) * width, dtype=np.uint8)  # zeros in front change no remainder
    padded[-len(data) :] = np.frombuffer(data, dtype=np.uint8)
    padded[padded.size - len(data) :][:4] ^= 0xFF  # the same as to start with ones
    parts = padded.reshape(-1, width)
    remainders = np.zeros(len(parts), dtype=np.uint32)
    for column in parts.T:
        remainders = table[(remainders ^ column) & 0xFF] ^ (remainders >> 8)
    shifts, crc = _shifts(width), 0
    for remainder in remainders.tolist():
        crc = shifts[0][crc & 0xFF] ^ shifts[1][crc >> 8 & 0xFF] ^ shifts[2][crc >> 16 & 0xFF] ^ shifts[3][crc >> 24]
        crc ^= remainder
    return crc ^ _ONES


@cache
def _table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@cache
def _shifts(count: int) -> tuple[tuple[int, ...], ...]:
    """For each byte of a remainder: what it becomes when `count` zero bytes follow."""
    table = _table()
    remainders = np.arange(256, dtype=np.uint32) << np.array([0, 8, 16, 24], dtype=np.uint32)[:, None]
    for _ in range(count):
        remainders = table[remainders & 0xFF] ^ (remainders >> 8)
    return tuple(tuple(row.tolist()) for row in remainders)


@cache
def _example_class() -> tuple[Any, type[Exception]]:
    """The message class of tf.train.Example (tensorflow/core/example), and the error of its parser."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
    except ModuleNotFoundError:
        raise missing_package("protobuf", "reading TFRecord files") from None
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="sweepboard/example.proto", package="sweepboard", syntax="proto3")
    values = (("BytesList", kinds.TYPE_BYTES), ("FloatList", kinds.TYPE_FLOAT), ("Int64List", kinds.TYPE_INT64))
    for name, kind in values:
        file.message_type.add(name=name).field.add(name="value", number=1, label=kinds.LABEL_REPEATED, type=kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (field, (name, _)) in enumerate(
        zip(("bytes_list", "float_list", "int64_list"), values, strict=True), 1
    ):
        feature.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_MESSAGE,
                          type_name=f".sweepboard.{name}", oneof_index=0)  # fmt: skip
    holder = file.message_type.add(name="Features")
    entry = holder.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
    for owner, name, number, label, target in (
        (entry, "value", 2, kinds.LABEL_OPTIONAL, "Feature"),
        (holder, "feature", 1, kinds.LABEL_REPEATED, "Features.FeatureEntry"),
        (file.message_type.add(name="Example"), "features", 1, kinds.LABEL_OPTIONAL, "Features"),
    ):
        owner.field.add(
            name=name, number=number, label=label, type=kinds.TYPE_MESSAGE, type_name=f".sweepboard.{target}"
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sweepboard.Example")), message.DecodeError
