"""Does choosing GPS's K for each task help, and by how much? Five splits of train800val200 of real sets.

    study=tests/benchmarks/study_k_choice.py
    python $study make DATA --to FOLDER                 # five splits of each set, and the spec of the search
    export SWEEPBOARD_DATA=FOLDER
    sweepboard run FOLDER/k-choice.yaml                 # every K on every split, scored on val200
    python $study test FOLDER --home HOME               # writes the spec of the tests: K=1 and what was chosen
    sweepboard run FOLDER/k-choice-test.yaml            # those on the test split, two seeds
    python $study report FOLDER --home HOME

K is chosen on one half of the validation images, and its gain over K=1 is read on the other half, over 200 random
halves of each split. The interval is Student's over the splits with Nadeau and Bengio's correction (Machine Learning
52, 2003), because five splits of one set share most of their images.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from storage.open import open_store
from storage.records import Phase, Status
from workers.predictions import load_predictions

SETS = ("dtd10", "rsscn7", "nuclei_count5")
KS = (1, 3, 8, 15)
SPLITS, HALVES, SEEDS = 5, 200, 2
SPEC = """\
name: {name}
datasets: [{datasets}]
backbones:
  - {{name: vit_tiny_patch16_224, weights: vit_tiny_patch16_224.augreg_in21k_ft_in1k.fp16.safetensors}}
methods: [{{gps: {{connections_per_neuron: [{ks}]}}}}]
seeds: {seeds}
{phase}train: {{epochs: 5, batch_size: 32, image_size: 96, precision: fp32, lr: 1e-2}}
"""


def make(data: Path, folder: Path) -> None:
    """Split 0 is the set's own; the others draw val anew, class by class, with as many images of each."""
    for name in SETS:
        own = {part: (data / name / f"{part}.txt").read_text().splitlines() for part in ("train800", "val200", "test")}
        for split in range(SPLITS):
            train, val = own["train800"], own["val200"]
            if split:
                train, val = redrawn(train, val, random.Random(f"{name}:{split}"))
            place = folder / f"{name}-split{split}"
            place.mkdir(parents=True)
            (place / "images").symlink_to((data / name / "images").resolve())
            lists = {"train800": train, "val200": val, "train800val200": train + val, "test": own["test"]}
            for part, lines in lists.items():
                (place / f"{part}.txt").write_text("\n".join(lines) + "\n")
            (place / "classes.txt").write_text((data / name / "classes.txt").read_text())
    names = [f"local/{name}-split{split}" for split in range(SPLITS) for name in SETS]
    write_spec(folder, "k-choice", names, KS, (1, "phase: search\n"))


def redrawn(train: list[str], val: list[str], chance: random.Random) -> tuple[list[str], list[str]]:
    wanted: dict[str, int] = {}
    for line in val:
        label = line.rpartition(" ")[2]
        wanted[label] = wanted.get(label, 0) + 1
    lines = sorted([*train, *val])
    chance.shuffle(lines)
    taken = []
    for line in lines:
        label = line.rpartition(" ")[2]
        if wanted.get(label, 0) > 0:
            wanted[label] -= 1
            taken.append(line)
    left = set(taken)
    return [line for line in lines if line not in left], taken


def write_spec(folder: Path, name: str, datasets: list[str], ks: tuple[int, ...], how: tuple[int, str]) -> None:
    seeds, phase = how
    text = SPEC.format(name=name, datasets=", ".join(datasets), ks=", ".join(map(str, ks)), seeds=seeds, phase=phase)
    (folder / f"{name}.yaml").write_text(text)
    sys.stdout.write(f"{folder / name}.yaml\n")


