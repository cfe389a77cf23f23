"""Supervised contrastive loss (Khosla et al., NeurIPS 2020, arXiv 2004.11362, eq. 2), as GPS uses it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def supcon_loss(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean over all B·V anchors, a scalar. features: (B, V, D) of V >= 2 views, of any length; labels: (B,).

    For anchor i the positives P(i) are all other rows of its label, the other views of the same image among them:
    -1/|P(i)| · Σ_p [z_i·z_p/t - log Σ_{a≠i} exp(z_i·z_a/t)], z of unit length. The loss does not depend on the
    order of views or images.
    """
    views = features.shape[1]
    z = F.normalize(features.transpose(0, 1).flatten(0, 1), dim=1)  # (V·B, D)
    owner = labels.repeat(views)
    is_self = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(is_self, float("-inf"))
    log_prob = (logits - logits.logsumexp(dim=1, keepdim=True)).masked_fill(is_self, 0.0)
    positive = (owner[:, None] == owner[None, :]) & ~is_self
    return -((log_prob * positive).sum(1) / positive.sum(1)).mean()
