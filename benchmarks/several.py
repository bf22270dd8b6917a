"""What a step costs one process, and two that share its points, and how far their losses differ.

    python benchmarks/several.py [--side 160] [--steps 20]

W2 steps of the published settings on the demo pair, on finer voxels; the processes are on the CPU, with one
thread each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from measures import machine_text, run_program
from scipy.ndimage import zoom

from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import write_map


def main() -> None:
    parser = argparse.ArgumentParser(description="Time steps of one process and of two.")
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    print(machine_text())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, each in zip(("initial", "target"), make_demo_pair()[:2]):
            factor = asked.side / max(each.grid_shape)
            density = zoom(each.density, factor, order=1).astype(np.float32)
            size = tuple(step / factor for step in each.voxel_size)
            write_map(folder / f"{name}.mrc", DensityMap(density, size, name=name))
        found = {device: _run(folder, device, asked.steps) for device in ("cpu", "cpu,cpu")}
    (one, losses), (two, others) = found["cpu"], found["cpu,cpu"]
    print(f"{asked.side}³: {one:.2f} s a step by one process, {two:.2f} s by two ({one / two:.2f} times as fast)")
    print(f"losses differ by {np.max(np.abs(others / losses - 1)):.1e} at most")


def _run(folder: Path, device: str, n_steps: int) -> tuple[float, np.ndarray]:
    """Seconds a step, by what a run takes longer than one of two steps, and all losses."""
    maps = ["-i0", str(folder / "initial.mrc"), "-i1", str(folder / "target.mrc"), "-t0", str(LEVEL), "-t1", str(LEVEL)]
    run, seconds = folder / "run", []
    for n in (2, 2 + n_steps):
        how = ["-n", str(n), "-p", str(n), "--seed", "0", "--no-report", "--progress", "none", "--overwrite"]
        seconds.append(run_program("train", *maps, *how, "-d", str(run), "--device", device))
    return (seconds[1] - seconds[0]) / n_steps, np.loadtxt(run / "loss.log")


if __name__ == "__main__":
    sys.exit(main())