def right_by_k(home: Path) -> dict[tuple[str, int], dict[int, np.ndarray]]:
    """(set, split) -> K -> whether each validation image was right, in one order for all K."""
    found: dict[tuple[str, int], dict[int, np.ndarray]] = {}
    store = open_store(home / "store.db")
    for state in store.jobs("k-choice", Status.DONE):
        if state.job.phase is Phase.SEARCH:
            name, _, split = state.job.dataset.name.removeprefix("local/").rpartition("-split")
            kept = load_predictions(home / state.result.files["predictions"])
            k = dict(state.job.methods[0].params)["connections_per_neuron"]
            found.setdefault((name, int(split)), {})[k] = kept.predicted == kept.labels
    store.close()
    return found


def chosen(right: dict[int, np.ndarray], images: np.ndarray) -> int:
    """The best K on those images; the smaller of equal ones (the simpler model)."""
    return min(right, key=lambda k: (-right[k][images].mean(), k))


def gains(right: dict[int, np.ndarray], name: str) -> tuple[float, float]:
    """Points over K=1 where K was chosen, and on the other half; means over random halves."""
    chance = np.random.default_rng(sum(map(ord, name)))
    seen, unseen = [], []
    for _ in range(HALVES):
        order = chance.permutation(len(right[1]))
        one, other = np.array_split(order, 2)
        k = chosen(right, one)
        seen.append(right[k][one].mean() - right[1][one].mean())
        unseen.append(right[k][other].mean() - right[1][other].mean())
    return 100 * float(np.mean(seen)), 100 * float(np.mean(unseen))


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half of the 95 % interval, for splits that hold out a fifth of the same images."""
    spread = np.sqrt((1 / len(values) + 0.25) * np.var(values, ddof=1))
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * spread)


def tests_of(home: Path) -> dict[tuple[str, int], list[float]]:
    """(set, K) -> test top-1 % by seed."""
    found: dict[tuple[str, int], list[float]] = {}
    store = open_store(home / "store.db")
    for state in store.jobs("k-choice-test", Status.DONE):
        if state.job.phase is Phase.FINAL:
            name = state.job.dataset.name.removeprefix("local/").rpartition("-split")[0]
            k = dict(state.job.methods[0].params)["connections_per_neuron"]
            found.setdefault((name, k), []).append(state.result.metrics["test_top1_pct"])
    store.close()
    return found


def report(home: Path) -> None:
    found, record = right_by_k(home), {}
    tests = tests_of(home) if "k-choice-test" in open_store(home / "store.db").sweeps() else {}
    for name in SETS:
        rights = [found[name, split] for split in range(SPLITS)]
        pairs = [gains(right, f"{name}{split}") for split, right in enumerate(rights)]
        whole = [chosen(right, np.arange(len(right[1]))) for right in rights]
        seen, unseen = ([pair[at] for pair in pairs] for at in (0, 1))
        mean, half = interval(unseen)
        on_test = {k: values for (of, k), values in tests.items() if of == name}
        gained = [float(np.mean(on_test[k]) - np.mean(on_test[1])) for k in whole] if on_test else []
        record[name] = {
            "val_top1_pct_by_k": {k: round(100 * float(np.mean([right[k].mean() for right in rights])), 2) for k in KS},
            "chosen_k_by_split": whole,
            "gain_where_chosen_pct": round(float(np.mean(seen)), 2),
            "gain_on_the_other_half_pct": [round(mean, 2), round(mean - half, 2), round(mean + half, 2)],
            "test_top1_pct_by_k": {k: [round(one, 1) for one in values] for k, values in sorted(on_test.items())},
            "test_gain_of_chosen_k_pct": [round(one, 2) for one in gained],
        }
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "test", "report"])
    parser.add_argument("place", type=Path)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--home", type=Path)
    args = parser.parse_args()
    if args.what == "make":
        make(args.place, args.to)
    elif args.what == "report":
        report(args.home)
    else:
        found = right_by_k(args.home)
        ks = {1} | {chosen(right, np.arange(len(right[1]))) for right in found.values()}
        write_spec(
            args.place, "k-choice-test", [f"local/{name}-split0" for name in SETS], tuple(sorted(ks)), (SEEDS, "")
        )


if __name__ == "__main__":
    main()
