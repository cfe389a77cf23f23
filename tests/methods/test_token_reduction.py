"""ToMe, random dropping and PYRA keep the contract, and do with tokens what they say."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from methods.api import Method, MethodError
from methods.pyra import PYRA
from methods.random_drop import RandomDrop
from methods.stack import prepare_stack
from methods.testing import MethodContract, TinyData, outputs, tiny_vit
from methods.token_blocks import ReducingBlock, reduce_tokens
from methods.token_matching import match, merge
from methods.tome import ToMe

WIDTH, SCHEDULE = 16, (5, 3)


class TestToMe(MethodContract):
    method: Method = ToMe(schedule=SCHEDULE)
    trained_params = 0
    identity_at_start = False


class TestRandomDrop(MethodContract):
    method: Method = RandomDrop(schedule=SCHEDULE)
    trained_params = 0
    identity_at_start = False


class TestPYRA(MethodContract):
    method: Method = PYRA(schedule=SCHEDULE)
    trained_params = 5 + 3 * WIDTH  # the first block: W_r, W_D and the norm; the second would be dead
    identity_at_start = False


class TestPYRAAsThePaperWritesIt(MethodContract):
    method: Method = PYRA(schedule=SCHEDULE, preset="paper")
    trained_params = 5 + WIDTH
    identity_at_start = False


def adapted(*stack: Method, **changes: Any) -> VisionTransformer:
    model = tiny_vit(**changes)
    prepare_stack(stack, model, TinyData())
    return model


def tokens_after_blocks(model: VisionTransformer, images: Tensor) -> list[int]:
    seen: list[int] = []
    hooks = [block.register_forward_hook(lambda *args: seen.append(args[2][0].shape[1])) for block in model.blocks]
    model(images)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("method", [ToMe, RandomDrop, PYRA])
def test_each_block_hands_on_fewer_tokens_in_training_and_in_evaluation(method):
    model = adapted(method(schedule=SCHEDULE))
    images = torch.randn(2, 3, 16, 16)
    assert tokens_after_blocks(model.eval(), images) == [12, 9]
    assert tokens_after_blocks(model.train(), images) == [12, 9]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "changes",
    [{}, {"qk_norm": True}, {"init_values": None}, {"reg_tokens": 4}, {"class_token": False, "global_pool": "avg"}],
)
def test_without_reduction_the_patched_forward_is_timm_s(changes, fused):
    plain = tiny_vit(**changes)
    for block in plain.blocks:
        block.attn.fused_attn = fused
    patched = copy.deepcopy(plain)
    reduce_tokens(patched, [None, None])
    assert type(patched.blocks[0]) is ReducingBlock
    assert torch.allclose(outputs(patched), outputs(plain), atol=1e-6)


@pytest.mark.parametrize("fused", [False, True])
def test_proportional_attention_lets_a_merged_token_count_for_its_patches(fused):
    """Two equal tokens merged into one of size two are attended to as the two were."""
    model = tiny_vit()
    reduce_tokens(model, [None, None])
    attention = model.blocks[0].attn
    attention.fused_attn = fused
    x = torch.randn(1, 6, WIDTH)
    twice = torch.cat((x, x[:, 5:]), dim=1)
    sizes = torch.tensor([1.0, 1, 1, 1, 1, 2])[None, :, None]
    assert torch.allclose(attention(x, sizes)[0], attention(twice, None)[0][:, :6], atol=1e-6)


@given(tokens=st.integers(6, 40), prefix=st.integers(0, 5), share=st.floats(0.01, 1.0), seed=st.integers(0, 10_000))
def test_sizes_are_conserved_and_prefix_tokens_stay_in_front_as_they_were(tokens, prefix, share, seed):
    most = (tokens - prefix) // 2
    if most < 1:
        return
    r = max(1, int(share * most))
    draws = torch.Generator().manual_seed(seed)
    x, metric = torch.randn(2, tokens, 4, generator=draws), torch.randn(2, tokens, 3, generator=draws)
    sizes = torch.randint(1, 5, (2, tokens, 1), generator=draws).float()
    y, merged = merge(match(metric, r, prefix), x, sizes)
    assert y.shape == (2, tokens - r, 4)
    assert torch.equal(merged.sum(dim=1), sizes.sum(dim=1))
    assert torch.equal(merged[:, :prefix], sizes[:, :prefix])
    assert torch.allclose(y[:, :prefix], x[:, :prefix], atol=1e-6)
    assert torch.allclose((y * merged).sum(dim=1), (x * sizes).sum(dim=1), atol=1e-4), "the weighted sum is kept"


def test_more_than_half_of_the_patches_cannot_be_merged_at_once():
    with pytest.raises(MethodError, match="cannot merge 9 of 17 tokens"):
        match(torch.randn(1, 17, 4), 9, 1)


def test_merging_in_the_last_block_changes_nothing_where_the_head_reads_the_class_token():
    assert torch.equal(outputs(adapted(ToMe(schedule=(5, 3)))), outputs(adapted(ToMe(schedule=(5, 0)))))
    pooled = {"class_token": False, "global_pool": "avg"}
    assert not torch.allclose(
        outputs(adapted(ToMe(schedule=(4, 3)), **pooled)), outputs(adapted(ToMe(schedule=(4, 0)), **pooled)), atol=1e-4
    )


def test_average_pooling_weighs_a_merged_token_by_its_patches():
    model = adapted(ToMe(schedule=(0, 5)), class_token=False, global_pool="avg").eval()
    tokens = model.forward_features(torch.randn(2, 3, 16, 16))
    sizes = model.blocks.last_sizes
    assert sizes.sum(dim=1).flatten().tolist() == [16, 16]
    assert torch.allclose(model.pool(tokens), (tokens * sizes).sum(dim=1) / 16, atol=1e-6)
    assert model.blocks.last_sizes is None, "the sizes of one batch are not those of the next"


def test_register_and_distillation_tokens_are_never_merged():
    model = adapted(ToMe(schedule=(8, 4)), reg_tokens=4)
    images = torch.randn(2, 3, 16, 16)
    assert tokens_after_blocks(model, images) == [13, 9]
    model = timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, num_classes=5).eval()
    prepare_stack([ToMe(merge_rate="high")], model, TinyData(image_size=64))
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 5)


def test_random_dropping_is_drawn_anew_in_training_and_fixed_in_evaluation():
    model = adapted(RandomDrop(schedule=SCHEDULE))
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(images), model(images))
    assert torch.allclose(model(images)[:1], model(images[:1]), atol=1e-6), "whatever else is in the batch"
    assert not torch.allclose(model.train()(images), model(images))


def test_a_model_whose_activations_are_recomputed_is_refused():
    model = tiny_vit()
    model.set_grad_checkpointing()
    with pytest.raises(MethodError, match="grad_checkpointing"):
        prepare_stack([ToMe(schedule=SCHEDULE)], model, TinyData())


def test_what_is_no_vit_is_refused_by_name():
    model = timm.create_model("convnext_atto", num_classes=5)
    with pytest.raises(MethodError, match="tokens of a ConvNeXt cannot be reduced"):
        prepare_stack([ToMe(schedule=SCHEDULE)], model, TinyData())
