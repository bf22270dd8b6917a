"""What whole runs cost: recipe auto from two maps to the report, and the 11 frames of the trajectory.

    python benchmarks/whole.py FOLDER[@VOXELS]...

Each folder as for accuracy.py: state0_3A.mrc, state1_5A.mrc, and the true positions state0_CA.npy and state1_CA.npy.
With @256 both maps are first put on 256 voxels a side of the same box: their Fourier transforms filled up with zeros.
The programs run as users run them, one after the other, on whatever else this machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measures import machine_text, rmsd

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

_SOURCE = Path(__file__).resolve().parents[1] / "src"
_LEVEL = "0.24"


class Cost(NamedTuple):
    """Of one program: s, share of the time in the operating system, page faults, peak memory in GB."""

    seconds: float
    system: float
    faults: int
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Time whole runs and say what they came to.")
    parser.add_argument("pairs", nargs="+", metavar="FOLDER[@VOXELS]")
    print(machine_text())
    head = ("pair", "box", "training", "system", "faults", "memory", "rmsd", "verdict", "frames", "+ report")
    print(("{:>12}" * len(head)).format(*head))
    for pair in parser.parse_args().pairs:
        print(("{:>12}" * len(head)).format(*_row(pair)), flush=True)


def _row(words: str) -> list[str]:
    folder, _, n_voxels = words.partition("@")
    pair = Path(folder)
    initial, target = pair / "state0_3A.mrc", pair / "state1_5A.mrc"
    with tempfile.TemporaryDirectory() as scratch:
        if n_voxels:
            initial, target = (_finer(path, int(n_voxels), Path(scratch, path.name)) for path in (initial, target))
        run = Path(scratch, "run")
        maps = ["-i0", initial, "-t0", _LEVEL, "-i1", target, "-t1", _LEVEL]
        training = _cost("train", *maps, "-d", run, "--recipe", "auto", "--seed", "0")
        predict = ["predict", "-i", initial, "-t", _LEVEL, "--run", run]
        frames = _cost(*predict, "-d", Path(scratch, "a"), "--no-report")
        with_report = _cost(*predict, "-d", Path(scratch, "b"))
        content = json.loads((run / "run.json").read_text(encoding="utf-8"))
        density_map = read_map(initial)
        start, end = (np.load(pair / f"state{k}_CA.npy")[:, ::-1] for k in (0, 1))
        field = load_weights(run / content["best"]["weights"])
        [carried] = carry(start, density_map, field, [1.0], device=torch.device("cpu"))
    return [
        pair.name,
        "x".join(str(n) for n in density_map.grid_shape[::-1]),
        f"{training.seconds:.0f} s",
        f"{training.system:.1%}",
        f"{training.faults / 1e6:.2f} M",
        f"{training.memory:.2f} GB",
        f"{rmsd(carried, end):.2f} Å",
        str(content["verdict"]["word"]),
        f"{frames.seconds:.1f} s",
        f"{with_report.seconds:.1f} s",
    ]


def _finer(path: Path, n: int, finer: Path) -> Path:
    """Write a map, of a cube with an even number of voxels a side, on n voxels a side, its highest density being 1."""
    density_map = read_map(path)
    before, (k, *others) = density_map.density, density_map.grid_shape
    if others != [k, k] or k % 2 or n % 2 or n <= k:
        raise SystemExit(f"{path} has {before.shape} voxels: only a cube of an even number can be put on {n} voxels.")
    modes = torch.fft.rfftn(torch.from_numpy(before))
    for highest in (modes[k // 2], modes[:, k // 2], modes[:, :, -1]):
        highest /= 2  # it stands for both k/2 and -k/2
    filled = torch.zeros((n, n, n // 2 + 1), dtype=modes.dtype)
    ends = slice(0, k // 2 + 1), slice(-k // 2, None)
    for z in ends:
        for y in ends:
            filled[z, y, : k // 2 + 1] = modes[z, y]
    density = torch.fft.irfftn(filled, s=(n, n, n)).numpy()
    size = tuple(length * k / n for length in density_map.voxel_size)
    write_map(finer, DensityMap(density / density.max(), size))
    return finer


def _cost(*words: object) -> Cost:
    command = [sys.executable, str(_SOURCE), *(str(word) for word in words), "--progress", "none"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(said)
    computed = used.ru_utime + used.ru_stime
    return Cost(seconds, used.ru_stime / computed, used.ru_minflt, used.ru_maxrss / 1e6)


if __name__ == "__main__":
    main()
