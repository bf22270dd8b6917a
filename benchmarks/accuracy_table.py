"""How well trainings carry known structures onto others, and what they say of it themselves: many pairs in one table.

    python benchmarks/accuracy_table.py RESULTS.csv PAIR_FOLDER ... [--seeds 0 1 2] [any training option]

Folders are those of accuracy.py.  FOLDER:OTHER is a training on maps of two molecules: the initial map of one, the
target of the other, of which nothing can be right.
Recipe auto onto the targets of 5 Å, levels 0.24.  Each row is added to RESULTS.csv as soon as it is known, and what is
there already is not run again; then the table of all that was asked for is printed.
"Right" is an rmsd of the Cα atoms of 1.5 Å or a fifth of that at the start, whichever is larger, but not above 3 Å.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measures import is_right, machine_text, rmsd, run_program

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.judging.tables import METRICS_FILE, read_metrics
from chimerax.cryotrans.engine.maps.mrc_file import read_map

_NEAR = 2.0  # Å: of a residue that is where it belongs
_LEVEL = "0.24"
_COLUMNS = ("pair", "seed", "options", "before", "rmsd", "median", "near", "verdict", "seconds", "steps", "reasons")
_MEASURES = ("correlation", "resolution", "transport_distance", "strain", "folded")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on many pairs and compare with the truth.")
    parser.add_argument("results", type=Path)
    parser.add_argument("pairs", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked, training = parser.parse_known_args()
    training = training or ["--recipe", "auto"]
    options = " ".join(training)
    for seed in asked.seeds:
        for pair in asked.pairs:
            if _find(_rows(asked.results), _name(pair), seed, options) is None:
                _add(asked.results, {**_run(pair, seed, training), "options": options})
    print(machine_text())
    print(options)
    _print(_rows(asked.results), [_name(pair) for pair in asked.pairs], asked.seeds, options)


def _run(pair: str, seed: int, training: list[str]) -> dict[str, Any]:
    folder, other = (Path(word) for word in (pair.split(":") * 2)[:2])
    initial_path, target_path = folder / "state0_3A.mrc", other / "state1_5A.mrc"
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary, "run")
        maps = ["-i0", str(initial_path), "-i1", str(target_path), "-t0", _LEVEL, "-t1", _LEVEL, "-d", str(run)]
        seconds = run_program("train", *maps, "--seed", str(seed), "--progress", "none", *training)
        content = json.loads((run / "run.json").read_text(encoding="utf-8"))
        best = content["best"]
        last = next(row for row in read_metrics(run / METRICS_FILE) if row.step == best["step"])
        row = {
            "pair": _name(pair),
            "seed": seed,
            "verdict": content["verdict"]["word"],
            "reasons": " | ".join(content["verdict"]["reasons"]),
            "seconds": round(seconds, 1),
            "steps": content["step"],
            **{name: f"{getattr(last, name):.4g}" for name in _MEASURES},
        }
        if folder == other:
            start, true = (np.load(folder / f"state{k}_CA.npy")[:, ::-1].astype(np.float64) for k in (0, 1))
            [carried] = carry(start, read_map(initial_path), load_weights(run / content["checkpoints"][str(last.step)]))
            off = np.linalg.norm(carried - true, axis=1)
            row |= {
                "before": f"{rmsd(start, true):.2f}",
                "rmsd": f"{rmsd(carried, true):.2f}",
                "median": f"{np.median(off):.2f}",
                "near": f"{np.mean(off < _NEAR):.3f}",
            }
    return row


def _name(pair: str) -> str:
    return ":".join(Path(word).name for word in pair.split(":"))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _add(path: Path, row: dict[str, Any]) -> None:
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [*_COLUMNS, *_MEASURES], lineterminator="\n")
        if is_new:
            table.writeheader()
        table.writerow(row)


def _find(rows: list[dict[str, str]], pair: str, seed: int, options: str) -> dict[str, str] | None:
    wanted = (pair, str(seed), options)
    return next((row for row in rows if (row["pair"], row["seed"], row["options"]) == wanted), None)


def _print(rows: list[dict[str, str]], pairs: list[str], seeds: list[int], options: str) -> None:
    print("CA rmsd, Å: before, after of each seed; of the middle seed the median and the share of residues within 2 Å")
    width = max(map(len, pairs))
    called = []
    for pair in pairs:
        found = [row for seed in seeds if (row := _find(rows, pair, seed, options))]
        words = ", ".join(row["verdict"] for row in found)
        seconds = statistics.median(float(row["seconds"]) for row in found)
        if found[0]["rmsd"]:
            middle = sorted(found, key=lambda row: float(row["rmsd"]))[len(found) // 2]
            after = " ".join(f"{float(row['rmsd']):5.2f}" for row in found)
            told = f"{middle['before']:>5} → {after}   {middle['median']:>5} {float(middle['near']):4.0%}"
            called += [(row["verdict"], is_right(float(row["before"]), float(row["rmsd"]))) for row in found]
        else:
            told = "two molecules"
            called += [(row["verdict"], False) for row in found]
        print(f"{pair:{width}} {told:{17 + 6 * len(seeds) + 7}}  {seconds:5.0f} s  {words}")
    for line in _called(called):
        print(line)


def _called(called: list[tuple[str, bool]]) -> Iterator[str]:
    """How often the word was right."""
    for word in ("good", "doubtful", "poor"):
        of_word = [right for said, right in called if said == word]
        if of_word:
            yield f"called {word}: {len(of_word)} runs, {sum(of_word)} of them right"
    right = [said for said, is_so in called if is_so]
    if right:
        yield f"right: {len(right)} runs, {right.count('good')} of them called good"


if __name__ == "__main__":
    sys.exit(main())
