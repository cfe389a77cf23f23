"""The robustness suite: test sets in folders named by class, and which of ImageNet's classes they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.data import suite_files
from workers.data.catalogue import class_names_of, data_hash, expand, info
from workers.data.check import check_dataset
from workers.data.check_lists import refuse_broken
from workers.data.class_folders import ClassFolders
from workers.data.class_names import class_map, class_names
from workers.data.whereabouts import whereabouts
from workers.errors import DataUnreadable


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    return tmp_path / "data"


def fill(folder: Path, names: tuple[str, ...], per_class: int = 1) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for at, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            Image.fromarray(pixels + at % 200 + index).save(folder / name / f"{index}.JPEG")


@pytest.fixture
def own_suite(root: Path) -> Path:
    """A suite of one's own, in the layout of ImageNet-A: three classes, two images each."""
    fill(root / "odd", ("ant", "bee", "cat"), 2)
    text = "name: my\ndatasets:\n  odd: {layout: class_folders, test: 6}\n"
    (root / "datasets.yaml").write_text(text)
    return root


def test_its_sizes_are_known_without_images(root: Path) -> None:
    known = [info(name, root) for name in expand("@robustness/*", root)]
    assert [(one.classes, one.train, one.val, one.test) for one in known] == [
        (200, 0, 0, 7500),
        (200, 0, 0, 30_000),
        (1000, 0, 0, 75 * 50_000),
    ]


def test_the_names_of_imagenets_classes_are_those_that_timm_carries() -> None:
    info_of = pytest.importorskip("timm.data").ImageNetInfo("imagenet-1k")
    assert list(class_names("imagenet1k")) == list(info_of.label_names())
    folder = Path(pytest.importorskip("timm.data").__file__).parent / "_info"
    for name in ("imagenet_a", "imagenet_r"):
        places = class_map((class_names("imagenet1k"), 1000), (class_names(name), 200))
        assert places == tuple(int(line) for line in (folder / f"{name}_indices.txt").read_text().split())


def test_imagenet_a_and_r_are_200_of_the_1000_classes(root: Path) -> None:
    trained = (class_names_of("general/imagenet1k", root), 1000)
    for name in ("robustness/imagenet_a", "robustness/imagenet_r"):
        places = class_map(trained, (class_names_of(name, root), 200))
        assert isinstance(places, tuple)
        assert (len(set(places)), min(places) >= 0, max(places) < 1000) == (200, True, True)
    whole = class_map(trained, (class_names_of("robustness/imagenet_c", root), 1000))
    assert whole == tuple(range(1000))


@pytest.mark.parametrize(
    ("trained", "tested", "expected"),
    [
        ((("a", "b", "c"), 3), (("c", "a"), 2), (2, 0)),
        ((None, 4), (None, 4), (0, 1, 2, 3)),
        ((("a", "b"), 2), (("b", "x", "y"), 3), "2 of its 3 classes are unknown to the model: x, y"),
        ((None, 4), (None, 3), "it has 3 classes and the model 4"),
        ((None, 4), (("a", "b", "c", "d"), 4), "the training set has no names of classes"),
        ((("a", "b"), 2), (None, 2), "it has no names of classes"),
    ],
)
def test_classes_are_matched_by_name_or_all_by_number(trained, tested, expected) -> None:
    found = class_map(trained, tested)
    assert found == expected if isinstance(expected, tuple) else str(found).startswith(expected)


def test_labels_follow_the_sorted_names_of_folders_and_files(own_suite: Path) -> None:
    listed = ClassFolders(own_suite / "odd").listed()
    assert listed[:3] == (("ant/0.JPEG", 0), ("ant/1.JPEG", 0), ("bee/0.JPEG", 1))
    assert class_names_of("my/odd", own_suite) == ("ant", "bee", "cat")


def test_its_content_is_named_by_files_and_classes(own_suite: Path, tmp_path: Path) -> None:
    before = data_hash("my/odd", own_suite, tmp_path / "cache")
    assert before == data_hash("my/odd", own_suite)
    (own_suite / "odd" / "bee").rename(own_suite / "odd" / "bug")
    assert data_hash("my/odd", own_suite, tmp_path / "cache") != before


