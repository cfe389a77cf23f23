"""Hugging Face data sets on disk, without the package that wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workers.data.convert.miniatures import encoded, listed, put
from workers.errors import ConversionFailed

pyarrow = pytest.importorskip("pyarrow", reason="parquet is read with pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="parquet is read with pyarrow")

NAMES = ["crow", "duck", "wren"]


def table(numbers: range, labels: dict[str, list[object]], names: list[str] | None = None):
    """Rows as the package `datasets` writes them: images as a struct, features in the schema's metadata."""
    images = [{"bytes": encoded(number, "JPEG"), "path": f"{number}.jpg"} for number in numbers]
    made = pyarrow.table({"image": images, **labels})
    features = {"image": {"_type": "Image"}}
    if names:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def hub_copy(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for name, numbers in (("train-00000-of-00002", range(10)), ("train-00001-of-00002", range(10, 20))):
        rows = table(numbers, {"label": [number % 3 for number in numbers]}, NAMES)
        parquet.write_table(rows, folder / "data" / f"{name}.parquet", row_group_size=4)
    rows = table(range(20, 26), {"label": [number % 3 for number in range(20, 26)]}, NAMES)
    parquet.write_table(rows, folder / "data" / "test-00000-of-00001.parquet")
    return folder


def test_a_copy_of_the_hub_keeps_bytes_labels_and_names(tmp_path, root, take):
    converted = take(hub_copy(tmp_path / "birds"))
    assert (converted.kind, dict(converted.sizes)) == ("parquet", {"train": 18, "val": 2, "test": 6})
    assert (root / "mine" / "classes.txt").read_text() == "crow\nduck\nwren\n"
    for number in (0, 9, 10, 13):
        assert (root / "mine" / "images" / "train" / f"{number:06d}.jpg").read_bytes() == encoded(number, "JPEG")
    assert listed(root / "mine", "test.txt")[2] == ("images/test/000002.jpg", str(22 % 3))
    assert take(tmp_path / "birds").written == 0


def test_what_save_to_disk_wrote_is_read_as_arrow_streams(tmp_path, root, take):
    source = tmp_path / "saved"
    for split, numbers in (("train", range(20)), ("test", range(20, 24))):
        rows = table(numbers, {"label": [number % 2 for number in numbers]})
        (source / split).mkdir(parents=True)
        with pyarrow.ipc.new_stream(source / split / "data-00000-of-00001.arrow", rows.schema) as stream:
            stream.write_table(rows, max_chunksize=3)
    put(source / "dataset_dict.json", b'{"splits": ["train", "test"]}')
    assert dict(take(source).sizes) == {"train": 18, "val": 2, "test": 4}
    assert (root / "mine" / "images" / "train" / "000017.jpg").read_bytes() == encoded(17, "JPEG")


def test_one_file_with_words_for_labels_is_split(tmp_path, root, take):
    rows = table(range(20), {"label": [("no", "yes")[number % 2] for number in range(20)]})
    parquet.write_table(rows, tmp_path / "all.parquet")
    assert dict(take(tmp_path / "all.parquet").sizes) == {"train": 14, "val": 2, "test": 4}
    assert (root / "mine" / "classes.txt").read_text() == "no\nyes\n"


def test_the_label_is_asked_for_where_there_are_two(tmp_path, root, take):
    labels = {"fine_label": list(range(20)), "coarse_label": [number // 10 for number in range(20)]}
    parquet.write_table(table(range(20), labels), tmp_path / "all.parquet")
    with pytest.raises(ConversionFailed, match="Name it with --label; there are: fine_label, coarse_label"):
        take(tmp_path / "all.parquet")
    assert take(tmp_path / "all.parquet", label="coarse_label").classes == 2


def test_all_damage_is_told_at_once(tmp_path, root, take):
    source = hub_copy(tmp_path / "birds")
    torn = source / "data" / "train-00000-of-00002.parquet"
    torn.write_bytes(torn.read_bytes()[:200])
    put(source / "data" / "validation-00000-of-00001.parquet", b"PAR1")
    with pytest.raises(ConversionFailed) as raised:
        take(source)
    assert "train-00000-of-00002.parquet cannot be read" in str(raised.value)
    assert "validation-00000-of-00001.parquet cannot be read" in str(raised.value)
    assert not root.exists()


def test_rows_without_image_or_label_are_named(tmp_path, take):
    rows = table(range(4), {"label": [0, None, 1, -1]}, NAMES).to_pylist()
    rows[2]["image"] = {"bytes": None, "path": "gone.jpg"}
    schema = table(range(1), {"label": [0]}, NAMES).schema
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), tmp_path / "train.parquet")
    with pytest.raises(ConversionFailed) as raised:
        take(tmp_path / "train.parquet")
    assert "row 1: there is no label" in str(raised.value)
    assert "row 2: the image is neither encoded bytes nor a file that is here" in str(raised.value)
    rows = [row for row in rows if row["label"] is not None and row["image"]["bytes"]]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), tmp_path / "train.parquet")
    with pytest.raises(ConversionFailed, match=r"1 labels are out of range 0–2.*row 1: -1"):
        take(tmp_path / "train.parquet")
