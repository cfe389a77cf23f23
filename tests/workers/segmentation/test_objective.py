"""Dice, IoU, the released metric and the loss on masks that can be counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from workers.segmentation.evaluate import MaskEvaluation
from workers.segmentation.objective import confusion, dice, iou, mask_loss, release_dice


def masks(*rows: list[int]) -> Tensor:
    """One 1 x 4 mask per row."""
    return torch.tensor(rows, dtype=torch.float32)[:, None, None, :]


def logits(*rows: list[int]) -> Tensor:
    """Sure of each pixel."""
    return 20 * masks(*rows) - 10


def test_pixels_are_counted_per_image():
    counts = confusion(logits([1, 1, 0, 0], [0, 0, 0, 0]), masks([1, 0, 1, 0], [0, 0, 0, 0]))
    assert counts.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert dice(counts).tolist() == [0.5, 1.0], "empty in truth and prediction counts as right"
    assert iou(counts).tolist() == pytest.approx([1 / 3, 1.0])


def test_a_prediction_where_there_is_nothing_scores_zero():
    counts = confusion(logits([0, 0, 0, 1]), masks([0, 0, 0, 0]))
    assert (dice(counts).item(), iou(counts).item()) == (0, 0)


def test_the_mean_over_images_and_the_pooled_score_differ():
    counts = torch.tensor([[1, 0, 0], [10, 20, 10]])
    found = MaskEvaluation(0.0, counts.numpy(), torch.zeros(1).numpy()).metrics("test")
    assert found["test_dice_pct"] == pytest.approx(100 * (1 + 20 / 50) / 2)
    assert found["test_dice_pooled_pct"] == pytest.approx(100 * 22 / 52)
    assert found["test_iou_pct"] == pytest.approx(100 * (1 + 10 / 40) / 2)
    assert found["test_iou_pooled_pct"] == pytest.approx(100 * 11 / 41)


def test_the_released_metric_gives_a_mask_of_ones_everything():
    counts = confusion(logits([1, 1, 1, 1]), masks([1, 0, 0, 0]))
    assert release_dice(counts).item() == 1
    assert dice(counts).item() == pytest.approx(0.4)
    assert iou(counts).item() == 0.25, "its share of the image"


@pytest.mark.parametrize(("hit", "missed"), [(1, 3), (5, 5), (9, 1)])
def test_the_released_metric_is_a_function_of_the_recall(hit: int, missed: int):
    recall = hit / (hit + missed)
    assert release_dice(torch.tensor([hit, 1000, missed])).item() == pytest.approx(2 * recall / (1 + recall))


def test_the_loss_is_cross_entropy_plus_soft_iou():
    given, truth = torch.zeros(1, 1, 1, 4), masks([1, 1, 0, 0])
    soft_iou = 1 / (2 + 2 - 1)  # shares of 0.5: Σpg = 1, Σp = 2, Σg = 2
    assert mask_loss(given, truth).item() == pytest.approx(math.log(2) + 1 - soft_iou, rel=1e-6)


def test_the_loss_of_a_batch_is_the_mean_of_its_images():
    given, truth = torch.randn(3, 1, 4, 4), (torch.rand(3, 1, 4, 4) > 0.5).float()
    each = [mask_loss(given[at : at + 1], truth[at : at + 1]).item() for at in range(3)]
    assert mask_loss(given, truth).item() == pytest.approx(sum(each) / 3, rel=1e-5)


def test_the_loss_of_an_empty_mask_stays_finite_when_all_shares_vanish():
    given = torch.full((1, 1, 4, 4), -200.0, requires_grad=True)
    loss = mask_loss(given, torch.zeros(1, 1, 4, 4))
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(given.grad).all()
