"""Heads on made-up features, for tests of how they are trained: what a trainer asks of a model, a feed, and recipes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from methods.api import Adaptation
from workers.adapted import AdaptedModel
from workers.data.batches import Batches
from workers.data.stocks import ImageSet
from workers.features import FeatureFeed

CPU = torch.device("cpu")


class Headed(nn.Module):
    """What a trainer asks of a model: its heads."""

    def __init__(self, *heads):
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def get_classifier(self):
        return self.heads[0] if len(self.heads) == 1 else tuple(self.heads)


def a_model(width, classes, seed, heads=1):
    torch.manual_seed(seed)
    model = Headed(*(nn.Linear(width, classes) for _ in range(heads)))
    moving = dict(model.named_parameters())
    return AdaptedModel(model, (), Adaptation(), {}, moving, 0)


def a_feed(job, count, width, heads=1):
    draws = np.random.default_rng(5)
    labels = draws.integers(0, job.dataset.classes, count)
    batches = Batches(ImageSet(np.zeros((count, 1, 1, 3), np.uint8), labels), job, CPU)
    features = draws.standard_normal((count, heads, width), dtype=np.float32)
    features[:, :, 0] += labels[:, None]
    return FeatureFeed(torch.from_numpy(features), batches, job)


def a_probe(a_job, classes=10, seed=0, **recipe):
    job = a_job("linear", recipe={"epochs": 4, "batch_size": 32, "lr": 1e-2, **recipe})
    return replace(job, seed=seed, dataset=replace(job.dataset, classes=classes))


RECIPES = {
    "adamw": {},
    "adam with decay": {"optimizer": "adam", "weight_decay": 1e-2},
    "sgd with momentum": {"optimizer": "sgd", "lr": 0.5},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0},
    "no decay": {"weight_decay": 0.0},
    "label smoothing": {"label_smoothing": 0.1},
    "clipped gradients": {"clip_grad_norm": 0.05},
    "running average": {"ema_decay": 0.9},
    "warm-up and cooldown": {"warmup_epochs": 1.5, "cooldown_epochs": 2, "min_lr": 1e-4, "schedule_unit": "epoch"},
    "bf16": {"precision": "bf16"},
    "bf16 with smoothing": {"precision": "bf16", "label_smoothing": 0.2, "optimizer": "sgd"},
    "batches of 24": {"batch_size": 24, "label_smoothing": 0.1},
    "one batch of all": {"batch_size": 512},
    "batches of 1, more steps than are counted at once": {"batch_size": 1, "epochs": 2, "lr": 1e-4},
}
