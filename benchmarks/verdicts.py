"""How often the verdict is right: trainings with a known truth, as experiments, and mistakes, make them.

    python benchmarks/verdicts.py RESULTS.jsonl [PROTEIN_FOLDER ...] [--workers 2]

Each folder holds two states of a protein, state0.pdb and state1.pdb, the same atoms in the same order in both; at least
two are wanted, as each is the other molecule of the one before.  The trainings are those of verdict_cases.py; each is
added to RESULTS as soon as it is known, and what is there already is not run again.  Then what RESULTS holds is judged
by the rules as they are now, and the table of words and truth printed, for both halves of the proteins: the rules'
limits were chosen on one, and the other is what they are tested on.  Without folders nothing is run.

A training is right if the rmsd of the Cα atoms is at most 1.5 Å or a fifth of that at the start, whichever is larger,
but not above 3 Å.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from measures import is_right, machine_text, run_program
from verdict_cases import VOXEL, Case, cases_of, read_protein

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.judging.measures import BELIEVED, CONFIDENCE_FILE, Measures
from chimerax.cryotrans.engine.judging.tables import METRICS_FILE, read_metrics
from chimerax.cryotrans.engine.judging.verdict import WORDS, verdict_on
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

CHOSEN_ON = ("adk", "calmodulin", "polbeta", "eaat", "gltph")  # the other proteins are the tested half
_RADIUS = 12.0  # Å: atoms of a piece of the witness
_FAR, _NEAR = 3.0, 2.0  # Å
_REFUSED = "refused"  # with a sentence, before a verdict


def main() -> None:
    parser = argparse.ArgumentParser(description="Train where the truth is known, and compare verdicts with it.")
    parser.add_argument("results", type=Path)
    parser.add_argument("proteins", type=Path, nargs="*")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="keep the runs in this directory")
    asked = parser.parse_args()
    _run_all(asked.results, asked.proteins, asked.workers, asked.keep)
    rows = [json.loads(line) for line in asked.results.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["word"] = judge(row)
    print(machine_text())
    for half, is_chosen in (("chosen on", True), ("tested on", False)):
        of_half = [row for row in rows if (row["protein"] in CHOSEN_ON) == is_chosen]
        if of_half:
            print(f"\n{half}: {', '.join(sorted({row['protein'] for row in of_half}))}")
            _print(of_half)


def judge(row: dict[str, Any]) -> str:
    """The word that the rules say now on what was measured of a training."""
    if row["said"] == _REFUSED:
        return _REFUSED
    rows = [Measures(**{name: _number(value) for name, value in kept.items()}) for kept in row["measures"]]
    names = ("without_partner", "witness", "confidence", "ceiling", "ended_early", "has_settled")
    heard = {name: row[name] for name in names}
    return verdict_on(rows, row["best"], (VOXEL, VOXEL, VOXEL), **heard).word


def _run_all(results: Path, folders: Sequence[Path], workers: int, keep: Path | None) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # one for each of the trainings side by side
    done = set()
    if results.exists():
        rows = (json.loads(line) for line in results.read_text(encoding="utf-8").splitlines())
        done = {(row["protein"], row["case"]) for row in rows}
    proteins = [read_protein(folder) for folder in folders]
    others = proteins[1:] + proteins[:1]
    wanted = [
        (protein.name, name, make)
        for protein, other in zip(proteins, others)
        for name, make in cases_of(protein, other).items()
        if (protein.name, name) not in done
    ]
    wanted.sort(key=lambda each: hash_of(each[0] + each[1]))  # so that a part of them is a fair sample
    with ThreadPoolExecutor(workers) as pool:
        for row in pool.map(lambda each: _row(*each, keep), wanted):
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{row['protein']:11} {row['case']:22} {row['rmsd']} Å, {row['said']}", flush=True)


def _row(protein: str, name: str, make: Callable[[], Case], keep: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        row = {"protein": protein, "case": name, **_run(make(), Path(temporary))}
        if keep is not None:
            shutil.copytree(temporary, keep / f"{protein}_{name.replace(' ', '_').replace(',', '')}")
    return row


def hash_of(text: str) -> int:
    """The same number for a text every time."""
    import zlib

    return zlib.crc32(text.encode())


def _run(case: Case, folder: Path) -> dict[str, Any]:
    size = (VOXEL, VOXEL, VOXEL)
    initial = DensityMap(case.initial.astype(np.float32), size)
    np.savez(folder / "truth.npz", before=case.before, true=np.nan if case.true is None else case.true)
    write_map(folder / "initial.mrc", initial)
    write_map(folder / "target.mrc", DensityMap(case.target.astype(np.float32), size))
    maps = ["-i0", str(folder / "initial.mrc"), "-i1", str(folder / "target.mrc"), "-d", str(folder / "run")]
    levels = ["-t0", f"{case.levels[0]:.4g}", "-t1", f"{case.levels[1]:.4g}"]
    seed = [] if "--seed" in case.options else ["--seed", "0"]
    try:
        seconds = run_program("train", *maps, *levels, *case.options, *seed, "--progress", "none")
    except SystemExit:
        return {"said": _REFUSED, "rmsd": None}
    content = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    rows = read_metrics(folder / "run" / METRICS_FILE)
    best = next(i for i, row in enumerate(rows) if row.step == content["best"]["step"])
    [carried] = carry(case.before, initial, load_weights(folder / "run" / content["best"]["weights"]))
    kept = _kept(rows, best)
    result = {
        "seconds": round(seconds, 1),
        "said": content["verdict"]["word"],
        "measures": [{name: _short(value) for name, value in row._asdict().items()} for row in kept],
        "best": kept.index(rows[best]),
        "without_partner": [{key: part[key] for key in ("text", "share")} for part in content["without_partner"]],
        "ceiling": content["ceiling"],
        "ended_early": content["ended_early"],
        "has_settled": content["has_settled"],
        "witness": _short_witness(content["witness"]),
        "confidence": content["confidence"],
        "rmsd": None,
    }
    if case.true is None:
        return result
    known = ~np.isnan(case.true).any(axis=1)
    off = np.linalg.norm(carried - case.true, axis=1)
    for piece in result["witness"]["pieces"]:
        own = known & (np.linalg.norm(case.before - np.array(piece["place"][::-1]), axis=1) < _RADIUS)
        piece["off"] = round(float(np.sqrt((off[own] ** 2).mean())), 2) if own.any() else None
    before, after = (
        float(np.sqrt(((places - case.true)[known] ** 2).sum(axis=1).mean())) for places in (case.before, carried)
    )
    return {
        **result,
        "before": round(before, 2),
        "rmsd": round(after, 2),
        "median": round(float(np.median(off[known])), 2),
        "far": round(float((off[known] > _FAR).mean()), 3),
        "residues": _residues(off[known], case.before[known], folder / "run" / CONFIDENCE_FILE),
    }


def _residues(off: np.ndarray, places: np.ndarray, path: Path) -> dict[str, int]:
    """How many are far off, how many of these are doubtful; how many are near, how many of these are believed."""
    confidence = read_map(path).density
    voxels = np.clip(np.rint(places / VOXEL).astype(int), 0, np.array(confidence.shape) - 1)
    believed = confidence[tuple(voxels.T)] >= BELIEVED
    far, near = off > _FAR, off < _NEAR
    counts = {"far": far, "far_doubted": far & ~believed, "near": near, "near_believed": near & believed}
    return {name: int(rows.sum()) for name, rows in counts.items()}


def _short_witness(witness: dict[str, Any]) -> dict[str, Any]:
    names = ("place", "share", "apart", "doubt")
    pieces = [{name: piece[name] for name in names} for piece in witness["pieces"]]
    return {"step": witness["step"], "doubted": witness["doubted"], "pieces": pieces}


def _kept(rows: Sequence[Measures], best: int) -> list[Measures]:
    """The rows that a verdict looks at."""
    last = rows[-1]
    earlier = next((row for row in reversed(rows) if row.step <= 0.9 * last.step), last)
    return sorted({rows[0], earlier, rows[best], last}, key=lambda row: row.step)


def _short(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.4g}")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _print(rows: Iterable[dict[str, Any]]) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    rows = list(rows)
    for row in rows:
        if row["rmsd"] is None:
            truth = "nothing right"
        elif is_right(row["before"], row["rmsd"]):
            truth = "right"
        else:
            truth = "above 3 Å" if row["rmsd"] > 3 else "not right"
        row["truth"] = truth
        counts[truth, row["word"]] += 1
    print(f"{'':14}" + "".join(f"{word:>10}" for word in (*WORDS, _REFUSED)))
    for truth in ("right", "not right", "above 3 Å", "nothing right"):
        print(f"{truth:14}" + "".join(f"{counts[truth, word]:10}" for word in (*WORDS, _REFUSED)))
    good = [row for row in rows if row["word"] == "good"]
    right = [row for row in rows if row["truth"] == "right"]
    both = sum(row["truth"] == "right" for row in good)
    if good and right:
        print(
            f"of {len(good)} runs called good {both / len(good):.0%} are right; "
            f"of {len(right)} right runs {both / len(right):.0%} are called good"
        )
    residues = [row["residues"] for row in rows if row.get("residues")]
    total = {name: sum(each[name] for each in residues) for name in ("far", "far_doubted", "near", "near_believed")}
    if residues:
        print(
            f"of {total['far']} residues more than {_FAR:g} Å off {total['far_doubted'] / max(1, total['far']):.0%} "
            f"are doubtful; of {total['near']} less than {_NEAR:g} Å off "
            f"{total['near_believed'] / max(1, total['near']):.0%} are believed"
        )
    for row in rows:
        if (row["word"] == "good") != (row["truth"] == "right"):
            print(f"  {row['protein']:11} {row['case']:22} {row['truth']:13} {row['rmsd'] or 0:6.2f} Å   {row['word']}")


if __name__ == "__main__":
    sys.exit(main())
