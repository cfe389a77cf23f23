"""Encoders with decoders: shapes, SAM's checkpoint, what the head is."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor

from methods.surgery import head_parameters
from storage.records import BackboneRef
from workers.errors import Unsupported, WeightsMismatch
from workers.pretrained import load_weights
from workers.segmentation.model import Segmenter, load_sam_head, segmenter

SAM = BackboneRef("samvit_base_patch16.sa1b", "0" * 64)
PROMPTS = {
    **{f"prompt_encoder.point_embeddings.{at}.weight": torch.zeros(1, 16) for at in range(4)},
    "prompt_encoder.not_a_point_embed.weight": torch.zeros(1, 16),
    "prompt_encoder.mask_downscaling.0.weight": torch.zeros(4, 1, 2, 2),
}


def small_sam(seed: int) -> Segmenter:
    """SAM's encoder with windows, relative positions and a neck, and its decoder, 16 wide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = VisionTransformerSAM(
            img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, neck_chans=16, num_classes=0,
            use_rel_pos=True, window_size=3, global_attn_indexes=(1,),
        )  # fmt: skip
        model = segmenter(encoder, "small")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    return model.eval()


def as_released(model: Segmenter) -> dict[str, Tensor]:
    """Under the names of segment-anything's checkpoints."""
    return {**{name.replace("mlp.fc", "mlp.lin", 1) if name.startswith("image_encoder") else name: value
               for name, value in model.state_dict().items()}, **PROMPTS}  # fmt: skip


def loaded(path: Path) -> Segmenter:
    model = small_sam(1)
    load_weights(model.image_encoder, SAM, path)
    load_sam_head(model, path)
    return model


def test_a_checkpoint_of_segment_anything_gives_its_function(tmp_path: Path):
    original, images = small_sam(0), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.save(as_released(original), tmp_path / "sam.pth")
    with torch.no_grad():
        expected, fresh = original(images), small_sam(1)(images)
        found = loaded(tmp_path / "sam.pth")(images)
    assert torch.equal(found, expected)
    assert not torch.allclose(fresh, expected)


def test_the_names_of_the_release_are_those_of_the_decoder():
    names = set(as_released(small_sam(0)))
    block = "mask_decoder.transformer.layers.1"
    assert {
        "prompt_encoder.no_mask_embed.weight",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        f"{block}.cross_attn_image_to_token.q_proj.weight",
        f"{block}.mlp.lin2.bias",
        "mask_decoder.transformer.norm_final_attn.weight",
        "mask_decoder.output_upscaling.3.weight",
        "mask_decoder.output_hypernetworks_mlps.3.layers.2.weight",
        "mask_decoder.iou_prediction_head.layers.0.weight",
        "mask_decoder.iou_token.weight",
        "image_encoder.blocks.0.attn.rel_pos_h",
        "image_encoder.blocks.0.mlp.lin1.weight",
        "image_encoder.neck.3.bias",
    } <= names


def test_an_encoder_alone_is_refused_with_the_file_to_name(tmp_path: Path):
    state = {name: value for name, value in as_released(small_sam(0)).items() if name.startswith("image_encoder")}
    torch.save(state, tmp_path / "encoder.pth")
    with pytest.raises(WeightsMismatch, match=r"holds no mask decoder.*sam_vit_b_01ec64\.pth"):
        loaded(tmp_path / "encoder.pth")


def test_a_decoder_with_a_key_too_few_is_refused_by_name(tmp_path: Path):
    state = as_released(small_sam(0))
    del state["mask_decoder.mask_tokens.weight"]
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(WeightsMismatch, match=r"mask_decoder\.mask_tokens\.weight \(1 keys\)"):
        loaded(tmp_path / "broken.pth")


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", 64), ("deit_tiny_distilled_patch16_224", 48)])
def test_a_vit_gives_a_mask_of_the_images_size(name: str, size: int):
    model = segmenter(timm.create_model(name, num_classes=0, img_size=size), name)
    assert model.feature_map(torch.zeros(2, 3, size, size)).shape == (2, 192, size // 16, size // 16)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 1, size, size)


def test_the_map_keeps_the_places_of_patches():
    """What changes in one patch of the image changes the first block's map there most."""
    model = segmenter(timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64), "x").eval()
    image = torch.zeros(1, 3, 64, 64)
    marked = image.clone()
    marked[..., 32:48, 16:32] = 1  # row 2, column 1
    with torch.no_grad():
        change = (model.feature_map(marked) - model.feature_map(image)).norm(dim=1)[0]
    assert divmod(int(change.argmax()), 4) == (2, 1)


def test_everything_behind_the_encoder_is_the_head():
    model = small_sam(0)
    head = {id(parameter) for parameter in head_parameters(model)}
    rest = {name for name, parameter in model.named_parameters() if id(parameter) not in head}
    assert rest == {f"image_encoder.{name}" for name, _ in model.image_encoder.named_parameters()}


def test_what_a_single_mask_does_not_need_has_no_gradient_and_nothing_else():
    model = small_sam(0)
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == model.idle_names()


def test_a_backbone_without_a_map_of_patches_is_refused():
    with pytest.raises(Unsupported, match="resnet10t cannot segment: it is a ResNet"):
        segmenter(timm.create_model("resnet10t", num_classes=0), "resnet10t")
