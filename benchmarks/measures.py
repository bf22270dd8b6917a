"""What benchmarks and demo share: running the two programs, and comparing their result with a known truth."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.fsc import correlation, fourier_shell_correlation, resolution_at


class Agreement(NamedTuple):
    """Of a map with the true one: correlation about zero, and the resolution (Å) where the FSC falls to 0.5."""

    correlation: float
    resolution: float


def run_program(*arguments: str) -> float:
    """Run `cryotrans-train` (first word train) or `cryotrans-predict` as a user does; seconds.

    What it prints goes to the screen; the benchmark ends if it fails.
    """
    begun = time.monotonic()
    finished = subprocess.run([sys.executable, "-m", "chimerax.cryotrans", *arguments])
    if finished.returncode:
        raise SystemExit(finished.returncode)
    return time.monotonic() - begun


def agreement(generated: DensityMap, true: DensityMap) -> Agreement:
    frequencies, shells = fourier_shell_correlation(generated.density, true.density, true.voxel_size)
    return Agreement(correlation(generated.density, true.density), resolution_at(frequencies, shells, 0.5))


def rmsd(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Root mean square distance of the rows, without superposition; Å."""
    return float(np.sqrt(((a - b) ** 2).sum(axis=1).mean()))


def is_right(before: float, after: float) -> bool:
    """Whether the structure has come near enough to be called right; Å."""
    return after <= min(3.0, max(1.5, before / 5))


def n_steps_done(run: Path) -> int:
    return int(json.loads((run / "run.json").read_text(encoding="utf-8"))["step"])


def machine_text() -> str:
    """One line on where and with what the figures were made."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU"
    return (
        f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{gpu}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}; {date.today().isoformat()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
