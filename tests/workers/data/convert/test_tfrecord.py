"""TFRecord framing, CRC-32C and tf.train.Example, against numbers of others and bytes written by hand."""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.workers.data.convert.miniatures import example, put, record
from workers.data.convert.tfrecord import crc32c, features, masked_crc32c, payload, records
from workers.errors import ConversionFailed

RFC_3720 = {
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(reversed(range(32))): 0x113FDB5C,
    b"123456789": 0xE3069283,
}


def by_bits(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_checksums_are_those_of_the_standard():
    assert {data: crc32c(data) for data in RFC_3720} == RFC_3720


@pytest.mark.parametrize("size", [0, 1, 64, 65, 66, 80, 81, 8191, 8192, 8193, 65_535, 65_536, 70_001])
def test_checksums_of_every_length_are_those_of_the_bitwise_definition(size):
    data = (zlib.compress(str(size).encode()) * (size // 8 + 1))[:size]
    assert crc32c(data) == by_bits(data)


def test_the_mask_is_tensorflows():
    """An empty record as TensorFlow writes it: length 0, its masked checksum, the masked checksum of nothing."""
    assert record(b"").hex() == "0000000000000000" + "29039807" + "d8ea82a2"
    assert masked_crc32c(b"") == 0xA282EAD8


def test_records_and_their_values_are_read(tmp_path):
    messages = [example(image=[b"jpeg"], label=[3], negative=[-1], objects__z=[1.5, -2.0]), example(label=[])]
    file = put(tmp_path / "x.tfrecord", b"".join(record(one) for one in messages))
    found = [features(payload(one)) for one in records(file)]
    assert found[0] == {"image": [b"jpeg"], "label": [3], "negative": [-1], "objects/z": [1.5, -2.0]}
    assert found[1] == {"label": []}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[:-3], "x.tfrecord is truncated: the record at byte 36"),
        (lambda data: data[:40], "ends within the header of a record, at byte 36"),
        (lambda data: struct.pack("<Q", 21) + data[8:], "the length of the record at byte 0 has a wrong checksum"),
        (lambda data: data[:15] + b"?" + data[16:], "the record at byte 12 has a wrong checksum"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, spoil, words):
    data = record(b"a" * 20) + record(b"b" * 20)
    file = put(tmp_path / "x.tfrecord", spoil(data))
    with pytest.raises(ConversionFailed, match=words):
        [payload(one) for one in records(file)]


def test_what_is_no_example_is_told():
    with pytest.raises(ConversionFailed, match=r"no tf\.train\.Example"):
        features(b"\xff\xff\xff")
