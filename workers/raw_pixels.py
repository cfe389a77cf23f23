"""The backbone that knows nothing: its features are the pixels, so `linear` on it is logistic regression."""

from __future__ import annotations

from torch import Tensor, nn

DEFAULT_SIZE = 32


class RawPixels(nn.Module):
    """Images [n, 3, size, size] -> their values [n, 3 x size x size] -> logits of the head. It has no weights."""

    def __init__(self, image_size: int = DEFAULT_SIZE) -> None:
        super().__init__()
        self.num_features = 3 * image_size * image_size
        self.head: nn.Module = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh linear head."""
        self.head = nn.Linear(self.num_features, num_classes)
