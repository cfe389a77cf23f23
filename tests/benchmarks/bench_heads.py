"""A sweep of linear probes against one probe: 8 rates x 5 decays x 3 seeds beside one job, side by side in one run.

    python -m tests.benchmarks.bench_heads [--pool inline|ray] [--epochs 20] [--data DIR --weights FILE] [--size 96]

The shipped nano_vit on an embedded task; with --data (a folder that holds vtab/NAME) and --weights a ViT-Ti/16 on that
set. Both sweeps begin in empty homes with their images decoded: what is compared is features and heads. Bar: the 120
jobs cost at most twice the slot-seconds of the one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from storage.open import open_store
from storage.records import Phase

RATES = "[1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]"
DECAYS = "[0, 1e-5, 1e-4, 1e-3, 1e-2]"


def say(what: str, value: str) -> None:
    sys.stdout.write(f"{what:<64} {value}\n")
    sys.stdout.flush()


def spec(name: str, options: argparse.Namespace, *, is_many: bool) -> str:
    dataset, backbone, size = "embedded/location", "nano_vit", ""
    if options.weights is not None:
        dataset, size = options.dataset, f", image_size: {options.size}"
        backbone = f"{{name: vit_tiny_patch16_224.augreg_in21k_ft_in1k, weights: {options.weights.resolve()}}}"
    lists = f", lr: {RATES}, weight_decay: {DECAYS}" if is_many else ""
    return (
        f"name: {name}\ndatasets: [{dataset}]\nbackbones: [{backbone}]\nmethods:\n"
        f"  - linear: {{train: {{epochs: {options.epochs}{lists}}}}}\nseeds: {3 if is_many else 1}\n"
        f"train: {{batch_size: 32, precision: fp32{size}}}\n"
    )


def run(folder: Path, name: str, options: argparse.Namespace, *, is_many: bool) -> float:
    """Wall seconds of the command, in a home of its own that shares the decoded images."""
    home, path = folder / name, folder / f"{name}.yaml"
    path.write_text(spec(name, options, is_many=is_many), encoding="utf-8")
    env = {**os.environ, "SWEEPBOARD_CACHE": str(folder / "cache")}
    if options.data is not None:
        env["SWEEPBOARD_DATA"] = str(options.data.resolve())
    line = [sys.executable, "-m", "orchestrator.cli", "run", str(path), "--home", str(home), "--mlflow", "off"]
    line += ["--no-preflight", "--pool", options.pool, "--slots", "1"]
    began_s = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)} failed:\n{done.stderr}")
    return time.perf_counter() - began_s


def spent(folder: Path, name: str, metric: str) -> tuple[float, list[float]]:
    """Seconds (`wall_s` or `cpu_s`) of the prepare jobs together, and of each other job."""
    store = open_store(folder / name / "store.db")
    found = [(state.job.phase, state.result) for state in store.jobs(name)]
    store.close()
    seconds = [(phase, result.metrics[metric]) for phase, result in found if result is not None]
    features_s = sum(value for phase, value in seconds if phase is Phase.PREPARE)
    return features_s, [value for phase, value in seconds if phase is not Phase.PREPARE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", choices=("inline", "ray"), default="inline")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--dataset", default="local/caltech101")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "warm-up", options, is_many=False)  # decodes or draws the images
        one_s, many_s = run(folder, "one", options, is_many=False), run(folder, "many", options, is_many=True)
        for metric, kind in (("wall_s", "slot-seconds"), ("cpu_s", "CPU seconds")):
            compare(kind, spent(folder, "one", metric), spent(folder, "many", metric))
    say("wall of the commands", f"{one_s:.1f} s, {many_s:.1f} s: ratio {many_s / one_s:.2f}")


def compare(kind: str, one: tuple[float, list[float]], many: tuple[float, list[float]]) -> None:
    """The mean of both measurements of the same features is used: they differ by as much as many heads take."""
    (features_s, heads), (shared_s, all_heads) = one, many
    mean_s = (features_s + shared_s) / 2
    say(f"one probe, {kind} (features + head)", f"{features_s:.2f} + {sum(heads):.2f}")
    say(f"{len(all_heads)} probes, {kind} (features + heads)", f"{shared_s:.2f} + {sum(all_heads):.2f}")
    say(f"a head in the sweep, {kind} / 1000", f"{1e3 * sum(all_heads) / len(all_heads):.1f}")
    say(f"ratio of {kind} (bar 2)", f"{(mean_s + sum(all_heads)) / (mean_s + sum(heads)):.2f}")


if __name__ == "__main__":
    main()
