"""Image files of every kind as RGB pixels, or an error that names the file."""

from __future__ import annotations

import errno
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from workers.data.cache import open_entry
from workers.data.catalogue import data_hash
from workers.data.decoding import as_rgb, opened
from workers.data.forms import EntryName
from workers.data.sources import FolderSource
from workers.errors import DataMissing, DataUnreadable, DiskFull


def _ignore(done: int, total: int) -> None:
    """Progress is of no interest here."""


def _decoded(path):
    with opened(path) as image:
        return np.asarray(as_rgb(image))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
def test_eight_bit_modes_are_what_pillow_makes_of_them(mode, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA") if mode == "RGBA" else Image.fromarray(pixels[..., :3]).convert(mode)
    path = tmp_path / f"image.{'tif' if mode == 'CMYK' else 'png'}"
    image.save(path)
    assert np.array_equal(_decoded(path), np.asarray(Image.open(path).convert("RGB")))


def test_alpha_is_dropped_and_not_composited(tmp_path):
    Image.new("RGBA", (3, 3), (200, 100, 50, 0)).save(tmp_path / "clear.png")
    assert _decoded(tmp_path / "clear.png")[0, 0].tolist() == [200, 100, 50]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert _decoded(tmp_path / "deep.png")[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_numbers_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataUnreadable, match=r"float.tif cannot be decoded .*save it as 8-bit PNG"):
        _decoded(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(DataUnreadable, match=r"levels go from 1048576"):
        _decoded(tmp_path / "wide.tif")


def test_a_wrong_extension_does_not_matter(tmp_path):
    Image.new("RGB", (5, 5), (9, 8, 7)).save(tmp_path / "photo.jpg", format="PNG")
    assert _decoded(tmp_path / "photo.jpg")[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3)])
def test_odd_sizes_are_decoded(size, tmp_path):
    Image.new("RGB", size).save(tmp_path / "odd.png")
    assert _decoded(tmp_path / "odd.png").shape == (size[1], size[0], 3)


def test_20000_pixels_square_are_refused_before_they_fill_the_memory(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT", b"IEND"]
    coded = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(coded))
    with pytest.raises(DataUnreadable, match=r"bomb.png is too large to be decoded .*make it smaller"):
        _decoded(tmp_path / "bomb.png")


def test_what_is_no_image_no_file_or_not_there_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataUnreadable, match=r"text.png cannot be decoded"):
        _decoded(tmp_path / "text.png")
    with pytest.raises(DataUnreadable, match=r"folder.png cannot be read"):
        _decoded(tmp_path / "folder.png")
    with pytest.raises(DataMissing, match=r"gone.png is not there"):
        _decoded(tmp_path / "gone.png")


def test_a_disk_that_fills_up_is_an_error_and_leaves_nothing_behind(own_data_root, tmp_path):
    name = EntryName(data_hash("local/corners", own_data_root), "test", 24, "bicubic")

    def full(done: int, total: int) -> None:
        if done == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    source = FolderSource(own_data_root / "corners", name, tmp_path / "cache")
    with pytest.raises(DiskFull, match=r"the disk is full: .* does not fit under .*SWEEPBOARD_CACHE"):
        open_entry(tmp_path / "cache", name, lambda: source, full)
    assert not [entry for entry in (tmp_path / "cache" / "images").iterdir() if entry.is_dir()]
    assert open_entry(tmp_path / "cache", name, lambda: source, _ignore).images.shape == (20, 24, 24, 3)
