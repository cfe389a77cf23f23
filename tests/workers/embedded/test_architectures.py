import pytest
import torch

from workers.embedded.architectures import build_embedded
from workers.embedded.catalogue import EMBEDDED


def block_macs(dim: int, tokens: int) -> int:
    return tokens * 12 * dim**2 + 2 * tokens**2 * dim


@pytest.mark.parametrize(("name", "parameters"), [("nano_vit", 682_272), ("pico_vit", 175_248)])
def test_the_backbones_have_the_documented_number_of_parameters(name, parameters):
    model = build_embedded(name, num_classes=0)
    assert sum(value.numel() for value in model.parameters()) == parameters


def test_pico_costs_about_as_much_as_nano_at_high_compression():
    nano, pico = EMBEDDED["nano_vit"], EMBEDDED["pico_vit"]
    ratio = block_macs(pico.dim, pico.patch_tokens + 1) / block_macs(nano.dim, nano.patch_tokens + 1)
    assert 0.25 < ratio < 0.30


def test_features_are_the_mean_of_the_normalised_patch_tokens():
    torch.manual_seed(0)
    model = build_embedded("pico_vit", num_classes=0).eval()
    torch.nn.init.normal_(model.norm.weight)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = model.forward_features(images)
        torch.testing.assert_close(model(images), tokens[:, 1:].mean(1))
        before_norm = model.blocks(model._pos_embed(model.patch_embed(images)))
        torch.testing.assert_close(tokens, model.norm(before_norm))


def test_a_head_has_one_logit_per_class():
    assert build_embedded("pico_vit", num_classes=7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_an_unknown_architecture_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"femto_vit.*nano_vit, pico_vit"):
        build_embedded("femto_vit", num_classes=0)