def test_a_missing_image_or_class_folder_is_refused_with_its_name(own_suite: Path) -> None:
    (own_suite / "odd" / "cat" / "1.JPEG").unlink()
    with pytest.raises(DataUnreadable, match="it has 5 images, expected 6"):
        data_hash("my/odd", own_suite)


def test_other_folders_than_the_benchmarks_are_refused(root: Path) -> None:
    fill(root / "imagenet-a", (*class_names("imagenet_a")[:-1], "n99999999"))
    with pytest.raises(
        DataUnreadable, match=f"{class_names('imagenet_a')[-1]}.*1 folders are no class of it: n99999999"
    ):
        data_hash("robustness/imagenet_a", root)
    assert whereabouts("robustness/imagenet_a", root).state == "unusable"


def test_it_is_found_where_data_sets_are_looked_for(root: Path) -> None:
    assert whereabouts("robustness/imagenet_r", root).state == "missing"
    fill(root / "robustness" / "imagenet-r", class_names("imagenet_r"))
    found = whereabouts("robustness/imagenet_r", root)
    assert (found.state, found.lists, found.sizes["test"], found.sizes["train"]) == ("here", (), 200, 0)
    with pytest.raises(DataUnreadable, match="it has 200 images, expected 30,000"):
        data_hash("robustness/imagenet_r", root)


def test_the_doctor_looks_at_it(own_suite: Path, tmp_path: Path) -> None:
    report = check_dataset("my/odd", own_suite, tmp_path / "cache", lambda done, total: None)
    assert report.is_trusted
    (own_suite / "odd" / "ant" / "0.JPEG").write_bytes(b"no image")
    report = check_dataset("my/odd", own_suite, tmp_path / "cache", lambda done, total: None)
    assert any("cannot be decoded" in finding.what for finding in report.findings)


def test_a_local_folder_with_a_test_list_alone_is_a_test_set(root: Path, tmp_path: Path) -> None:
    fill(root / "photos", ("x", "y"))
    (root / "photos" / "test.txt").write_text("x/0.JPEG 0\ny/0.JPEG 1\n")
    assert (info("local/photos", root).train, info("local/photos", root).test) == (0, 2)
    assert len(data_hash("local/photos", root)) == 64
    report = check_dataset("local/photos", root, tmp_path / "cache", lambda done, total: None)
    assert any("a test list alone" in finding.what for finding in report.findings)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{layout: folders}", "expected one of lists, class_folders"),
        ("{class_names: imagenet}", "expected one of imagenet1k, imagenet_a, imagenet_r"),
        ("{corruptions: {fog: 0}}", "expected an error in percent"),
    ],
)
def test_what_a_suites_file_says_wrongly_is_told_with_its_line(tmp_path: Path, row: str, problem: str) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text(f"name: my\ndatasets:\n  odd: {row}\n")
    with pytest.raises(DataUnreadable, match=f"line 3: .*{problem}"):
        suite_files.read_suites(path)


def test_names_that_do_not_count_the_classes_fit_nothing() -> None:
    assert "the training set has 2 classes and names of 3" in str(class_map((("a", "b", "c"), 2), (("a",), 1)))
    assert "it has 2 classes and names of 1" in str(class_map((("a", "b"), 2), (("a",), 2)))


def test_imagenets_labels_must_count_the_sorted_wordnet_ids(tmp_path: Path) -> None:
    names = class_names("imagenet1k")[:30]
    for split in ("train", "val", "test"):
        lines = [f"{split}/{name}/0.JPEG {label + (split == 'test')}\n" for label, name in enumerate(names[:29])]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
        for name in names[:29]:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.JPEG").touch()
    with pytest.raises(
        DataUnreadable, match=f"29 images are not listed under .* test/{names[0]}/0.JPEG is listed as 1"
    ):
        refuse_broken("general/imagenet1k", tmp_path, 30, names)
