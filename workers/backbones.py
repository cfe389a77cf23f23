"""Builds backbones with their weights and a fresh head."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.drop import DropPath, calculate_drop_path_rates
from torch import nn

from methods.surgery import head_parameters
from storage.records import SEGMENTATION, BackboneRef, Job, Recipe
from workers.backbone_facts import RAW_PIXELS
from workers.embedded.architectures import build_embedded
from workers.embedded.catalogue import EMBEDDED
from workers.errors import UnknownBackbone, Unsupported, WeightsMismatch, WeightsMissing
from workers.pretrained import load_weights
from workers.randomness import generator, seeded
from workers.raw_pixels import RawPixels
from workers.segmentation.model import Segmenter, load_sam_head, segmenter
from workers.site import Site
from workers.weights import NO_WEIGHTS, RANDOM_WEIGHTS, hash_of, weights_file

_INIT_STD = 0.02


@dataclass(frozen=True)
class _Pristine:
    """A backbone as loaded, without head, and what it was built for."""

    made_for: tuple[object, ...]
    model: nn.Module


_last: list[_Pristine] = []
"""The last pristine backbone of this process (at most one): a warm slot copies it instead of loading it again."""

spare: list[object] = []
"""What else this process keeps of an earlier job (`workers.probes`); given up before another model is built."""


def build_model(job: Job, site: Site) -> nn.Module:
    """The job's backbone on the site's device, weights loaded, nothing adapted, with a fresh head.

    Raises UnknownBackbone, WeightsMissing, WeightsMismatch, Unsupported.
    """
    size = job.recipe.image_size
    if size is None:
        raise Unsupported("recipe.image_size is not resolved; a job carries a number of pixels: plan it again")
    spare.clear()
    wanted = made_for(job, site)
    if not _last or _last[0].made_for != wanted:
        _last.clear()  # before the next one is built: two large backbones need not fit side by side
        _last.append(_Pristine(wanted, _pristine(job, size, site)))
    model = copy.deepcopy(_last[0].model)
    _fresh_head(model, job)
    return model.to(site.device)


def made_for(job: Job, site: Site) -> tuple[object, ...]:
    """All that the job's backbone depends on; jobs with equal ones have the same but for the head."""
    seed = job.seed if job.backbone.weights_hash == RANDOM_WEIGHTS else None
    kind = (job.backbone.name, job.backbone.weights_hash, job.dataset.task)
    return (*kind, job.recipe.image_size, job.recipe.drop_path, seed, site.device)


def redraw_head(model: nn.Module, job: Job) -> None:
    """Put the values of the job's fresh head into the head [classes, width] that the model has."""
    _init_head(model, job.recipe, job.seed)


def bare_architecture(name: str, image_size: int | None = None, drop_path: float = 0.0) -> nn.Module:
    """The architecture at its own input size (raw pixels: at `image_size`), randomly initialised, without head.

    Raises UnknownBackbone, Unsupported.
    """
    if name == RAW_PIXELS:
        return RawPixels(image_size) if image_size else RawPixels()
    if name in EMBEDDED:
        model = build_embedded(name, 0)
        _set_drop_path(model, drop_path)
        return model
    if not timm.is_model(name):
        raise UnknownBackbone(f"neither Sweepboard nor timm {timm.__version__} knows a backbone {name!r}")
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, drop_path_rate=drop_path)
    except TypeError as error:
        if drop_path and "drop_path_rate" in str(error):
            raise Unsupported(f"recipe.drop_path is {drop_path}, and {name} has none; set drop_path: 0") from None
        if "drop_path_rate" in str(error):
            return timm.create_model(name, pretrained=False, num_classes=0)
        raise


def _pristine(job: Job, size: int, site: Site) -> nn.Module:
    backbone = job.backbone
    with seeded(job.seed, "backbone"):
        model = bare_architecture(backbone.name, size, job.recipe.drop_path)
    path = None
    if backbone.weights_hash not in (RANDOM_WEIGHTS, NO_WEIGHTS):
        path = _weights_path(backbone, site)
        load_weights(model, backbone, path)
    fit_input_size(model, backbone.name, size)
    if job.dataset.task == SEGMENTATION:
        model = segmenter(model, backbone.name)
        if path is not None and model.is_sam:
            load_sam_head(model, path)
    if torch.device(site.device).type == "cpu":
        unfused_attention(model)
    return model


def unfused_attention(model: nn.Module) -> None:
    """Plain matrix products in attention: on a CPU the flash backward in bf16 takes half of a training step."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010  (an attribute that nn.Module does not declare)


def _weights_path(backbone: BackboneRef, site: Site) -> Path:
    """Where the plan saw the file; on another node, this node's own copy of the default weights."""
    path = site.weights.get(backbone.weights_hash)
    if path is None or not path.exists():
        try:
            path = weights_file(backbone.name, None, site.cache, may_download=True)
        except WeightsMissing as error:
            given = f"not at {path}" if path else "not among the files this node was told of"
            raise WeightsMissing(
                f"weights {backbone.weights_hash[:16]} of {backbone.name} are {given}, and their default is no help: "
                f"{error}"
            ) from None
    found = "none" if path is None else hash_of(path, site.cache)
    if path is None or found != backbone.weights_hash:
        raise WeightsMismatch(
            f"{path} has content {found[:16]}, the job names weights {backbone.weights_hash[:16]} of {backbone.name}: "
            "the file changed since the plan, or this node lacks it; plan again or put that file back"
        )
    return path


def fit_input_size(model: Any, name: str, size: int) -> None:
    """Another input size than the architecture's own: position embeddings are interpolated (timm, bicubic).

    Raises Unsupported.
    """
    resize = getattr(model, "set_input_size", None)
    if resize is None or getattr(model, "patch_embed", None) is None:
        return  # convolutions and raw pixels take any size
    if tuple(model.patch_embed.img_size) == (size, size):
        return
    try:
        resize(img_size=(size, size))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise Unsupported(f"recipe.image_size is {size}, and {name} cannot take it ({error}); choose another") from None


def _set_drop_path(model: Any, rate: float) -> None:
    """timm's rule: from 0 at the first block to `rate` at the last."""
    if rate:
        rates: Any = calculate_drop_path_rates(rate, len(model.blocks))
        for block, block_rate in zip(model.blocks, rates, strict=True):
            block.drop_path1, block.drop_path2 = DropPath(block_rate), DropPath(block_rate)


def _fresh_head(model: Any, job: Job) -> None:
    """A new linear classifier (two for distilled DeiT) or decoder, drawn from the job's seed alone; SAM's decoder stays
    as its checkpoint has it."""
    if isinstance(model, Segmenter):
        if not model.is_pretrained:
            with seeded(job.seed, "head"):
                model.draw_head()
        return
    with seeded(job.seed, "head"):
        model.reset_classifier(job.dataset.classes)
    _init_head(model, job.recipe, job.seed)


def _init_head(model: nn.Module, recipe: Recipe, seed: int) -> None:
    draws = generator(seed, "head")
    with torch.no_grad():
        for parameter in head_parameters(model):
            value = torch.zeros(parameter.shape)  # on the CPU, as the generator is, wherever the model is by now
            if recipe.head_init != "zero" and parameter.ndim > 1:
                nn.init.trunc_normal_(value, std=_INIT_STD, generator=draws)
            parameter.copy_(value)
