"""Few-shot subsets: k images of each class, the same ones on every machine; val and test as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.records import DatasetRef, Job, Result, Status
from workers.data.catalogue import data_hash, dataset_folder, expand, group_of, info
from workers.data.few_shot import FewShot, few_shot
from workers.data.folders import read_list
from workers.data.splits import open_few, open_split
from workers.errors import DataChanged, DataUnreadable, UnknownDataset
from workers.site import Site

LISTED = tuple((f"images/{index:03d}.png", index % 3) for index in range(30))
GOLDEN = (2, 4, 6, 9, 11, 25)
"""Two of each class in draw 0, by `sha256sum` of draw and path."""


def pick(shots: int, draw: int = 0) -> set[str]:
    return {LISTED[at][0] for at in FewShot("local/x", shots, draw).chosen(LISTED, 3)}


def test_each_class_gives_so_many_images_in_the_order_of_the_list() -> None:
    positions = FewShot("local/x", 4, 0).chosen(LISTED, 3)
    assert list(positions) == sorted(positions)
    assert Counter(LISTED[at][1] for at in positions) == {0: 4, 1: 4, 2: 4}


def test_the_draw_is_the_same_on_every_machine_and_in_every_order_of_the_list() -> None:
    assert pick(2) == {f"images/{index:03d}.png" for index in GOLDEN}
    few = FewShot("local/x", 2, 0)
    assert {LISTED[::-1][at][0] for at in few.chosen(LISTED[::-1], 3)} == pick(2)


def test_more_shots_keep_the_images_of_fewer_and_another_draw_takes_others() -> None:
    assert pick(1) < pick(2) < pick(5)
    assert pick(5, draw=1) != pick(5)


def test_a_class_with_too_few_images_is_named() -> None:
    with pytest.raises(DataUnreadable, match=r"2 of 4 classes have fewer than 9 .*class 2 has 8, class 3 has 0"):
        FewShot("local/x", 9, 0).chosen([*LISTED[:27:3], *LISTED[1:28:3], *LISTED[2:26:3]], 4)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("fgvc/cub200@5shot", FewShot("fgvc/cub200", 5, 0)),
        ("local/x@16shot.2", FewShot("local/x", 16, 2)),
        ("local/x@0shot", None),
        ("local/x@5shots", None),
        ("local/x", None),
    ],
)
def test_a_name_says_shots_and_draw(name: str, meant: FewShot | None) -> None:
    assert few_shot(name) == meant
    if meant is not None:
        assert meant.name == name


def test_a_pattern_stands_for_subsets_of_all_its_sets_and_an_alias_for_its_set() -> None:
    assert expand("@fgvc/*@2shot")[0] == "fgvc/cub200@2shot"
    assert len(expand("@fgvc/*@2shot")) == 5
    assert expand("fgvc/cub@2shot.1") == ("fgvc/cub200@2shot.1",)
    assert expand("fgvc/cub@2shot.0") == ("fgvc/cub200@2shot",)
    with pytest.raises(UnknownDataset, match="'fgvc/cup200'"):
        expand("fgvc/cup200@2shot")


def test_sizes_are_known_without_images_and_too_many_shots_are_refused() -> None:
    known = info("fgvc/cub200@4shot")
    assert (known.trained, known.train, known.val, known.test, known.classes) == (800, 800, 600, 5794, 200)
    assert group_of("fgvc/cub200@4shot") == "fgvc"
    with pytest.raises(DataUnreadable, match="5,394 training images in all"):
        info("fgvc/cub200@27shot")


def test_the_content_is_named_by_base_shots_and_draw(data_root: Path) -> None:
    base = data_hash("local/corners", data_root)
    names = [f"local/corners@{end}" for end in ("1shot", "2shot", "2shot.1")]
    found = [data_hash(name, data_root) for name in names]
    assert len({base, *found}) == 4
    assert found[0] == FewShot("local/corners", 1, 0).data_hash(base)
    assert dataset_folder(names[0], data_root) == data_root / "corners"
    with pytest.raises(DataUnreadable, match="class 0 has 6"):
        data_hash("local/corners@7shot", data_root)


@pytest.fixture
def subset(a_job: Callable[..., Job], site: Site, data_root: Path) -> tuple[Job, Site]:
    name = "local/corners@2shot"
    at = replace(site, data={**site.data, name: data_root / "corners"})
    return a_job("lora", rank=2, dataset=DatasetRef(name, data_hash(name, data_root), 4)), at


def test_a_final_job_trains_on_the_shots_alone_and_tests_on_the_whole_test_set(
    run: Callable[..., Result], subset: tuple[Job, Site], a_job: Callable[..., Job], data_root: Path
) -> None:
    job, at = subset
    trained = open_split(job, "train800val200", at, lambda done, total: None)
    assert Counter(trained.labels.tolist()) == {0: 2, 1: 2, 2: 2, 3: 2}
    whole = open_split(a_job(), "train800val200", at, lambda done, total: None)
    positions = FewShot("local/corners", 2, 0).chosen(read_list(data_root / "corners", "train800"), 4)
    assert np.array_equal(trained.images, whole.images[list(positions)])
    result = run(job, at=at)
    assert result.status is Status.DONE, result.failure


def test_its_test_images_are_cached_once_with_the_base_set(subset: tuple[Job, Site], a_job: Callable[..., Job]) -> None:
    job, at = subset
    for one in (a_job(), job):
        open_split(one, "test", at, lambda done, total: None)
    assert len(list((at.cache / "images").glob("*/card.json"))) == 1


def test_a_few_of_its_images_are_of_the_subset(subset: tuple[Job, Site]) -> None:
    job, at = subset
    assert len(open_few(job, "train800val200", at, 16).labels) == 8


def test_a_list_that_changed_since_the_plan_is_refused(subset: tuple[Job, Site], own_data_root: Path) -> None:
    job, at = subset
    lists = own_data_root / "corners" / "train800.txt"
    lists.write_text("".join(reversed(lists.read_text().splitlines(keepends=True))))
    changed = replace(at, data={job.dataset.name: own_data_root / "corners"})
    with pytest.raises(DataChanged, match="does not give the subset"):
        open_split(job, "train800val200", changed, lambda done, total: None)


def test_embedded_tasks_have_subsets_too(a_job: Callable[..., Job], site: Site) -> None:
    name = "embedded/digits@3shot"
    job = a_job(dataset=DatasetRef(name, data_hash(name), 10))
    trained = open_split(job, "train800val200", site, lambda done, total: None)
    assert Counter(trained.labels.tolist()) == dict.fromkeys(range(10), 3)
    assert info(name).train == 30
    with pytest.raises(DataUnreadable, match="class 0 has 80"):
        info("embedded/digits@81shot")
