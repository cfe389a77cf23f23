import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from workers.embedded.catalogue import EMBEDDED_TASKS
from workers.embedded.tasks import SPLITS, digit_instances, draw_split

EACH_TASK = pytest.mark.parametrize("task", list(EMBEDDED_TASKS))

# A change here is a change of the task: raise its `revision` in the catalogue with it.
GOLDEN = {
    "digits": ("9906102d8d36b5d2", 128.0775),
    "location": ("b1ebb9ed6f1b5e0b", 127.8597),
    "count": ("4715299fce7e6007", 126.6206),
}


def digest(images: np.ndarray, labels: np.ndarray) -> str:
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]


@EACH_TASK
def test_splits_have_the_sizes_and_types_of_the_protocol(drawn, task):
    for split, size in zip(SPLITS, (800, 200, 1000), strict=True):
        images, labels = drawn[task, split]
        assert (images.shape, images.dtype) == ((size, 32, 32, 3), np.uint8)
        assert (labels.shape, labels.dtype) == ((size,), np.int64)


@EACH_TASK
def test_splits_are_balanced(drawn, task):
    for split in SPLITS:
        per_class = np.bincount(drawn[task, split][1], minlength=EMBEDDED_TASKS[task].classes)
        assert len(per_class) == EMBEDDED_TASKS[task].classes
        assert per_class.max() - per_class.min() <= 1


@EACH_TASK
def test_no_image_occurs_twice_in_or_across_splits(drawn, task):
    images = [image.tobytes() for split in SPLITS for image in drawn[task, split][0]]
    assert len(set(images)) == len(images)


def test_no_handwritten_digit_is_shown_by_two_splits():
    shown = [set(np.concatenate(digit_instances(split)).tolist()) for split in SPLITS]
    assert [len(instances) for instances in shown] == [800, 200, 797]
    assert all(first.isdisjoint(second) for first, second in itertools.combinations(shown, 2))


def test_a_fresh_process_draws_the_same_images(drawn):
    script = (
        "import hashlib, numpy, random\n"
        "numpy.random.seed(7); random.seed(7)\n"
        "from workers.embedded.tasks import draw_split\n"
        "for task in ('count', 'digits'):\n"
        "    images, labels = draw_split(task, 'val200')\n"
        "    print(hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16])\n"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert output.split() == [digest(*drawn[task, "val200"]) for task in ("count", "digits")]


def test_the_order_of_drawing_does_not_matter(drawn):
    for task, split in (("location", "val200"), ("digits", "val200"), ("location", "val200")):
        np.testing.assert_array_equal(draw_split(task, split)[0], drawn[task, split][0])


@EACH_TASK
def test_the_images_of_a_revision_never_change(drawn, task):
    images = np.concatenate([drawn[task, split][0] for split in SPLITS])
    labels = np.concatenate([drawn[task, split][1] for split in SPLITS])
    golden_digest, golden_mean = GOLDEN[task]
    assert images.mean() == pytest.approx(golden_mean, abs=1e-3)
    assert digest(images, labels) == golden_digest


def test_an_unknown_task_or_split_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"orientation.*digits, location, count"):
        draw_split("orientation", "test")
    with pytest.raises(ValueError, match=r"train1000.*train800, val200, test"):
        draw_split("digits", "train1000")
