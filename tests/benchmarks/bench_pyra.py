"""A training step and an inference pass of LoRA + PYRA and LoRA + ToMe beside LoRA alone, in one run.

    python tests/benchmarks/bench_pyra.py [--device cuda] [--model vit_base_patch16_224] [--batch-size 32]

Prints ratios of medians over interleaved rounds. Bars on a CPU with ViT-S at 224 px, high rate: step ≤ 0.45 × LoRA's,
inference ≥ 2.5 × the unmerged model's speed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import timm
import torch
from torch import nn
from torch.nn import functional as F

from methods.api import Method
from methods.lora import LoRA
from methods.pyra import PYRA
from methods.stack import merge_stack, prepare_stack
from methods.surgery import head_parameters
from methods.testing import TinyData
from methods.tome import ToMe
from workers.backbones import unfused_attention

CLASSES, ROUNDS = 100, 5
MOST_STEP, LEAST_SPEED_UP = 0.45, 2.5


def stacks(rank: int) -> Mapping[str, tuple[Method, ...]]:
    found: dict[str, tuple[Method, ...]] = {"lora": (LoRA(rank=rank),)}
    for rate in ("low", "high"):
        found[f"lora+tome {rate}"] = (LoRA(rank=rank), ToMe(merge_rate=rate))
        found[f"lora+pyra {rate}"] = (LoRA(rank=rank), PYRA(merge_rate=rate))
    return found


def training(stack: tuple[Method, ...], args: argparse.Namespace) -> Callable[[], None]:
    model = timm.create_model(args.model, num_classes=CLASSES).to(args.device)
    if args.device == "cpu":
        unfused_attention(model)
    adaptation = prepare_stack(stack, model, TinyData())
    moving = [model.get_parameter(name) for name in adaptation.trainable] + list(head_parameters(model))
    optimizer = torch.optim.AdamW(moving, lr=1e-3, fused=True)
    images = torch.randn(args.batch_size, 3, 224, 224, device=args.device)
    labels = torch.randint(CLASSES, (args.batch_size,), device=args.device)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def inference(stack: tuple[Method, ...], args: argparse.Namespace) -> Callable[[], None]:
    model: nn.Module = timm.create_model(args.model, num_classes=CLASSES).to(args.device)
    if args.device == "cpu":
        unfused_attention(model)
    prepare_stack(stack, model, TinyData())
    model = merge_stack(stack, model).eval()
    images = torch.randn(args.batch_size, 3, 224, 224, device=args.device)

    @torch.no_grad()
    def run() -> None:
        model(images)

    return run


def timed_s(run: Callable[[], None], repeats: int, device: str) -> float:
    began_s = time.perf_counter()
    for _ in range(repeats):
        run()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began_s) / repeats


def medians_s(runs: Mapping[str, Callable[[], None]], repeats: int, device: str) -> dict[str, float]:
    """One window of each in turn, so that all meet the same load."""
    for run in runs.values():
        timed_s(run, 1, device)
    rounds = [{name: timed_s(run, repeats, device) for name, run in runs.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in runs}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="vit_small_patch16_224")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=1, help="steps per window; more on a fast device")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ratios = {}
    for what, make in (("training step", training), ("merged inference", inference)):
        runs = {name: make(stack, args) for name, stack in stacks(args.rank).items()}
        found = medians_s(runs, args.repeats, args.device)
        ratios[what] = found["lora+pyra high"] / found["lora"]
        for name, seconds in found.items():
            speed = args.batch_size / seconds
            say(f"{args.model} {what:17} {name:15} {seconds / found['lora']:5.2f} × lora   {speed:8.1f} img/s")
    met = ratios["training step"] <= MOST_STEP and 1 / ratios["merged inference"] >= LEAST_SPEED_UP
    outcome = "met" if met else "MISSED"
    say(f"bars (high): step ≤ {MOST_STEP} × lora, inference ≥ {LEAST_SPEED_UP} × faster: {outcome}")
    return 0 if met or args.device != "cpu" else 1


if __name__ == "__main__":
    sys.exit(main())
