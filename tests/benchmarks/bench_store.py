"""What the store costs per job, on a file: `python tests/benchmarks/bench_store.py [jobs] [epochs per job]`.

Prints milliseconds, and for each question how its cost grows when the store is ten times as large.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from storage.open import open_store
from storage.records import EpochMetrics, Result, Status
from storage.store import Entry, Store
from storage.testing.samples import sample_job

BATCH = 16


def timed_s(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def entries(count: int) -> list[Entry]:
    """Distinct jobs with their ids made (the plan's work, not the store's)."""
    jobs = [replace(sample_job(), seed=seed) for seed in range(count)]
    return [Entry(job, order, "lora", {"cpus": 1.0}) for order, job in enumerate(jobs) if job.job_id]


def drive(store: Store, epochs: int) -> None:
    """Claim in batches, start and finish every job, as the loop does."""
    curve = tuple(
        EpochMetrics(epoch, {"train_loss": 1 / epoch, "lr": 1e-3}, epoch * 0.5) for epoch in range(1, epochs + 1)
    )
    metrics = {"test_top1_pct": 77.25, "test_loss": 0.8125, "wall_s": 12.5, "trainable_params": 27_840.0}
    while claimed := store.claim("bench", "bench", BATCH, 120.0):
        for entry, lease in claimed:
            store.start(lease)
            facts = {"torch": "2", "device": "cpu"}
            job_id = entry.job.job_id
            store.finish(lease, Result(job_id=job_id, status=Status.DONE, metrics=metrics, epochs=curve, facts=facts))


def measure(count: int, epochs: int) -> dict[str, float]:
    """Seconds of each step on a fresh file with that many jobs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.db")
        jobs = entries(count)
        open_store(path).close()
        store = open_store(path)
        found = {
            "save a fresh sweep": timed_s(lambda: store.save_sweep("bench", "", jobs)),
            "save it again": timed_s(lambda: store.save_sweep("bench", "", jobs)),
            "known": timed_s(lambda: store.known(entry.job.job_id for entry in jobs)),
            "claim + start + finish": timed_s(lambda: drive(store, epochs)),
            "counts": timed_s(lambda: store.counts("bench")),
            "an empty claim": timed_s(lambda: store.claim("bench", "bench", BATCH, 1.0)),
            "jobs, with results": timed_s(lambda: store.jobs("bench")),
            "jobs of all sweeps": timed_s(store.jobs),
            "one job by prefix": timed_s(lambda: store.job(jobs[-1].job.job_id[:12])),
            "open an up-to-date store": timed_s(lambda: open_store(path).close()),
        }
        store.close()
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    small, large = measure(count // 10, epochs), measure(count, epochs)
    lines = [f"{'':26} {count // 10:>8} jobs {count:>9} jobs   per job   growth"]
    lines += [
        f"{step:26} {small[step] * 1e3:10.1f} ms {seconds * 1e3:11.1f} ms "
        f"{seconds / count * 1e3:6.3f} ms {seconds / small[step]:6.1f} x"
        for step, seconds in large.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
