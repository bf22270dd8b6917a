"""How near the estimate of memory is to what runs need, for trainings and predictions of several sizes.

    python benchmarks/memory.py [NUMBER...]

Molecules are the demo's, as many as wanted, side by side, of which half is turned: 3 Å before the motion, 5 Å after it.
Each program runs as users run it, in a process of its own, from the maps to the report, but for the stages of recipe auto,
which are cut to two steps each: a step needs as much memory as the next one.  Its peak is that of its resident memory.
On Linux or macOS, and on the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_LEVEL = "0.15"
_STEPS = 2


class Case(NamedTuple):
    """One row.

    Attributes:
        what: the options that matter.
        side: of the box, voxels.
        voxel: Å.
        molecules: how many of the demo's.
        options: of the program, a prediction's where they begin so.
    """

    program: str
    side: int
    voxel: float
    molecules: int
    options: str = ""


_AUTO = "--recipe auto"
CASES = (
    Case("train", 32, 3.0, 1, _AUTO),
    Case("train", 64, 2.0, 2, _AUTO),
    Case("train", 128, 1.0, 2, _AUTO),
    Case("train", 160, 1.2, 12, _AUTO),
    Case("train", 256, 0.8, 12, _AUTO),
    Case("train", 256, 1.5, 1, _AUTO),
    Case("train", 320, 1.0, 20, _AUTO),
    Case("train", 128, 1.0, 2, f"{_AUTO} --flow network"),
    Case("train", 128, 1.0, 2, f"{_AUTO} --flow domains"),
    Case("train", 96, 1.5, 4, "-n 2 -p 1"),
    Case("train", 160, 1.0, 12, "-n 2 -p 1 --width 300"),
    Case("train", 160, 1.0, 12, "-n 2 -p 1 -b 2 --l2 --mu_mesh 0.01"),
    Case("train", 256, 0.8, 12, "-n 2 -p 1 --l2"),
    Case("predict", 96, 1.5, 4),
    Case("predict", 256, 0.8, 12),
    Case("predict", 400, 0.8, 40),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare what runs need with what was said beforehand.")
    parser.add_argument("numbers", type=int, nargs="*", help="of the rows; all of them if none is given")
    parser.add_argument("--maps", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.maps:
        _make_maps(CASES[int(asked.maps[0])], Path(asked.maps[1]))
    elif asked.run:
        sys.exit(_run(asked.run))
    else:
        for number in asked.numbers or range(len(CASES)):
            _row(number)


def _row(number: int) -> None:
    case = CASES[number]
    with tempfile.TemporaryDirectory() as scratch:
        _child("--maps", str(number), scratch)
        maps = ["-i0", f"{scratch}/initial.mrc", "-t0", _LEVEL, "-i1", f"{scratch}/target.mrc", "-t1", _LEVEL]
        how = ["--device", "cpu", "--progress", "none"]
        if case.program == "train":
            words = ["train", *maps, "-d", f"{scratch}/run", *case.options.split(), "--seed", "1", *how]
        else:
            _child("--run", "train", *maps, "-d", f"{scratch}/run", "-n", "1", "-p", "1", "-b", "4", "--no-report", *how)
            words = ["predict", "-i", f"{scratch}/initial.mrc", "-t", _LEVEL, "--run", f"{scratch}/run", *how]
            words += ["-d", f"{scratch}/frames", *case.options.split()]
        began = os.times().elapsed
        peak = _child("--run", *words)
        print(number, case, f"{peak / 1e9:.2f} GB {os.times().elapsed - began:.0f} s", flush=True)


def _child(*words: str) -> int:
    """Run this file in another process; its peak of resident memory in bytes."""
    process = subprocess.Popen([sys.executable, __file__, *words], stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if os.environ.get('SHOW'):
        print(said)
    if status:
        raise SystemExit(said)
    return used.ru_maxrss if sys.platform == "darwin" else 1024 * used.ru_maxrss


def _run(words: Sequence[str]) -> int:
    """One of the programs, in this process, the stages of recipe auto cut short."""
    from chimerax.cryotrans.engine.training.recipe import AutoTraining
    from chimerax.cryotrans.programs.command_line import main as program

    if os.environ.get("TRACE"):
        sys.path.insert(0, "/tmp/h2"); import trace as _t; _t = __import__("importlib").machinery.SourceFileLoader("tr", "/tmp/h2/trace.py").load_module()
    whole = AutoTraining._plan
    if not os.environ.get("WHOLE"):
        AutoTraining._plan = lambda self: [stage._replace(n_steps=min(_STEPS, stage.n_steps)) for stage in whole(self)]
    return program(words)


def _make_maps(case: Case, folder: Path) -> None:
    from scipy.ndimage import gaussian_filter
    from scipy.spatial.transform import Rotation

    from chimerax.cryotrans.engine.maps.demo_pair import make_demo_pair
    from chimerax.cryotrans.engine.maps.density_map import DensityMap
    from chimerax.cryotrans.engine.maps.mrc_file import write_map

    atoms = make_demo_pair().initial_atoms
    atoms = atoms - atoms.mean(axis=0)
    rows = np.ceil(case.molecules ** (1 / 3))
    places = np.stack(np.unravel_index(np.arange(case.molecules), (int(rows),) * 3), axis=1) - (rows - 1) / 2
    copies = [Rotation.random(random_state=k).apply(atoms) + 48 * place for k, place in enumerate(places)]
    before = np.concatenate(copies)
    turned = Rotation.from_rotvec([np.deg2rad(25), 0, 0]).apply(before)
    after = np.where((np.arange(len(before)) < len(before) // 2)[:, None], turned, before)
    for name, positions, resolution in (("initial", before, 3.0), ("target", after, 5.0)):
        density = np.zeros((case.side,) * 3, np.float32)
        cells = np.rint(positions / case.voxel + (case.side - 1) / 2).astype(int)
        inside = ((cells >= 0) & (cells < case.side)).all(axis=1)
        np.add.at(density, tuple(cells[inside].T), 1)
        density = gaussian_filter(density, 0.225 * resolution / case.voxel, mode="constant")
        write_map(folder / f"{name}.mrc", DensityMap(density / density.max(), (case.voxel,) * 3, name=name))


if __name__ == "__main__":
    main()
