"""Pre-trains an embedded backbone on drawn scenes: no data, no network, no licence.

    python -m workers.embedded.pretrain nano_vit --out nano_vit.safetensors [--steps N] [--seed 0]

writes the weights (safetensors, timm's parameter names, no head, fp16) and a card beside them (`.json`). The
number of steps is fixed, never a time; step `i` of seed `s` draws its scenes from a generator of its own. So
one machine with one thread count gives the same file, bit for bit. fp32 master weights, bf16 autocast; timm's
fused attention is off because on CPUs its backward pass in bf16 takes half of the step.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from workers.embedded.architectures import build_embedded
from workers.embedded.catalogue import EMBEDDED, EmbeddedArchitecture
from workers.embedded.drawings import SceneDrawer
from workers.embedded.objectives import SceneObjective

DEFAULT_STEPS = 13_000  # those of the shipped weights; about 25 CPU-minutes for nano_vit, 13 for pico_vit
_CLIP_NORM = 1.0
_REPORT_EVERY = 200
_SEED_STRIDE = 1_000_003  # keeps the generators of neighbouring seeds apart for a million steps


@dataclass(frozen=True)
class PretrainRecipe:
    """All that decides the weights, apart from the machine."""

    architecture: str
    steps: int
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.05
    threads: int = 1


def pretrain(recipe: PretrainRecipe, report: Callable[[str], None]) -> VisionTransformer:
    """Trains for `recipe.steps` steps; returns the backbone (fp32, no head).

    `report` gets a line with step, losses and images/s every 200 steps. Sets the process's thread count.
    """
    architecture = EMBEDDED[recipe.architecture]
    torch.set_num_threads(recipe.threads)
    objective = _seeded_objective(architecture, recipe.seed)
    groups = _parameter_groups(objective, recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, recipe))
    drawer, started = SceneDrawer(), time.monotonic()
    for step in range(recipe.steps):
        generator = torch.Generator().manual_seed(recipe.seed * _SEED_STRIDE + step)
        scenes = drawer.draw(recipe.batch_size, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = objective(normalised(scenes.images, architecture), scenes)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(objective.parameters(), _CLIP_NORM)
        optimizer.step()
        schedule.step()
        if (step + 1) % _REPORT_EVERY == 0 or step + 1 == recipe.steps:
            images_per_s = (step + 1) * recipe.batch_size / (time.monotonic() - started)
            report(_progress_line(step + 1, losses, images_per_s))
    return objective.backbone


def normalised(images: Tensor, architecture: EmbeddedArchitecture) -> Tensor:
    """uint8 [batch, 3, height, width] -> float32, scaled to [0, 1] and normalised by `mean` and `std`."""
    mean = torch.tensor(architecture.mean)[:, None, None]
    std = torch.tensor(architecture.std)[:, None, None]
    return (images.float() / 255 - mean) / std


def write_weights(backbone: VisionTransformer, recipe: PretrainRecipe, out: Path) -> None:
    """Writes `out` (fp16 safetensors) and its JSON card, each in one atomic move, the card last."""
    tensors = {name: value.half().contiguous() for name, value in backbone.state_dict().items()}
    content = save(tensors)
    command = (
        f"python -m workers.embedded.pretrain {recipe.architecture} --out {out.name}"
        f" --steps {recipe.steps} --seed {recipe.seed} --threads {recipe.threads}"
    )
    card = {
        "architecture": asdict(EMBEDDED[recipe.architecture]),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(value.numel() for value in backbone.parameters()),
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "command": command,
    }
    _write_atomically(out, content)
    _write_atomically(out.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _seeded_objective(architecture: EmbeddedArchitecture, seed: int) -> SceneObjective:
    """The model at step 0; the process's own random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_embedded(architecture.name, num_classes=0)
        objective = SceneObjective(backbone)
    for module in backbone.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", False)  # noqa: B010  (declared Final for TorchScript only)
    if backbone.pos_embed is None:
        raise ValueError(f"{architecture.name} has no position embedding")
    with torch.no_grad():
        side = architecture.image_size // architecture.patch_size
        backbone.pos_embed[0, 1:] = _sincos_positions(side, architecture.dim) * 0.5
    return objective


def _sincos_positions(side: int, dim: int) -> Tensor:
    """2-D sine-cosine position embedding [side * side, dim]: without it the position heads take off late."""
    frequency = torch.exp(-math.log(100.0) * torch.arange(dim // 4) / (dim // 4))
    angle = torch.arange(side)[:, None] * frequency
    axis = torch.cat([angle.sin(), angle.cos()], 1)
    rows = axis[:, None].expand(-1, side, -1)
    columns = axis[None].expand(side, -1, -1)
    return torch.cat([rows, columns], -1).reshape(side * side, dim)


def _parameter_groups(objective: SceneObjective, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices only: not for biases, norms, class token and position embedding."""
    matrices = [value for value in objective.parameters() if value.ndim in (2, 4)]
    others = [value for value in objective.parameters() if value.ndim not in (2, 4)]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _learning_rate(step: int, recipe: PretrainRecipe) -> float:
    """Linear warm-up, then a cosine to zero over the fixed number of steps."""
    warmup = max(1, round(recipe.steps * recipe.warmup_fraction))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _progress_line(step: int, losses: dict[str, Tensor], images_per_s: float) -> str:
    parts = " ".join(f"{name}={value.item():.2f}" for name, value in losses.items())
    total = sum(value.item() for value in losses.values())
    return f"step {step} loss {total:.3f} ({parts}) {images_per_s:.0f} images/s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m workers.embedded.pretrain", description=__doc__)
    parser.add_argument("architecture", choices=sorted(EMBEDDED))
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="part of what decides the bits")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error("--steps must be at least 1")
    if not arguments.out.parent.is_dir():
        parser.error(f"--out: there is no folder {arguments.out.parent}")
    recipe = PretrainRecipe(arguments.architecture, arguments.steps, seed=arguments.seed, threads=arguments.threads)
    write_weights(pretrain(recipe, partial(print, flush=True)), recipe, arguments.out)


if __name__ == "__main__":
    main()
