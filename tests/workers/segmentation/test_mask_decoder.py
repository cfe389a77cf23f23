"""The decoder computes what SAM's does: numbers of transformers 4.46's SamMaskDecoder on the same formula weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from workers.segmentation.mask_decoder import DecoderSizes, MaskDecoder, NoPrompt

SIDE = 5
TINY = DecoderSizes(dim=16, heads=2, mlp_dim=32, depth=2)
ORACLE = {
    DecoderSizes(): (
        [-1.31188, -1.21424, -1.37728, -0.93095, -0.58102, -0.59716, -0.8958, -0.62279, -0.7315],
        -760.50244,
    ),
    TINY: ([-0.08267, -0.07355, -0.09191, -0.02586, 0.01592, 0.00949, -0.07925, -0.01608, -0.03312], -31.368166),
}
"""Logits [0, 0, ::7, ::7] and the sum of them all."""


def with_formula_weights(module: nn.Module) -> nn.Module:
    for number, (name, value) in enumerate(module.state_dict().items()):
        wave = torch.sin(0.37 * torch.arange(value.numel(), dtype=torch.float64) + 1.3 * number).reshape(value.shape)
        is_norm = value.ndim == 1 and name.endswith("weight")
        value.copy_(1 + 0.1 * wave if is_norm else (0.2 if value.ndim >= 2 else 0.1) * wave)
    return module


def decoded(sizes: DecoderSizes) -> Tensor:
    decoder, prompt = with_formula_weights(MaskDecoder(sizes)), with_formula_weights(NoPrompt(sizes.dim))
    count = 2 * sizes.dim * SIDE**2
    image = torch.sin(0.11 * torch.arange(count, dtype=torch.float64)).reshape(2, sizes.dim, SIDE, SIDE).float()
    with torch.no_grad():
        masks: Tensor = decoder(*prompt(image))
    return masks


@pytest.mark.parametrize("sizes", ORACLE)
def test_the_decoder_gives_the_logits_of_another_implementation(sizes: DecoderSizes):
    masks = decoded(sizes)
    some, total = ORACLE[sizes]
    assert masks.shape == (2, 1, 4 * SIDE, 4 * SIDE)
    torch.testing.assert_close(masks[0, 0, ::7, ::7].flatten(), torch.tensor(some), atol=2e-5, rtol=0)
    assert masks.sum().item() == pytest.approx(total, rel=1e-4)


def test_an_image_is_decoded_alike_whatever_stands_beside_it_in_the_batch():
    decoder, prompt = with_formula_weights(MaskDecoder(TINY)), with_formula_weights(NoPrompt(16))
    images = torch.randn(3, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    together, alone = decoder(*prompt(images)), decoder(*prompt(images[1:2]))
    torch.testing.assert_close(together[1:2], alone)


def test_sams_decoder_has_the_parameters_of_the_release():
    with torch.device("meta"):
        decoder, prompt = MaskDecoder(DecoderSizes()), NoPrompt(256)
    assert sum(value.numel() for value in decoder.parameters()) == 4_058_340
    assert {name: value.numel() for name, value in prompt.named_parameters()} == {"no_mask_embed.weight": 256}
    assert prompt.pe_layer.positional_encoding_gaussian_matrix.shape == (2, 128)
