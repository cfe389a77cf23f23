"""GPS step against a full step with dense masks, ViT-S, side by side in one run.

    python -m tests.benchmarks.bench_gps [--device cuda] [--batch 16] [--rounds 5] [--precision bf16]

The dense step is the release's: gradients of all weights, `where(mask)`, Adam over everything. Both steps alternate,
so that a noisy machine hits both; the ratio is that of the medians. Bars (DESIGN §10): CPU <= 0.8 at K = 1, <= 1.0 at
K = 15; GPU <= 1.0; optimizer state <= 1/20.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

from methods.gps import GPS
from methods.gps_selection import eligible
from methods.stack import prepare_stack
from methods.testing import TinyData

Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    say = sys.stdout.write
    say(f"ViT-S/16, batch {options.batch}, {options.device}, {options.precision}, torch {torch.__version__}\n")
    for k in (1, 5, 15):
        compact, dense = compact_step(k, options), dense_step(k, options)
        times = interleaved([compact[0], dense[0]], options)
        ratio = times[0] / times[1]
        state = state_bytes(compact[1]) / state_bytes(dense[1])
        line = f"K={k:2d}  compact {times[0]:8.1f} ms  dense mask {times[1]:8.1f} ms  ratio {ratio:.3f}"
        say(f"{line}  optimizer state 1/{1 / state:.0f}\n")


def compact_step(k: int, options: Any) -> tuple[Step, torch.optim.Optimizer]:
    model = adapted(k).to(options.device).train()
    optimizer = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4)
    return step_of(model, optimizer, lambda: None, options), optimizer


def dense_step(k: int, options: Any) -> tuple[Step, torch.optim.Optimizer]:
    chosen, model = adapted(k), vit_s().to(options.device).train()
    masks: dict[str, torch.Tensor] = {}
    trainable = {name for name, parameter in chosen.named_parameters() if parameter.requires_grad}
    for name, module in eligible(chosen).items():
        flat = torch.ones(module.weight.numel()).index_fill(0, module.gps_index, 0.0)
        masks[name] = flat.view_as(module.weight).to(options.device)
    for name, parameter in model.named_parameters():
        masks.setdefault(name, torch.full_like(parameter, float(name not in trainable)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def mask() -> None:
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                parameter.grad = torch.where(masks[name] == 1, 0.0, parameter.grad)

    return step_of(model, optimizer, mask, options), optimizer


def vit_s() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model("vit_small_patch16_224", num_classes=100)
    return model


def adapted(k: int) -> nn.Module:
    model = vit_s()
    prepare_stack([GPS(criterion="random", connections_per_neuron=k)], model, TinyData())
    return model


def step_of(model: nn.Module, optimizer: torch.optim.Optimizer, mask: Step, options: Any) -> Step:
    images = torch.randn(options.batch, 3, 224, 224, device=options.device)
    labels = torch.randint(100, (options.batch,), device=options.device)
    autocast = torch.autocast(options.device, dtype=torch.bfloat16) if options.precision == "bf16" else nullcontext()

    def step() -> None:
        optimizer.zero_grad()
        with autocast:
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        mask()
        optimizer.step()

    return step


def interleaved(steps: list[Step], options: Any) -> list[float]:
    """Median milliseconds of each step, taken in turn after one warm-up each."""
    for step in steps:
        step()
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(options.rounds):
        for step, times in zip(steps, taken, strict=True):
            times.append(timed_ms(step, options.device))
    return [statistics.median(times) for times in taken]


def timed_ms(step: Step, device: str) -> float:
    """Wall time on a GPU; CPU time of the process on a CPU, which other processes of the machine disturb least."""
    if device == "cpu":
        start = time.process_time()
        step()
        return (time.process_time() - start) * 1e3
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    tensors = [item for state in optimizer.state.values() for item in state.values() if isinstance(item, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    main()
