"""What the driver costs: 10,000 jobs planned and stored, and the loop per trivial job on the scripted pool.

    python tests/benchmarks/bench_plan_and_loop.py [JOBS]

Bars: plan + store of 10,000 jobs <= 2 s; loop <= 5 ms per job (CPU time of this process, wall time beside it).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.loop import Loop
from orchestrator.plan import plan
from orchestrator.spec import parse_spec
from orchestrator.testing import shipped_catalogue
from storage.open import open_store
from storage.store import Entry
from workers.pools.scripted import Answer, ScriptedPool, VirtualClock
from workers.testing import probe_job

SPEC = """\
name: large
datasets: ["@embedded/*"]
backbones: [nano_vit, pico_vit]
methods: [linear, full, {{lora: {{rank: [1, 2, 4, 8, 16]}}}}, {{gps: {{connections_per_neuron: [1, 2, 3]}}}}]
seeds: {seeds}
"""


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    yield
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    per_job = f"{1e3 * cpu_s / count:7.3f} ms CPU per job"
    sys.stdout.write(f"{what:<28} {count:>6} jobs  wall {wall_s:6.2f} s  CPU {cpu_s:6.2f} s  {per_job}\n")


def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "store.db")
        spec = parse_spec(SPEC.format(seeds=max(1, jobs // 60)))
        catalogue = shipped_catalogue()
        with timed("plan", jobs):
            made = plan(spec, catalogue)
        with timed("store", len(made.entries)):
            store.save_sweep("large", spec.text, made.entries)
        store.close()
        loop_jobs = [probe_job("ok", seed) for seed in range(jobs // 10)]
        store = open_store(Path(folder) / "loop.db")
        store.save_sweep("loop", "", [Entry(job, order) for order, job in enumerate(loop_jobs)])
        clock = VirtualClock(time.time())
        pool = ScriptedPool(lambda job, epoch: Answer(0.001), clock, slots=8)
        with timed("loop on the scripted pool", len(loop_jobs)):
            outcome = Loop(store, "loop", pool, Path(folder)).run()
        store.close()
        sys.stdout.write(f"done: {outcome.done}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
