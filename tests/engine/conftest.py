"""Reference numbers for the engine's tests, see tests/reference/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest

from chimerax.cryotrans.engine.maps.density_map import DensityMap

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="session")
def reference():
    """The numbers of kernels.npz by name."""
    with np.load(REFERENCE / "kernels.npz") as numbers:
        return dict(numbers)


@pytest.fixture(scope="session")
def training_runs():
    return json.loads((REFERENCE / "training.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def start_weights():
    return REFERENCE / "net_start.pt"


@pytest.fixture(scope="session")
def adk():
    """Adenylate kinase, open and closed, as two maps."""
    with np.load(REFERENCE / "adk.npz") as maps:
        return tuple(DensityMap(maps[name], (1.5, 1.5, 1.5), name=name) for name in ("initial", "target"))
