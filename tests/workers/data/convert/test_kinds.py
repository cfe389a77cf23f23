"""What a path is taken for, and which names a source may take."""

from __future__ import annotations

import pytest

from tests.workers.data.convert.miniatures import class_tree, encoded, put
from workers.data.convert.kinds import KINDS, detected
from workers.errors import ConversionFailed


def test_nothing_known_lists_what_was_looked_for(tmp_path):
    put(tmp_path / "data.zip", b"PK")
    with pytest.raises(ConversionFailed, match="looks like no kind of data") as raised:
        detected(tmp_path)
    assert all(f"\n  {name} " in str(raised.value) for name in KINDS)


def test_two_kinds_at_once_are_not_guessed(tmp_path, take):
    source = class_tree(tmp_path / "source", splits=("train", "test"))
    put(source / "train.txt", b"train/a/0_x.png 0\n")
    put(source / "test.txt", b"test/a/0_x.png 0\n")
    with pytest.raises(ConversionFailed, match="looks like folders and like list; say which it is with --from"):
        take(source)
    assert take(source, kind="folders").kind == "folders"


def test_a_source_that_is_not_there_and_a_kind_that_is_not_known(tmp_path, take):
    with pytest.raises(ConversionFailed, match="gone is not there"):
        take(tmp_path / "gone")
    with pytest.raises(ConversionFailed, match="--from zip: no such kind; known: vtab, vpt"):
        take(tmp_path, kind="zip")
    with pytest.raises(ConversionFailed, match="--from list:CIFAR10: only torchvision has classes to choose from"):
        take(tmp_path, kind="list:CIFAR10")
    with pytest.raises(ConversionFailed, match="--label is for parquet and tfds"):
        take(tmp_path, kind="folders", label="kind")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vtab1k/dtd", "the splits of vtab1k/dtd are part of the benchmark"),
        ("fgvc/cub", "the splits of fgvc/cub200 are part of the benchmark"),
        ("dtd", "'dtd' would be read as vtab1k/… of the benchmark"),
        ("local/oxford_iiit_pet", "splits of your own never carry its name"),
        ("general/cifar100", "test has 20 images, general/cifar100 has 10,000"),
        ("vtab1k/dtt", "Did you mean 'vtab1k/dtd'"),
        ("embedded/digits", "no suite has such a set"),
        ("local/../x", "is no name for a folder"),
        (".hidden", "is no name for a folder"),
        (None, "--as NAME is missing"),
    ],
)
def test_own_splits_never_take_a_benchmarks_name(tmp_path, root, take, name, words):
    with pytest.raises(ConversionFailed, match=words):
        take(class_tree(tmp_path / "source", splits=("train", "test")), name)
    assert not root.exists()


def test_a_target_inside_the_source_is_refused(tmp_path, take, root):
    class_tree(root, splits=("train", "test"))
    with pytest.raises(ConversionFailed, match="would become part of it; choose another --to"):
        take(root)


def test_a_set_of_a_suite_of_ones_own_goes_where_that_suite_looks(tmp_path, root, take):
    put(root / "datasets.yaml", b"name: my\ndatasets: {birds: {folder: birds_v2, classes: 2, test: 20}}\n")
    source = class_tree(tmp_path / "source", splits=("train", "test"))
    assert take(source, "my/birds").folder == root / "my" / "birds_v2"
    put(source / "test" / "b" / "more.png", encoded(1))
    (root / "my").rename(root / "away")
    with pytest.raises(ConversionFailed, match="test has 21 images, my/birds has 20"):
        take(source, "my/birds")
