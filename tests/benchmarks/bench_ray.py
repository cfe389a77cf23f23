"""What the Ray pool costs, beside the ways it replaces, in one run.

    python tests/benchmarks/bench_ray.py [TRIVIAL_JOBS]

(a) process CPU of the driver per trivial job: our loop and store on the Ray pool, and Ray Tune on the same jobs.
    Bar: ours <= 20 ms.
(b) the 12 cheapest demo jobs (linear probes of both backbones): two slots, and 12 processes, two at a time. Ray's own
    start and end are counted. Bar: <= 0.5.
(c) what a warm slot spends per job outside training and evaluation, and what the way to the slot and back adds.
    Bar: <= 0.5 s (medians).
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

from orchestrator.catalogue import installed_catalogue
from orchestrator.loop import Loop
from orchestrator.plan import plan
from orchestrator.progress import SweepProgress
from orchestrator.spec import read_spec
from storage.open import open_store
from storage.records import Job, Lease, Result, Status
from storage.store import Entry
from workers.pools.protocol import Done, Lost, PoolEvent, Progress
from workers.pools.ray_pool import RayPool
from workers.pools.ray_session import RayOptions
from workers.pools.ray_slot import SiteRunner
from workers.site import Report, Site
from workers.testing import probe_job

DEMO = Path(__file__).parents[2] / "orchestrator" / "examples" / "demo.yaml"
SLOTS = 2
TASKS, BACKBONES, SEEDS = ("digits", "location", "count"), ("nano_vit", "raw_pixels"), (0, 1)


def say(what: str, value: str) -> None:
    sys.stdout.write(f"{what:<64} {value}\n")
    sys.stdout.flush()


def trivial(job: Job, lease: Lease, report: Report) -> Result:
    report(Progress(job.job_id, lease.epoch, "train", 1, 1))
    return Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 50.0})


def ours(jobs: int, folder: Path) -> float:
    """Driver CPU milliseconds per trivial job, Ray's start not counted."""
    store = open_store(folder / "trivial.db")
    store.save_sweep("trivial", "", [Entry(probe_job("ok", seed), seed) for seed in range(jobs)])
    pool = RayPool(trivial, RayOptions(slots=SLOTS))
    try:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        outcome = Loop(store, "trivial", pool, folder).run()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    finally:
        pool.close()
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


class Watch:
    """Wall seconds from hand-over to end, and the result, of every job."""

    def __init__(self) -> None:
        self._running_s: dict[str, float] = {}
        self.ended: dict[str, tuple[float, Result]] = {}

    def __call__(self, progress: SweepProgress, event: PoolEvent | None) -> None:
        for job_id in progress.running:
            self._running_s.setdefault(job_id, time.perf_counter())
        if isinstance(event, Done):
            self.ended[event.job_id] = (time.perf_counter() - self._running_s[event.job_id], event.result)
        if isinstance(event, Lost):
            raise SystemExit(f"a job was lost: {event.failure}")


def on_ray(home: Path) -> tuple[float, Watch]:
    """Wall seconds of the 12 jobs in two warm slots, with the plan and Ray's start and end."""
    home.mkdir()
    began_s = time.perf_counter()
    spec = read_spec(DEMO)
    entries = [
        entry
        for entry in plan(spec, installed_catalogue(None, home / "cache")).entries
        if entry.job.stack == "linear" and entry.job.phase == "final"
    ]
    store = open_store(home / "store.db")
    store.save_sweep(spec.name, spec.text, entries)
    watch = Watch()
    pool = RayPool(SiteRunner(Site(home, home / "cache")), RayOptions(slots=SLOTS))
    try:
        outcome = Loop(store, spec.name, pool, home, watch=watch).run()
    finally:
        pool.close()
    wall_s = time.perf_counter() - began_s
    store.close()
    if outcome.done != len(entries) or outcome.done != len(TASKS) * len(BACKBONES) * len(SEEDS):
        raise SystemExit(f"{outcome.done} of {len(entries)} demo jobs were done")
    return wall_s, watch


def as_processes(home: Path) -> float:
    """Wall seconds of the same 12 jobs as 12 processes, two at a time: what a shell script would do."""

    def one(choice: tuple[str, str, int]) -> None:
        backbone, task, seed = choice
        only = [
            f"--only={word}" for word in ("method=linear", f"backbone={backbone}", f"dataset={task}", f"seed={seed}")
        ]
        words = [
            sys.executable,
            "-m",
            "orchestrator.cli",
            "run",
            str(DEMO),
            "--pool",
            "inline",
            "--home",
            str(home),
            *only,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")

    began_s = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as shell:
        list(shell.map(one, product(BACKBONES, TASKS, SEEDS)))
    return time.perf_counter() - began_s


def tell_slots(watch: Watch) -> None:
    """(c): the first job of each slot loads torch; it is part of (b), and not of what a warm slot costs."""
    warm = sorted(watch.ended.values(), key=lambda pair: pair[0])[: len(watch.ended) - SLOTS]
    inside_s = statistics.median(result.metrics["overhead_s"] for _, result in warm)
    way_s = statistics.median(wall_s - result.metrics["wall_s"] for wall_s, result in warm)
    say("(c) warm slot, per job outside train and evaluate (median)", f"{inside_s:.3f} s")
    say("(c) way to the slot and back, per job (median)", f"{way_s:.3f} s")
    say("(c) together (bar 0.5 s)", f"{inside_s + way_s:.3f} s")


def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours_ms = ours(jobs, folder)
        say("(a) our driver, CPU per trivial job (bar 20 ms)", f"{ours_ms:.2f} ms")
        tunes_ms = tunes(jobs, folder)
        say("(a) Ray Tune's driver, CPU per trivial job", f"{tunes_ms:.2f} ms ({tunes_ms / ours_ms:.0f} times ours)")
        ray_s, watch = on_ray(folder / "ray")
        shell_s = as_processes(folder / "shell")
        say("(b) 12 cheapest demo jobs on Ray, two slots", f"{ray_s:.1f} s")
        say("(b) the same as 12 processes, two at a time", f"{shell_s:.1f} s")
        say("(b) ratio (bar 0.5)", f"{ray_s / shell_s:.2f}")
        tell_slots(watch)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
