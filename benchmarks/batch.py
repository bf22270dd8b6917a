"""Many pairs from one table while jobs are killed: do all finish, none twice, and as if nothing had been?

    python benchmarks/batch.py [--pairs N] [--kill PERCENT] [--cores N] [--seed N]

The maps are small, so that what is measured is all that surrounds a training.  That share of the jobs is killed
(SIGKILL), each once, every other at a random moment of its first three seconds, the others once they have a state; when
half of the pairs are finished Snakemake is killed too,
its jobs not, and cryotrans-batch is called again.  Losses and weights are compared, bit for bit, with trainings by
cryotrans-train alone (CPU, one thread).  Needs Snakemake.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from measures import machine_text

from chimerax.cryotrans.engine.files.batch_folder import Outcome, read_table
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import write_map
from chimerax.cryotrans.programs.command_line import main as program

_SIDE, _VOXEL, _LEVEL = 20, 2.0, 0.3  # voxels, Å
_OPTIONS = {"recipe": "cryotrans", "n_steps": 120, "period": 10, "width": 16, "w2_iter": 2, "seed": 0, "device": "cpu"}
_SOON = 3.0  # s within which a job is killed
_BETWEEN_LOOKS = 0.1  # s


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill jobs of cryotrans-batch and see what is left.")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--kill", type=float, default=5, help="percent of the jobs")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table, pairs = _table(folder, asked.pairs, chance)
        chosen = chance.sample(sorted(pairs), round(asked.pairs * asked.kill / 100))
        victims = {name: chance.uniform(0, _SOON) if number % 2 else None for number, name in enumerate(chosen)}
        began = time.monotonic()
        killed, ends = _run(table, folder / "results", asked.cores, victims, asked.pairs // 2)
        seconds = time.monotonic() - began
        outcomes = read_table(folder / "results" / "table.csv")
        _print(folder, pairs, outcomes, killed, ends, seconds, asked.cores)


def _table(folder: Path, n_pairs: int, chance: random.Random) -> tuple[Path, dict[str, tuple[Path, Path]]]:
    """Maps of a molecule in as many states as give so many pairs, each against each; the table and its pairs."""
    n_states = next(n for n in range(2, n_pairs + 3) if n * (n - 1) >= n_pairs)
    paths = []
    for number in range(n_states):
        angle, away = chance.uniform(-1, 1), chance.uniform(4, 6)
        path = folder / f"state_{number:02d}.mrc"
        density = _blob((10, 7, 7)) + 0.8 * _blob((10, 8 + away * np.sin(angle), 8 + away * np.cos(angle)))
        write_map(path, DensityMap(density.astype(np.float32), (_VOXEL,) * 3, name=path.name))
        paths.append(path)
    pairs: dict[str, tuple[Path, Path]] = {}
    for initial in paths:
        for target in paths:
            if initial is not target and len(pairs) < n_pairs:
                pairs[f"{initial.stem}_to_{target.stem}"] = (initial, target)
    table = folder / "pairs.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["initial", "target", "initial level", "target level", *_OPTIONS, "no-report", "frames"])
        lines.writerows([a, b, _LEVEL, _LEVEL, *_OPTIONS.values(), "yes", 3] for a, b in pairs.values())
    return table, pairs


def _blob(centre: tuple[float, float, float]) -> np.ndarray:
    z, y, x = (np.exp(-((np.arange(_SIDE) - place) ** 2) / 8) for place in centre)
    return z[:, None, None] * y[:, None] * x


def _run(
    table: Path, results: Path, cores: int, victims: dict[str, float | None], half: int
) -> tuple[dict[str, float], dict[str, set[int]]]:
    """Call cryotrans-batch, twice if its Snakemake is killed.

    Returns:
        The jobs that were killed, and how old they were (s); the times at which a training of each pair has ended.
    """
    command = [sys.executable, "-m", "chimerax.cryotrans.programs.batch.program", str(table), "-d", str(results)]
    killed: dict[str, float] = {}
    ends: dict[str, set[int]] = {}
    for is_first in (True, False):
        with subprocess.Popen([*command, "--cores", str(cores)], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                _kill_some(process.pid, results, victims, killed)
                for weights in results.glob("pairs/*/net.pt"):
                    ends.setdefault(weights.parent.name, set()).add(weights.stat().st_mtime_ns)
                if is_first and len(list(results.glob("pairs/*/result.json"))) >= half:
                    for child in psutil.Process(process.pid).children():
                        child.kill()
                    break
                time.sleep(_BETWEEN_LOOKS)
    return killed, ends


def _kill_some(pid: int, results: Path, victims: dict[str, float | None], killed: dict[str, float]) -> None:
    """Those of the victims, by name, that are as old as they may get (s), or that have a state where that is None."""
    for child in psutil.Process(pid).children(recursive=True):
        try:
            words, age = child.cmdline(), time.time() - child.create_time()
            name = words[words.index("pair") + 2] if "pair" in words else ""
            if name not in victims or name in killed:
                continue
            longest = victims[name]
            if (results / "pairs" / name / "state.pt").is_file() if longest is None else age > longest:
                child.kill()
                killed[name] = age
        except (psutil.Error, IndexError):  # it has ended meanwhile
            continue


def _print(
    folder: Path,
    pairs: dict[str, tuple[Path, Path]],
    outcomes: list[Outcome],
    killed: dict[str, float],
    ends: dict[str, set[int]],
    seconds: float,
    cores: int,
) -> None:
    results = folder / "results"
    unfinished = [outcome.name for outcome in outcomes if outcome.verdict in ("failed", "not finished")]
    missing = set(pairs) - {outcome.name for outcome in outcomes}
    logs = {name: (results / "logs" / f"{name}.log").read_text(encoding="utf-8") for name in pairs}
    twice = [name for name, times in ends.items() if len(times) > 1]
    resumed = sum("Going on from step" in log for log in logs.values())
    lines = [path.read_text().splitlines()[1].split("\t") for path in results.glob("benchmarks/*.tsv")]
    wall, work = (float(np.median([float(line[column]) for line in lines])) for column in (0, -1))
    otherwise = [name for name, maps in pairs.items() if not _same(folder, results / "pairs" / name, maps)]
    print(machine_text())
    print(
        f"{cores} cores; {seconds / 60:.1f} minutes, of a pair {wall:.1f} s, {work:.1f} s of them computing (medians)"
    )
    print("| pairs | jobs killed | of them resumed from a state | not finished | trained twice | ended otherwise |")
    print("|---|---|---|---|---|---|")
    n_bad = len(unfinished) + len(missing)
    print(f"| {len(pairs)} | {len(killed)} | {resumed} | {n_bad} | {len(twice)} | {len(otherwise)} |")
    for what, names in (("not finished", unfinished), ("twice", twice), ("otherwise", otherwise)):
        if names:
            print(f"    {what}: {', '.join(names[:5])}")
    sys.exit(1 if n_bad or twice or otherwise else 0)


def _same(folder: Path, run: Path, maps: tuple[Path, Path]) -> bool:
    """Whether cryotrans-train alone comes to the same end."""
    alone = folder / "alone" / run.name
    words = [
        "train",
        "-i0",
        str(maps[0]),
        "-i1",
        str(maps[1]),
        "-t0",
        str(_LEVEL),
        "-t1",
        str(_LEVEL),
        "-d",
        str(alone),
    ]
    words += [word for name, value in _OPTIONS.items() for word in (f"--{name}", str(value))]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        before, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), nowhere, nowhere
        try:
            status = program([*words, "--no-report", "--progress", "none"])
        finally:
            sys.stdout, sys.stderr = before
    return status == 0 and all(
        (run / name).is_file() and (run / name).read_bytes() == (alone / name).read_bytes()
        for name in ("loss.log", "net.pt")
    )


if __name__ == "__main__":
    main()
