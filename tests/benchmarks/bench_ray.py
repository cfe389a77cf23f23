"""What the Ray pool costs, beside the ways it replaces, in one run.

    python tests/benchmarks/bench_ray.py [TRIVIAL_JOBS]

(a) process CPU of the driver per trivial job: our loop and store on the Ray pool with the MLflow view beside them, and
    Ray Tune on the same jobs. Bar: ours <= 20 ms.
(b) the 12 cheapest demo jobs (linear probes of both backbones) as one command in two slots, and as 12 commands, two at
    a time. Ray's start and end are counted. Bar: <= 0.5.
(c) what a slot spends per job outside training and evaluation. Bar: <= 0.5 s (median).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from orchestrator.loop import Loop
from orchestrator.mlflow_view_process import start_view, tracking_uri
from storage.open import open_store
from storage.records import Job, Lease, Result, Status
from storage.store import Entry
from workers.pools.protocol import Progress
from workers.pools.ray_pool import RayPool
from workers.pools.ray_session import RayOptions
from workers.site import Report
from workers.testing import probe_job

DEMO = Path(__file__).parents[2] / "orchestrator" / "examples" / "demo.yaml"
SLOTS = 2
TASKS, BACKBONES, SEEDS = ("digits", "location", "count"), ("nano_vit", "raw_pixels"), (0, 1)


def say(what: str, value: str) -> None:
    sys.stdout.write(f"{what:<64} {value}\n")
    sys.stdout.flush()


def trivial(job: Job, lease: Lease, report: Report, bundle: object = None) -> Result:
    report(Progress(job.job_id, lease.epoch, "train", 1, 1))
    return Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 50.0})


def ours(jobs: int, folder: Path) -> float:
    """Driver CPU milliseconds per trivial job, Ray's start not counted."""
    store = open_store(folder / "trivial.db")
    store.save_sweep("trivial", "", [Entry(probe_job("ok", seed), seed) for seed in range(jobs)])
    pool = RayPool(trivial, RayOptions(slots=SLOTS))
    view = start_view(folder, str(folder / "trivial.db"), tracking_uri(folder, None, {}))
    try:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        outcome = Loop(store, "trivial", pool, folder).run()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    finally:
        pool.close()
        view.close(drain_s=30.0)
        store.close()
    if outcome.done != jobs:
        raise SystemExit(f"only {outcome.done} of {jobs} trivial jobs were done")
    say(f"(a) our loop, store and Ray pool: {jobs} trivial jobs, wall", f"{wall_s:.1f} s")
    return 1e3 * cpu_s / jobs


def tunes(jobs: int, folder: Path) -> float:
    """The same under Ray Tune, with what it offers to make trials cheap: reused actors, no per-trial loggers."""
    import ray
    from ray import tune

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"

    def trainable(config: dict[str, Any]) -> None:
        tune.report({"test_top1_pct": 50.0 + 0 * config["seed"]})

    ray.init("local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    tuner = tune.Tuner(
        trainable,
        param_space={"seed": tune.grid_search(list(range(jobs)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=SLOTS, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    found = tuner.fit()
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    ray.shutdown()
    if len(found) != jobs or found.num_errors:
        raise SystemExit(f"Ray Tune finished {len(found)} of {jobs} trials, {found.num_errors} with errors")
    say(f"(a) Ray Tune: {jobs} trivial jobs, wall", f"{wall_s:.1f} s")
    return 1e3 * cpu_s / jobs


def command(home: Path, *words: str) -> None:
    """One `sweepboard run` of the demo's linear probes, as a person types it."""
    line = [sys.executable, "-m", "orchestrator.cli", "run", str(DEMO), "--home", str(home), "--mlflow", "off"]
    line += ["--no-preflight", "--only", "method=linear", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)} failed:\n{done.stderr}")


def on_ray(home: Path) -> float:
    """Wall seconds of the 12 jobs in two slots, from the command to its end."""
    began_s = time.perf_counter()
    command(home, "--slots", str(SLOTS))
    return time.perf_counter() - began_s


def as_processes(home: Path) -> float:
    """Wall seconds of the same 12 jobs as 12 processes, two at a time: what a shell script would do."""

    def one(choice: tuple[str, str, int]) -> None:
        backbone, task, seed = choice
        only = [
            word for pair in (f"backbone={backbone}", f"dataset={task}", f"seed={seed}") for word in ("--only", pair)
        ]
        command(home, "--pool", "inline", *only)

    began_s = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as shell:
        list(shell.map(one, product(BACKBONES, TASKS, SEEDS)))
    return time.perf_counter() - began_s


def overhead_s(home: Path) -> float:
    """What a slot spends per job outside training and evaluation (median; the first job of each slot loads torch)."""
    store = open_store(home / "store.db")
    results = [state.result for state in store.jobs("demo", Status.DONE)]
    store.close()
    return statistics.median(result.metrics["overhead_s"] for result in results if result is not None)


def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours_ms = ours(jobs, folder)
        say("(a) our driver, CPU per trivial job (bar 20 ms)", f"{ours_ms:.2f} ms")
        tunes_ms = tunes(jobs, folder)
        say("(a) Ray Tune's driver, CPU per trivial job", f"{tunes_ms:.2f} ms ({tunes_ms / ours_ms:.0f} times ours)")
        ray_s = on_ray(folder / "ray")
        shell_s = as_processes(folder / "shell")
        say("(b) 12 cheapest demo jobs on Ray, two slots", f"{ray_s:.1f} s")
        say("(b) the same as 12 processes, two at a time", f"{shell_s:.1f} s")
        say("(b) ratio (bar 0.5)", f"{ray_s / shell_s:.2f}")
        say("(c) slot, per job outside train and evaluate (median, bar 0.5)", f"{overhead_s(folder / 'ray'):.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
