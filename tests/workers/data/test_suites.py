"""Suites as data: what their files say, where their sets are looked for, and what is refused under their name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workers.data.catalogue import data_hash, dataset_folder, expand, group_of, info, names, suites
from workers.data.whereabouts import differing_copies, whereabouts
from workers.errors import DataMissing, DataUnreadable, UnknownDataset

TINY = {"train800": "ab", "val200": "c", "train800val200": "abc", "test": "d"}
TINY_HASH = "377a1aa1df37ce032b32b45d1cc1f157b06d72148a7cb788b41053a96e789635"
PLAIN = {"train800": "train", "val200": "val", "test": "test"}


def write_tiny(folder: Path, lists: dict[str, str] | None = None, pixels: str = "pixels") -> Path:
    """Four files that are no images and the lists of them; a label is 0 or 1."""
    (folder / "images").mkdir(parents=True)
    for image in "abcd":
        (folder / "images" / image).write_text(f"{pixels} of {image}")
    for split, name in (lists or {split: split for split in TINY}).items():
        lines = [f"images/{image} {ord(image) % 2}\n" for image in TINY[split]]
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


def write_lists(folder: Path, sizes: dict[str, int], classes: int) -> None:
    folder.mkdir(parents=True)
    for split, size in sizes.items():
        lines = [f"images/{split}/{index:06d}.jpg {index % classes}\n" for index in range(size)]
        (folder / f"{split}.txt").write_text("".join(lines))


def write_kitti(folder: Path, test: int = 711, classes: int = 4) -> None:
    write_lists(folder, {"train800": 800, "val200": 200, "train800val200": 1000, "test": test}, classes)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def own_suite(root: Path) -> Path:
    text = "name: my\ndatasets:\n  birds: {folder: birds_v2, group: animals, classes: 2, test: 1}\n  moths:\n"
    (root / "datasets.yaml").write_text(text)
    write_tiny(root / "birds_v2")
    return root


def test_vtab1k_has_19_tasks_in_three_groups(root):
    assert len(expand("@vtab1k/*", root)) == 19
    by_group = [len(expand(f"@vtab1k/{group}", root)) for group in ("natural", "specialized", "structured")]
    assert by_group == [7, 4, 8]
    known = [info(name, root) for name in expand("@vtab1k/*", root)]
    assert sum(one.classes for one in known) == 940
    assert sum(one.test for one in known) == 387_904
    assert {(one.train, one.val) for one in known} == {(800, 200)}


def test_fgvc_trains_on_train_and_val_together(root):
    trained = {name: info(name, root).train + info(name, root).val for name in expand("@fgvc/*", root)}
    assert list(trained.values()) == [5994, 23929, 2040, 12000, 8144]
    assert [info(name, root).classes for name in trained] == [200, 555, 102, 120, 196]


def test_a_sum_is_known_where_no_validation_split_is_published(root):
    known = info("general/cifar100", root)
    assert (known.train + known.val, known.test) == (50_000, 10_000)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("vtab1k/cifar", "vtab1k/cifar100"),
        ("vtab1k/oxford_iiit_pet", "vtab1k/pets"),
        ("vtab1k/oxford_pet", "vtab1k/pets"),
        ("vtab1k/diabetic_retinopathy", "vtab1k/retinopathy"),
        ("fgvc/CUB_200_2011", "fgvc/cub200"),
        ("general/imagenet", "general/imagenet1k"),
    ],
)
def test_names_of_other_releases_mean_the_same_set(root, alias, name):
    assert expand(alias, root) == (name,)
    assert info(alias, root).name == name


def test_no_spelling_means_two_sets_of_one_suite(root):
    for suite in ("vtab1k", "fgvc", "general"):
        found = [whereabouts(name, root).name for name in suites(root)[suite].datasets]
        assert found == list(suites(root)[suite].datasets)
        assert len({expand(name, root) for name in found}) == len(found)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("vtab1k/cifr100", "Did you mean 'vtab1k/cifar100'"),
        ("@vtab1k/naturl", "Did you mean 'natural'"),
        ("@vtab/*", "Did you mean 'vtab1k'"),
        ("nowhere/cats", "known suites: embedded, vtab1k, fgvc, general, robustness, segmentation, local"),
    ],
)
def test_a_wrong_name_of_a_benchmark_says_what_was_meant(root, pattern, words):
    with pytest.raises(UnknownDataset, match=words):
        expand(pattern, root)


@pytest.mark.parametrize("place", ["vtab1k/kitti", "kitti", "vtab1k/kitti_dist", "kitti_distance"])
def test_a_set_is_found_in_the_suites_folder_or_beside_it_under_any_of_its_names(root, place):
    write_kitti(root / place)
    assert dataset_folder("vtab1k/kitti", root) == root / place
    assert info("vtab1k/kitti", root).test == 711
    assert whereabouts("vtab1k/kitti", root).state == "here"


def test_the_suites_own_folder_goes_first(root):
    for place in ("kitti", "vtab1k/kitti"):
        write_kitti(root / place)
    assert dataset_folder("vtab1k/kitti", root) == root / "vtab1k" / "kitti"
    assert whereabouts("vtab1k/kitti", root).folders == (root / "vtab1k" / "kitti", root / "kitti")


def test_splits_of_ones_own_never_carry_the_name_of_a_benchmark(root):
    write_kitti(root / "kitti", test=500, classes=5)
    with pytest.raises(DataUnreadable, match=r"500 images, expected 711; label 4 occurs, expected 4 classes"):
        info("vtab1k/kitti", root)
    with pytest.raises(DataUnreadable, match="splits of your own are local/"):
        data_hash("vtab1k/kitti", root)
    assert info("local/kitti", root).test == 500
    assert whereabouts("vtab1k/kitti", root).state == "unusable"


def test_both_test_lists_of_caltech_are_accepted(root):
    for place, test in (("vtab1k", 6085), ("other", 6084)):
        sizes = {"train800": 800, "val200": 200, "train800val200": 1000, "test": test}
        write_lists(root / place / "caltech101", sizes, 102)
    assert info("vtab1k/caltech101", root).test == 6085
    (root / "vtab1k").rename(root / "old")
    (root / "other").rename(root / "vtab1k")
    assert info("vtab1k/caltech101", root).test == 6084


def test_what_is_missing_says_what_to_put_where(root):
    with pytest.raises(DataMissing, match=f"no vtab1k/cifar in {root}.*sweepboard data where vtab1k/cifar100"):
        data_hash("vtab1k/cifar", root)
    (root / "cifar").mkdir()
    with pytest.raises(DataMissing, match=r"cifar is there, but holds no test.txt"):
        dataset_folder("vtab1k/cifar100", root)


def test_the_hash_of_a_folder_is_that_of_earlier_versions(root):
    write_tiny(root / "tiny")
    assert data_hash("local/tiny", root) == TINY_HASH


def test_plain_list_names_hold_the_same_splits(root):
    write_tiny(root / "plain", PLAIN)
    assert data_hash("local/plain", root) == TINY_HASH, "trainval.txt is train.txt and val.txt"
    (root / "plain" / "trainval.txt").write_text("images/c 1\nimages/a 1\nimages/b 0\n")
    assert data_hash("local/plain", root) != TINY_HASH, "an order of one's own is another training set"
    (root / "plain" / "val.txt").unlink()
    with pytest.raises(DataMissing, match=r"list val.txt of data set 'plain' is missing"):
        info("local/plain", root)


def test_a_users_suite_is_a_few_lines(own_suite):
    assert expand("@my/*", own_suite) == ("my/birds", "my/moths")
    assert expand("@my/animals", own_suite) == expand("my/birds_v2", own_suite) == ("my/birds",)
    known = info("my/birds", own_suite)
    assert (known.suite, known.group, known.classes, known.test) == ("my", "animals", 2, 1)
    assert data_hash("my/birds", own_suite) == TINY_HASH
    assert "my/birds" in names(own_suite)
    assert (group_of("my/moths", own_suite), group_of("my/bats", own_suite)) == ("my", None)
    with pytest.raises(DataMissing, match="my/moths"):
        info("my/moths", own_suite)
    write_tiny(own_suite / "moths")
    assert (info("my/moths", own_suite).train, info("my/moths", own_suite).classes) == (2, 2)


def test_a_users_suite_is_held_to_what_it_says(own_suite):
    (own_suite / "datasets.yaml").write_text("name: my\ndatasets: {birds: {folder: birds_v2, test: 600}}\n")
    with pytest.raises(DataUnreadable, match=r"test.txt has 1 images, expected 600. Correct the lists"):
        info("my/birds", own_suite)


def test_the_readmes_suite_of_ones_own_can_be_read(root):
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(name: my\n.*?)```", readme, re.DOTALL)
    (root / "datasets.yaml").write_text(block, encoding="utf-8")
    assert expand("@my/*", root) == ("my/birds", "my/moths", "my/leaves")
    assert expand("@my/animals", root) == ("my/birds", "my/moths")
    assert whereabouts("my/leafs", root).source == "the herbarium's archive"


def test_a_users_suite_is_read_again_when_it_changes(own_suite):
    assert expand("@my/*", own_suite) == ("my/birds", "my/moths")
    (own_suite / "datasets.yaml").write_text("name: my\ndatasets: {birds: }\n---\nname: yours\ndatasets: {cats: }\n")
    assert expand("@my/*", own_suite) == ("my/birds",)
    assert expand("@yours/*", own_suite) == ("yours/cats",)


def test_all_that_is_wrong_with_a_users_suite_is_said_at_once_with_lines(root):
    (root / "datasets.yaml").write_text(
        "name: my\nmetric: map\ndatasets:\n  birds: {foldr: birds_v2}\n  moths: {test: some}\n  a/b: {}\n"
    )
    with pytest.raises(DataUnreadable) as raised:
        expand("@my/*", root)
    lines = [line.partition("datasets.yaml, ")[2] for line in str(raised.value).splitlines()]
    assert lines == [
        "line 2: metric: is 'map'; suites are scored by top1 or dice",
        "line 4: datasets.birds.foldr: is no key here. Did you mean 'folder'?",
        "line 5: datasets.moths.test: is some; expected a positive whole number",
        "line 6: datasets.a/b: expected a name without a slash",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: vtab1k\ndatasets: {mine: }\n", "'vtab1k' is taken"),
        ("name: local\ndatasets: {mine: }\n", "'local' is taken"),
        ("datasets: {mine: }\n", "line 1: name: is missing"),
        ("- birds\n", "line 1: the document: expected keys with values"),
        ("name: [\n", "cannot be read"),
    ],
)
def test_a_suite_that_cannot_be_is_refused_and_the_others_stay(root, text, words):
    (root / "datasets.yaml").write_text(text)
    with pytest.raises(DataUnreadable, match=words):
        expand("my/mine", root)
    assert expand("vtab1k/cifar", root) == ("vtab1k/cifar100",)
    assert info("embedded/digits", root).test == 1000


def test_copies_are_compared_by_content(root):
    (root / "datasets.yaml").write_text("name: my\ndatasets: {birds: {folder: birds_v2}}\n")
    write_tiny(root / "my" / "birds_v2")
    write_tiny(root / "birds_v2")
    found = whereabouts("my/birds", root)
    assert len(found.folders) == 2
    assert differing_copies(found, None) == ()
    (root / "birds_v2" / "images" / "d").write_text("something else")
    assert differing_copies(found, None) == (root / "birds_v2",)


def test_a_link_is_no_second_copy(root):
    (root / "datasets.yaml").write_text("name: my\ndatasets: {birds: {folder: birds_v2}}\n")
    write_tiny(root / "birds_v2")
    (root / "birds").symlink_to(root / "birds_v2")
    assert whereabouts("my/birds", root).folders == (root / "birds_v2",)
