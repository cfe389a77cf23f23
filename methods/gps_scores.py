"""The scoring pass of GPS: one epoch of gradients at the pre-trained weights, no step.

G = Σ_batches ∂loss_b/∂W, signed; the absolute value is taken once, at the end. (Absolute values or squares per
batch, as in Fisher or SPT scores, choose other connections.) Weights, flags, mode and random state come out as they
went in. The pass runs in fp32: half-precision gradients of the release can underflow, it has no loss scaling there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.api import KnowsTaskLoss, MethodError, TrainingData
from methods.gps_selection import Orders, nested_orders, weights_of
from methods.supcon import supcon_loss

LOSSES = ("supcon", "cross_entropy", "task")


@dataclass(frozen=True)
class ScoringRecipe:
    """`loss`: supcon on the vector that feeds the head, of two augmented views; or cross_entropy through the head, of
    one view as in training (the release without `--contrastive`); or task, the training loss of a task without classes.
    `temperature` is supcon's.
    """

    loss: str = "supcon"
    temperature: float = 0.07
    batch_size: int = 32  # images


def gradient_orders(model: nn.Module, data: TrainingData, recipe: ScoringRecipe) -> Orders:
    """The nested orders by |G| up to K_MAX, for every level. Raises MethodError when no batch is complete."""
    weights = weights_of(model)
    with _scoring(model, weights, data.generator):
        if _accumulate(model, data, recipe) == 0:
            raise MethodError(
                f"GPS saw no complete batch of {recipe.batch_size} images; lower gps.selection_batch_size or add images"
            )

        def score_of(name: str) -> Tensor:
            weight = weights[name]
            score = torch.zeros_like(weight) if weight.grad is None else weight.grad.abs()
            weight.grad = None  # a layer's accumulator goes as soon as its order is known
            return score

        return nested_orders(weights, score_of)


def _accumulate(model: nn.Module, data: TrainingData, recipe: ScoringRecipe) -> int:
    """Adds every batch's gradient into `.grad`, which is the accumulator; returns the number of batches."""
    batches = 0
    with torch.autocast(next(model.parameters()).device.type, enabled=False):
        for loss in _losses(model, data, recipe):
            loss.backward()
            batches += 1
    return batches


def _losses(model: nn.Module, data: TrainingData, recipe: ScoringRecipe) -> Iterator[Tensor]:
    device = next(model.parameters()).device
    if isinstance(data, KnowsTaskLoss) != (recipe.loss == "task"):
        raise MethodError(
            f"gps.loss is {recipe.loss!r}, which this data set has no labels for: supcon and cross_entropy need a "
            "class per image, task a data set with masks. Leave gps.loss out: each kind of task has its own"
        )
    if isinstance(data, KnowsTaskLoss):
        for images, targets in data.batches(recipe.batch_size):
            yield data.task_loss(model(images.to(device)), targets.to(device))
    elif recipe.loss == "cross_entropy":
        for images, labels in data.batches(recipe.batch_size):
            yield F.cross_entropy(model(images.to(device)), labels.to(device))
    else:
        for images, labels in data.two_view_batches(recipe.batch_size):
            both = images.to(device).transpose(0, 1).flatten(0, 1)  # (2B, 3, H, W): all first views, then all second
            features = model.forward_head(model.forward_features(both), pre_logits=True)  # type: ignore[operator]
            views = features.unflatten(0, (2, -1)).transpose(0, 1)  # (B, 2, D)
            yield supcon_loss(views, labels.to(device), recipe.temperature)


@contextmanager
def _scoring(model: nn.Module, weights: dict[str, Tensor], generator: torch.Generator) -> Iterator[None]:
    """Train mode (drop path acts, as in the release), gradients of the scored weights only, its own random state."""
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    scored = {id(weight) for weight in weights.values()}
    was_training = model.training
    device = next(model.parameters()).device
    seed = int(torch.randint(2**31, (), generator=generator))
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for parameter in flags:
                parameter.grad = None
                parameter.requires_grad_(id(parameter) in scored)
            model.train()
            yield
    finally:
        model.train(was_training)
        for parameter, flag in flags.items():
            parameter.grad = None
            parameter.requires_grad_(flag)
