"""The doctor of data: what it finds in the lists, in the files, and between the splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from workers.data.check import DataReport, check_dataset
from workers.data.check_findings import Finding, Level
from workers.data.check_jpeg import grid_excess
from workers.data.check_lists import check_lists, refuse_broken
from workers.errors import DataMissing, DataUnreadable

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "vtab_like"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="real images lie in ../shared/data, which is absent")


def _ignore(done: int, total: int) -> None:
    """Progress is of no interest here."""


@pytest.fixture
def folder(own_data_root) -> Path:
    return own_data_root / "corners"


@pytest.fixture
def check(folder, tmp_path) -> Callable[[], DataReport]:
    return lambda: check_dataset("local/corners", folder.parent, tmp_path / "cache", _ignore)


def _said(report: DataReport | tuple[Finding, ...], level: Level) -> str:
    findings = report.findings if isinstance(report, DataReport) else report
    found = [finding for finding in findings if finding.level == level]
    return "\n".join(f"{finding.what} | {finding.where} | {finding.advice}" for finding in found)


def _rewrite(folder: Path, split: str, change: Callable[[list[str]], list[str]]) -> None:
    """Change a list, and the joint one with it where it is a part of that."""
    path = folder / f"{split}.txt"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    parts = [(folder / f"{part}.txt").read_text() for part in ("train800", "val200")]
    (folder / "train800val200.txt").write_text("".join(parts))


def _scene(seed: int, side: int = 96) -> Image.Image:
    """A colourful picture with structure at several sizes."""
    draws = np.random.default_rng(seed)
    noise = Image.fromarray(draws.integers(0, 256, (side, side, 3), dtype=np.uint8))
    coarse = Image.fromarray(draws.integers(40, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
    return Image.blend(noise.filter(ImageFilter.GaussianBlur(2)), coarse, 0.7)


def test_a_sound_set_is_trusted_and_named(check):
    report = check()
    assert report.is_trusted
    assert len(report.data_hash) == 64
    text = _said(report, Level.OK)
    assert "4 classes; classes have 8 to 8 training images" in text
    assert "52 PNG; short side 36 to 36 px" in text
    assert "no trace of JPEG on 52 small images" in text
    assert "no near copies among 20 images of test against 32 of train800val200" in text


def test_the_same_content_is_looked_at_once(check, folder, tmp_path):
    looked: list[int] = []
    first = check()
    again = check_dataset("local/corners", folder.parent, tmp_path / "cache", lambda done, total: looked.append(done))
    assert again == first
    assert not looked
    (folder / "images" / "test" / "000.png").write_bytes((folder / "images" / "test" / "004.png").read_bytes())
    assert "1 images of test equal another of it" in _said(check(), Level.NOTE)


def test_a_damaged_memory_is_only_a_slower_answer(check, tmp_path):
    first = check()
    (place,) = (tmp_path / "cache" / "checks").iterdir()
    place.write_text('[{"level": "fine"}]')
    assert check() == first


def test_embedded_tasks_have_no_files(tmp_path):
    report = check_dataset("embedded/count", None, tmp_path, _ignore)
    assert report.is_trusted
    assert "drawn by formula" in _said(report, Level.OK)


def test_a_line_that_is_there_twice_is_a_problem(folder):
    _rewrite(folder, "test", lambda lines: [*lines, lines[3]])
    assert "1 images are listed more than once: images/test/003.png" in _said(check_lists(folder, None), Level.PROBLEM)


def test_an_image_of_two_splits_or_two_labels_is_a_problem(folder):
    _rewrite(folder, "train800", lambda lines: [*lines, "images/test/001.png 2\n"])
    text = _said(check_lists(folder, None), Level.PROBLEM)
    assert "1 images are listed in train800 and in test: images/test/001.png" in text
    assert "1 images are listed with different labels: images/test/001.png" in text


def test_the_joint_list_must_be_its_parts(folder):
    path = folder / "train800val200.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert "is not train800 and val200 together" in _said(check_lists(folder, None), Level.PROBLEM)


def test_labels_out_of_range_are_told_from_classes_that_are_missing(folder):
    _rewrite(folder, "test", lambda lines: [*lines[:-1], lines[-1].replace(" 3", " 5")])
    text = _said(check_lists(folder, None), Level.NOTE)
    assert "1 classes are in the test list and in no training list: 5" in text
    assert "1 labels below the highest are used by no image: 4" in text
    (folder / "classes.txt").write_text("a\nb\nc\nd\n")
    assert "label 5 is out of range: there are 4 classes" in _said(check_lists(folder, None), Level.PROBLEM)


def test_a_label_far_beyond_the_others_is_out_of_range(folder):
    _rewrite(folder, "train800", lambda lines: [lines[0].replace(" 0", " 99999"), *lines[1:]])
    assert "the highest label is 99999, and only 5 labels are used" in _said(check_lists(folder, None), Level.PROBLEM)


def test_lists_that_are_not_there_or_no_text_are_all_told(check, folder):
    (folder / "val200.txt").unlink()
    (folder / "train800.txt").write_bytes(b"images/\xff\xfe.png 0\n")
    report = check()
    text = _said(report, Level.PROBLEM)
    assert "list val200.txt of data set 'corners' is missing" in text
    assert "train800.txt is not UTF-8 text" in text
    assert report.data_hash == ""


def test_a_list_that_is_a_folder_cannot_be_read(folder):
    (folder / "val200.txt").unlink()
    (folder / "val200.txt").mkdir()
    assert "val200.txt cannot be read" in _said(check_lists(folder, None), Level.PROBLEM)


def test_all_absent_images_are_counted(folder):
    for number in (3, 5):
        (folder / "images" / "test" / f"{number:03d}.png").unlink()
    text = _said(check_lists(folder, None), Level.PROBLEM)
    assert "2 of 52 listed images are not there: images/test/003.png, images/test/005.png" in text


def test_a_data_set_that_is_not_here_is_no_report(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataMissing, match="local/moths"):
        check_dataset("local/moths", tmp_path / "data", tmp_path / "cache", _ignore)


def test_broken_lists_are_refused_with_all_their_problems_at_once(folder):
    refuse_broken("local/corners", folder, 4)
    _rewrite(folder, "test", lambda lines: [*lines, lines[3], "images/gone.png 7\n"])
    with pytest.raises(DataUnreadable) as refused:
        refuse_broken("local/corners", folder, 4)
    for words in ("listed more than once", "images/gone.png", "label 7 is out of range"):
        assert words in str(refused.value)


def test_paths_with_spaces_and_other_letters_are_paths(check, folder):
    (folder / "images" / "Größe 1").mkdir()
    (folder / "images" / "test" / "000.png").rename(folder / "images" / "Größe 1" / "ein Bild.png")
    _rewrite(folder, "test", lambda lines: ["images/Größe 1/ein Bild.png 0\n", *lines[1:]])
    assert check().is_trusted


def test_every_truncated_file_is_named(check, folder):
    for number in (3, 5):
        path = folder / "images" / "test" / f"{number:03d}.png"
        path.write_bytes(path.read_bytes()[:300])
    text = _said(check(), Level.PROBLEM)
    assert "2 images cannot be decoded" in text
    assert "003.png" in text
    assert "005.png" in text


def test_a_wrong_extension_and_odd_modes_are_notes(check, folder):
    images = folder / "images" / "test"
    _scene(1).save(images / "000.png", format="BMP")
    _scene(2).convert("CMYK").save(images / "001.png", format="TIFF")
    _scene(3).convert("RGBA").save(images / "002.png")
    _scene(4).convert("L").save(images / "003.png")
    report = check()
    text = _said(report, Level.NOTE)
    assert "1 files are named as another format than they have: images/test/000.png is BMP" in text
    for words in ("1 CMYK", "1 alpha", "1 greyscale"):
        assert words in text
    assert report.is_trusted


def test_a_single_pixel_is_a_problem_and_a_very_wide_image_a_note(check, folder):
    Image.new("RGB", (1, 1)).save(folder / "images" / "test" / "000.png")
    Image.new("RGB", (20_000, 20)).save(folder / "images" / "test" / "001.png")
    report = check()
    assert "1 images are less than 4 px wide or high: images/test/000.png" in _said(report, Level.PROBLEM)
    assert "1 images are more than 4,096 px wide or high: images/test/001.png" in _said(report, Level.NOTE)


def test_equal_files_in_two_splits_are_a_problem(check, folder):
    source = (folder / "images" / "train800" / "007.png").read_bytes()
    (folder / "images" / "test" / "011.png").write_bytes(source)
    text = _said(check(), Level.PROBLEM)
    assert "1 images of test (5.0 %) are in train800val200 too: images/test/011.png = images/train800/007.png" in text


def test_turned_and_mirrored_copies_between_splits_are_found(check, folder):
    """As augmenting before splitting makes them."""
    for number in range(8):
        scene = _scene(number, 160)
        scene.crop((32, 32, 128, 128)).save(folder / "images" / "train800" / f"{number:03d}.png")
        moved = scene.rotate(10).crop((36, 30, 132, 126)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        moved.save(folder / "images" / "val200" / f"{number:03d}.png")
    report = check()
    assert "8 near copies (100.0 %) among 8 images of val200 against 24 of train800" in _said(report, Level.PROBLEM)
    assert "no near copies among 20 images of test" in _said(report, Level.OK)


@pytest.mark.parametrize("stored", ["JPEG", "PNG"])
def test_small_images_that_were_jpeg_are_a_problem_however_they_are_stored_now(check, folder, stored):
    for number, path in enumerate(sorted(folder.glob("images/*/*.png"))):
        _scene(number, 32).save(path, format="JPEG", quality=75)
        if stored == "PNG":
            Image.open(path).save(path, format="PNG")
    said = "stored as JPEG" if stored == "JPEG" else "once were JPEG, though stored without loss now"
    assert f"52 of 52 images of at most 64 px {said}" in _said(check(), Level.PROBLEM)


def test_the_grid_of_jpeg_is_seen_in_the_pixels_and_only_where_it_was(tmp_path):
    scene = _scene(0).convert("L")
    scene.save(tmp_path / "lossy.jpg", quality=75)
    assert abs(grid_excess(np.asarray(scene, dtype=np.float32))) < 0.05
    lossy = np.asarray(Image.open(tmp_path / "lossy.jpg"), dtype=np.float32)
    assert grid_excess(lossy) > 0.2
    assert grid_excess(lossy[3:, 5:]) < 0.05, "the grid lies elsewhere"


@needs_shared
def test_formerly_lossy_cifar10_is_found_and_gtsrb_of_the_same_size_is_not():
    excess = {}
    for name in ("cifar10", "gtsrb43"):
        paths = sorted((SHARED / name / "images" / "test").iterdir())[:60]
        excess[name] = [grid_excess(np.asarray(Image.open(path).convert("L"), dtype=np.float32)) for path in paths]
    assert min(excess["cifar10"]) > 0.15
    assert np.mean(np.array(excess["gtsrb43"]) > 0.15) <= 0.05


@needs_shared
def test_wbc4_has_turned_copies_between_train_and_val():
    from workers.data.check_copies import near_copies

    lines = {
        split: [line.rpartition(" ")[0] for line in (SHARED / "wbc4" / f"{split}.txt").read_text().splitlines()]
        for split in ("train800", "val200")
    }
    found = near_copies(SHARED / "wbc4", lines["val200"][:12], lines["train800"][:200])
    assert found
    assert found[0][2] >= 0.7


def _with_second_copies(folder: Path) -> Path:
    """As NOAH's script writes a task: train800val200 lists copies in a folder of its own."""
    lines = (folder / "train800val200.txt").read_text().splitlines()
    place = folder / "images" / "train800val200"
    place.mkdir()
    for number, line in enumerate(lines):
        relative, _, label = line.rpartition(" ")
        (place / f"{number:06d}.png").write_bytes((folder / relative).read_bytes())
        lines[number] = f"images/train800val200/{number:06d}.png {label}\n"
    (folder / "train800val200.txt").write_text("".join(lines))
    return place


def test_a_joint_list_of_second_copies_is_the_sum_of_its_parts(folder, check):
    _with_second_copies(folder)
    assert check().is_trusted
    refuse_broken("local/corners", folder, None)


def test_a_joint_list_of_other_images_is_not(folder):
    place = _with_second_copies(folder)
    (place / "000003.png").write_bytes((folder / "images" / "test" / "000.png").read_bytes())
    assert "is not train800 and val200 together" in _said(check_lists(folder, None), Level.PROBLEM)
    (place / "000003.png").unlink()
    assert "is not train800 and val200 together" in _said(check_lists(folder, None), Level.PROBLEM)
