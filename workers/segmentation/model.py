"""A backbone with a mask decoder: images in, logits of one mask per image out, at the images' size.

SAM's encoder gets SAM's decoder, from the same checkpoint. A plain ViT gets a small one of the same kind, drawn from
the job's seed, behind a 1x1 convolution that brings its patch tokens to the decoder's width. What follows the backbone
is the *head*: the trainer always trains it, methods adapt the backbone alone.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn
from torch.nn import functional as F

from workers.checkpoint_formats import read_checkpoint
from workers.errors import Unsupported, WeightsMismatch
from workers.segmentation.mask_decoder import DecoderSizes, MaskDecoder, NoPrompt

SMALL = DecoderSizes(dim=64, heads=4, mlp_dim=256, depth=2)
_ENCODER = "image_encoder"
_HEAD = ("prompt_encoder", "mask_decoder")
_OF_PROMPTS = tuple(
    f"prompt_encoder.{name}" for name in ("point_embeddings.", "not_a_point_embed.", "mask_downscaling.")
)
_SHOWN_KEYS = 3

_log = logging.getLogger(__name__)


class Segmenter(nn.Module):
    """`image_encoder` (timm) and the head. Called with images (n, 3, s, s); gives logits (n, 1, s, s)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder: Any = encoder
        self.is_pretrained = False  # the head
        self.draw_head()

    @property
    def is_sam(self) -> bool:
        return isinstance(self.image_encoder, VisionTransformerSAM)

    @property
    def blocks(self) -> nn.Module:
        """The encoder's blocks: methods look for them here."""
        return self.image_encoder.blocks

    def draw_head(self) -> None:
        """A fresh head from torch's present random state, as the layers initialise themselves."""
        width = self.image_encoder.num_features
        sizes = DecoderSizes(dim=width) if self.is_sam else SMALL
        self.projection: nn.Module = nn.Identity() if self.is_sam else nn.Conv2d(width, sizes.dim, kernel_size=1)
        self.prompt_encoder = NoPrompt(sizes.dim)
        self.mask_decoder = MaskDecoder(sizes)

    def get_classifier(self) -> tuple[nn.Module, ...]:
        """The head, as timm's models name theirs."""
        return self.projection, self.prompt_encoder, self.mask_decoder

    def idle_names(self) -> frozenset[str]:
        """Parameters of the head that a single mask does not need: they are kept, and have no gradient."""
        of_masks = ("mask_decoder.iou_prediction_head.", "mask_decoder.output_hypernetworks_mlps.")
        used = "mask_decoder.output_hypernetworks_mlps.0."
        names = (name for name, _ in self.named_parameters())
        return frozenset(name for name in names if name.startswith(of_masks) and not name.startswith(used))

    def no_weight_decay(self) -> set[str]:
        """Of the encoder, by full name."""
        return {f"{_ENCODER}.{name}" for name in self.image_encoder.no_weight_decay()}

    def feature_map(self, images: Tensor) -> Tensor:
        """(n, 3, s, s) -> (n, width, h, w), one cell per patch."""
        made: Tensor = self.image_encoder.forward_features(images)
        if made.ndim == 4:  # SAM's neck gives a map
            return made
        patches = made[:, self.image_encoder.num_prefix_tokens :].transpose(1, 2)
        return patches.unflatten(2, self.image_encoder.patch_embed.grid_size)

    def forward(self, images: Tensor) -> Tensor:
        features, positions = self.prompt_encoder(self.projection(self.feature_map(images)))
        coarse = self.mask_decoder(features, positions)
        return F.interpolate(coarse.float(), images.shape[-2:], mode="bilinear", align_corners=False)


def segmenter(encoder: nn.Module, name: str) -> Segmenter:
    """The encoder (without classifier) with a fresh head. Raises Unsupported where it hands on no map of patches."""
    if not isinstance(encoder, VisionTransformer | VisionTransformerSAM):
        raise Unsupported(
            f"{name} cannot segment: it is a {type(encoder).__name__}, and a decoder reads the patches of a ViT or of "
            "SAM's encoder (samvit_base_patch16.sa1b)"
        )
    return Segmenter(encoder)


def load_sam_head(model: Segmenter, path: Path) -> None:
    """SAM's own decoder from its checkpoint (`sam_vit_b_01ec64.pth`), strictly; what only prompts use is left out.

    Raises WeightsMismatch, also where the file holds the encoder alone, as timm's copies on the hub do.
    """
    read = read_checkpoint(path).state
    state = {key: value for key, value in read.items() if key.startswith(_HEAD) and not key.startswith(_OF_PROMPTS)}
    expected = {key: value for key, value in model.state_dict().items() if key.startswith(_HEAD)}
    if not state:
        raise WeightsMismatch(
            f"{path} holds no mask decoder, only an encoder; segmentation trains on SAM's own decoder: write "
            "weights: sam_vit_b_01ec64.pth, the file of the segment-anything release, or weights: random"
        )
    wrong = sorted(expected.keys() ^ state.keys())
    wrong += sorted(key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape)
    if wrong:
        raise WeightsMismatch(
            f"the mask decoder in {path} is not SAM's: {', '.join(wrong[:_SHOWN_KEYS])} "
            f"({len(wrong)} keys) are on one side only or of another shape; name a checkpoint of segment-anything"
        )
    with torch.no_grad():
        for key, value in model.state_dict(keep_vars=True).items():
            if key in state:
                value.copy_(state[key])
    model.is_pretrained = True
    dropped = sorted({key.split(".")[1] for key in read if key.startswith(_OF_PROMPTS)})
    if dropped:
        _log.warning("%s: dropped what only prompts use: %s", path, ", ".join(dropped))
