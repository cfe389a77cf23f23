"""How long a leaderboard over 10^5 results takes: `python tests/benchmarks/bench_report.py [--rows N]`.

1,755 rows x 19 tasks x 3 seeds, every job and result an object of its own, as a store returns them. Prints CPU seconds
(best of three for the board, one run for each format). The bar: board without statistics at most 1 s.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

from orchestrator.report import csv, json_, md, term
from orchestrator.report.board import Place
from orchestrator.report.build import leaderboard
from storage.records import BackboneRef, DatasetRef, Job, MethodCall, Phase, Recipe, Result, Status, frozen
from storage.store import JobState

TASKS, SEEDS = 19, 3


def state(row: int, task: int, seed: int, noise: random.Random) -> JobState:
    job = Job(
        phase=Phase.FINAL,
        methods=(MethodCall("gps", 1, frozen({"connections_per_neuron": row, "level": "neuron"})),),
        backbone=BackboneRef("vit_base_patch16_224", "a" * 64),
        dataset=DatasetRef(f"vtab1k/task{task}", f"{task:064x}", 10),
        train_split="train800val200",
        score_split="test",
        recipe=Recipe(image_size=224, warmup_epochs=10.0),
        seed=seed,
        trainer_revision=1,
    )
    metrics = {"test_top1_pct": noise.uniform(20, 90), "trainable_params": 213e3, "head_params": 7690.0}
    metrics |= {"macs": 17.6e9, "wall_s": noise.uniform(60, 90), "peak_mem_mib": 4000.0}
    facts = {"device": "cpu", "torch": "2.15", "timm": "1.0"}
    return JobState(job, Status.DONE, 1, "GPS", Result(job_id="", status=Status.DONE, metrics=metrics, facts=facts))


def best_s(work: Callable[[], object], times: int = 3) -> float:
    took = []
    for _ in range(times):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return min(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1755)
    rows = parser.parse_args().rows
    noise = random.Random(0)
    states = [state(row, task, seed, noise) for row in range(rows) for task in range(TASKS) for seed in range(SEEDS)]
    places = {f"vtab1k/task{task}": Place("vtab1k", f"group{task % 3}") for task in range(TASKS)}
    board = leaderboard(states, places)
    say = sys.stdout.write
    say(f"{len(states)} results, {rows} rows\n")
    say(f"board  {best_s(lambda: leaderboard(states, places)):.2f} s\n")
    for name, write in (("term", term.render), ("md", md.render), ("json", json_.render), ("csv", csv.render)):
        say(f"{name:<6} {best_s(lambda write=write: write(board), 1):.2f} s\n")


if __name__ == "__main__":
    main()
