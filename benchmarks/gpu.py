"""What a training step costs on an NVIDIA GPU, ours and that of CryoTRANS 1.0.0.

    python benchmarks/gpu.py [--reference PROGRAM]

Both are run as programs, in turn, with the published options on the same two files.  The time of a step is the
difference between a long and a short run divided by the steps between them, so start-up drops out.  Memory is what the
device lacks while a program runs, its CUDA context included, and for ours the first step, in which the kernel is
compared with PyTorch.  PROGRAM is `cryotrans-train` of CryoTRANS 1.0.0, best in
an environment of its own, since ours has that name too; by default, the one on PATH if it is not ours.

Without a GPU the same table is printed, and why it is empty.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measures import machine_text
from step import refined

from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import write_map
from chimerax.cryotrans.engine.transport.sinkhorn import sinkhorn, transport_path

OURS = (sys.executable, "-m", "chimerax.cryotrans", "train")
LOSSES = {"W2": (), "L2": ("--l2", "--lr", "1e-4"), "W2 + mesh": ("--mu_mesh", "0.01")}
SHORT = 10  # steps


class Case(NamedTuple):
    side: int
    factor: int  # how much finer than the demo pair's the voxels are
    n_points: int
    width: int
    n_steps: int  # between the short and the long run


class Cost(NamedTuple):
    seconds: float  # of a step
    gigabytes: float  # at most, on the GPU


CASES = (
    Case(96, 2, 15_000, 900, 200),
    Case(160, 3, 50_000, 100, 400),
    Case(320, 6, 500_000, 100, 60),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps on an NVIDIA GPU.")
    parser.add_argument("--reference", metavar="PROGRAM", help="cryotrans-train of CryoTRANS 1.0.0")
    asked = parser.parse_args()
    print(machine_text())
    gpu = torch.cuda.is_available()
    reference = (asked.reference or _published_program()) if gpu else None
    if not gpu:
        print("Not measured: PyTorch finds no NVIDIA GPU here.")
    else:
        print(_transport_text())
        if reference is None:
            print("CryoTRANS 1.0.0 is not measured: its cryotrans-train is not on PATH. Name it: --reference PROGRAM")
    print("box   points  width  loss        seconds a step: ours   1.0.0          GPU memory: ours   1.0.0")
    for case in CASES:
        with tempfile.TemporaryDirectory(prefix="cryotrans_") as folder:
            arguments = _write_maps(case, Path(folder)) if gpu else ()
            for name, options in LOSSES.items():
                words = (*arguments, "--width", str(case.width), *options)
                ours = _cost(OURS, words, case.n_steps) if gpu else None
                theirs = _cost((reference,), words, case.n_steps) if reference else None
                print(
                    f"{case.side}³ {case.n_points:>8,} {case.width:>6}  {name:<10} "
                    f"{_seconds(ours):>22} {_seconds(theirs):>14} {_memory(ours):>19} {_memory(theirs):>14}",
                    flush=True,
                )


def _seconds(cost: Cost | None) -> str:
    return "not measured" if cost is None else f"{cost.seconds:.4f}"


def _memory(cost: Cost | None) -> str:
    return "not measured" if cost is None else f"{cost.gigabytes:.2f} GiB"


def _published_program() -> str | None:
    """`cryotrans-train` on PATH, unless it is ours, which has a --version."""
    program = shutil.which("cryotrans-train")
    if program is None or subprocess.run([program, "--version"], capture_output=True).returncode == 0:
        return None
    return program


def _transport_text() -> str:
    density = torch.zeros(8, 8, 8, device="cuda")
    density[4, 4, 4] = 1
    sinkhorn(density, density, 1.0, 5)
    return transport_path(density.device)


def _write_maps(case: Case, folder: Path) -> tuple[str, ...]:
    """The demo pair in a cube of that side and with so many points; the programs' arguments for it."""
    demo = make_demo_pair()
    arguments: list[str] = []
    for k, density_map in enumerate((demo.initial, demo.target)):
        density = density_map.density
        for axis in range(3):
            density = refined(density, axis, case.factor)
        for axis, n in enumerate(density.shape):
            cut = max(0, n - case.side) // 2
            density = density.take(range(cut, cut + min(n, case.side)), axis)
        before = [(case.side - n) // 2 for n in density.shape]
        cube = np.pad(density, [(b, case.side - b - n) for b, n in zip(before, density.shape)])
        level = float(np.sort(cube, axis=None)[-case.n_points]) if k == 0 else LEVEL
        write_map(folder / f"{k}.mrc", DensityMap(cube, density_map.voxel_size))
        arguments += [f"-i{k}", str(folder / f"{k}.mrc"), f"-t{k}", repr(level)]
    return tuple(arguments)


def _cost(program: Sequence[str], arguments: Sequence[str], n_steps: int) -> Cost:
    short, _ = _run(program, arguments, SHORT)
    long, gigabytes = _run(program, arguments, SHORT + n_steps)
    return Cost((long - short) / n_steps, gigabytes)


def _run(program: Sequence[str], arguments: Sequence[str], n_steps: int) -> tuple[float, float]:
    """Run a program for so many steps; its seconds, and the most gigabytes that the GPU lacked meanwhile."""
    with tempfile.TemporaryDirectory(prefix="cryotrans_") as folder:
        command = [*program, *arguments, "-d", str(Path(folder) / "run"), "-n", str(n_steps), "-p", str(n_steps)]
        before, least, done = _free_bytes(), [_free_bytes()], threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                least[0] = min(least[0], _free_bytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.perf_counter()
        finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
        seconds = time.perf_counter() - begun
        done.set()
        watcher.join()
    if finished.returncode:
        raise SystemExit(f"{' '.join(command)}\n{finished.stdout}\nended with exit status {finished.returncode}.")
    return seconds, (before - least[0]) / 2**30


def _free_bytes() -> int:
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0


if __name__ == "__main__":
    main()
