"""Small maps of chains that fold at random, whose shape tells how they lie; one lobe of two may turn and move.

Positions are (z, y, x), Å; voxels are cubes of 2 Å.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.maps.density_map import DensityMap

VOXEL = 2.0
_BOX = 40
_BLUR = 1.4  # Å, of 6 Å of resolution

Positions = NDArray[np.float64]


def lobe(n: int, radius: float, seed: int) -> Positions:
    """A chain of steps of 3.8 Å that stays in a ball and out of its own way; (n, 3) about 0."""
    rng = np.random.default_rng(seed)
    chain = [np.zeros(3)]
    while len(chain) < n:
        steps = rng.normal(size=(200, 3))
        tried = chain[-1] + 3.8 * steps / np.linalg.norm(steps, axis=1, keepdims=True)
        apart = np.linalg.norm(tried[:, None] - np.array(chain)[:-1], axis=2).min(1, initial=np.inf)
        fits = np.flatnonzero((np.linalg.norm(tried, axis=1) < radius) & (apart > 4.0))
        if len(fits):
            chain.append(tried[fits[0]])
        else:
            del chain[len(chain) // 2 :]
    found = np.array(chain)
    return found - found.mean(0)


def two_lobes() -> tuple[Positions, Positions]:
    """The two lobes of one molecule, side by side in the box."""
    return lobe(70, 13.0, 1) + np.array((40.0, 27.0, 40.0)), lobe(70, 13.0, 2) + np.array((40.0, 52.0, 40.0))


def moved_lobe(positions: Positions) -> Positions:
    """Turned by 110° about an axis through its middle, and moved by 16 Å."""
    middle = positions.mean(0)
    turn = Rotation.from_rotvec(np.radians(110) * np.array([0.6, 0.0, 0.8]))
    return turn.apply(positions - middle) + middle + (12.0, 4.0, 10.0)


def map_of(positions: Positions) -> DensityMap:
    """A Gaussian a position, of the maximum 1."""
    axis = np.arange(_BOX) * VOXEL
    z, y, x = (np.exp(-((axis - across[:, None]) ** 2) / (2 * _BLUR**2)) for across in positions.T)
    density = np.einsum("az,ay,ax->zyx", z, y, x)
    return DensityMap((density / density.max()).astype(np.float32), (VOXEL,) * 3)
