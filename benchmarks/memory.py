"""How near the memory that is told beforehand is to what runs need, for trainings and predictions of several sizes.

    python benchmarks/memory.py [NUMBER...]

Molecules are the demo's, as many as are wanted, side by side, of which half is turned: 3 Å before the motion, 5 Å after
it.  Each program runs as users run it, in a process of its own, from the maps to the report, but for the stages of
recipe auto: they are cut to two steps each, as a step needs no more memory than the one before.  The peak is that of
resident memory.  On the CPU, on Linux or macOS.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chimerax.cryotrans.engine.outlook import memory_of_prediction, memory_of_training

_LEVEL = 0.15
_STEPS = 2  # of a stage


class Case(NamedTuple):
    """One row: the program, the side of the box in voxels, a voxel in Å, how many molecules, and the options."""

    program: str
    side: int
    voxel: float
    molecules: int
    options: str = ""


_AUTO, _BY_HAND = "--recipe auto", "-n 2 -p 1"
CASES = (
    Case("train", 32, 3.0, 1, _AUTO),
    Case("train", 64, 2.0, 2, _AUTO),
    Case("train", 96, 1.2, 8, _AUTO),
    Case("train", 128, 1.0, 2, _AUTO),
    Case("train", 128, 1.0, 2, f"{_AUTO} --flow network"),
    Case("train", 128, 1.0, 2, f"{_AUTO} --flow both"),
    Case("train", 160, 1.2, 12, _AUTO),
    Case("train", 96, 0.6, 1, _BY_HAND),
    Case("train", 96, 0.6, 1, f"{_BY_HAND} --width 300"),
    Case("train", 160, 1.0, 12, f"{_BY_HAND} -b 2 --l2 --mu_mesh 0.01"),
    Case("predict", 96, 1.5, 4),
    Case("predict", 256, 0.8, 12),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare what runs need with what is told beforehand.")
    parser.add_argument("numbers", type=int, nargs="*", help="of the rows, from 0; by default all of them")
    parser.add_argument("--maps", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("--machine", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.maps:
        print(json.dumps(_make_maps(CASES[int(asked.maps[0])], Path(asked.maps[1]))))
    elif asked.run:
        sys.exit(_run(asked.run))
    elif asked.machine:
        from measures import machine_text

        print(machine_text())
    else:
        print(_child("--machine")[0].strip())
        print("| program | box | points | options | told | needed | told / needed |\n|---|---|---|---|---|---|---|")
        ratios = [_row(number) for number in asked.numbers or range(len(CASES))]
        print(f"told / needed from {min(ratios):.2f} to {max(ratios):.2f}")


def _row(number: int) -> float:
    """Print it, and return how many times the need was told."""
    case = CASES[number]
    with tempfile.TemporaryDirectory() as scratch:
        n_points = json.loads(_child("--maps", str(number), scratch)[0])
        initial = ["-i0", f"{scratch}/initial.mrc", "-t0", str(_LEVEL)]
        maps = [*initial, "-i1", f"{scratch}/target.mrc", "-t1", str(_LEVEL), "-d", f"{scratch}/run"]
        how = ["--device", "cpu", "--progress", "none"]
        options = case.options.split()
        if case.program == "train":
            words = ["train", *maps, *options, "--seed", "1", *how]
            told = _told_of_training(case.side**3, n_points, options)
        else:
            _child("--run", "train", *maps, *_BY_HAND.split(), "-b", "4", *how)
            words = ["predict", "-i", *initial[1:2], "-t", str(_LEVEL), "--run", f"{scratch}/run", *options, *how]
            words += ["-d", f"{scratch}/frames"]
            told = memory_of_prediction(case.side**3)
        needed = _child("--run", *words)[1]
    sizes = f"| {case.program} | {case.side}³ | {n_points:,} | {case.options} "
    print(f"{sizes}| {told / 1e9:.2f} GB | {needed / 1e9:.2f} GB | {told / needed:.2f} |", flush=True)
    return told / needed


def _told_of_training(n_voxels: int, n_points: int, options: Sequence[str]) -> float:
    given = dict(zip(options, options[1:]))
    recipe, width = given.get("--recipe", "cryotrans"), int(given.get("--width", 100))
    return memory_of_training(n_voxels, n_points // int(given.get("-b", 1)) ** 3, recipe, width)


def _child(*words: str) -> tuple[str, int]:
    """Run this file in another process: what it prints, and its peak of resident memory in bytes."""
    process = subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    return said, used.ru_maxrss if sys.platform == "darwin" else 1024 * used.ru_maxrss


def _run(words: Sequence[str]) -> int:
    """One of the programs, in this process, the stages of recipe auto cut short."""
    from chimerax.cryotrans.engine.training import recipe
    from chimerax.cryotrans.programs.command_line import main as program

    plan = recipe.planned_stages
    recipe.planned_stages = lambda *of: [stage._replace(n_steps=min(_STEPS, stage.n_steps)) for stage in plan(*of)]
    return program(words)


def _make_maps(case: Case, folder: Path) -> int:
    """Write both maps; how many points the initial one has."""
    from scipy.ndimage import gaussian_filter
    from scipy.spatial.transform import Rotation

    from chimerax.cryotrans.engine.maps.demo_pair import make_demo_pair
    from chimerax.cryotrans.engine.maps.density_map import DensityMap
    from chimerax.cryotrans.engine.maps.mrc_file import write_map

    atoms = make_demo_pair().initial_atoms
    atoms = atoms - atoms.mean(axis=0)
    row = int(np.ceil(case.molecules ** (1 / 3)))
    places = np.stack(np.unravel_index(np.arange(case.molecules), (row,) * 3), axis=1) - (row - 1) / 2
    copies = [Rotation.random(random_state=k).apply(atoms) + 48 * place for k, place in enumerate(places)]
    before = np.concatenate(copies)
    turned = Rotation.from_rotvec([np.deg2rad(25), 0, 0]).apply(before)
    after = np.where((np.arange(len(before)) < len(before) // 2)[:, None], turned, before)
    counts = []
    for name, positions, resolution in (("initial", before, 3.0), ("target", after, 5.0)):
        density = np.zeros((case.side,) * 3, np.float32)
        cells = np.rint(positions / case.voxel + (case.side - 1) / 2).astype(int)
        inside = ((cells >= 0) & (cells < case.side)).all(axis=1)
        np.add.at(density, tuple(cells[inside].T), 1)
        density = gaussian_filter(density, 0.225 * resolution / case.voxel, mode="constant")
        density /= density.max()
        counts.append(int(np.count_nonzero(density >= _LEVEL)))
        write_map(folder / f"{name}.mrc", DensityMap(density, (case.voxel,) * 3, name=name))
    return counts[0]


if __name__ == "__main__":
    main()
