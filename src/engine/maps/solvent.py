"""The solvent of a map: its level and its noise, by statistics that the molecule does not disturb.

The molecule lies above the solvent, and noise on both sides of it.  So the noise is told from what lies below the
solvent's level: the median absolute deviation, times 1.4826, is the standard deviation of Gaussian noise (Rousseeuw &
Croux, J. Am. Stat. Assoc. 88 (1993) 1273).  Where a program has masked the map its voxels all have one value, which is
no measurement of noise but the level of the solvent, as that program had it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SIGMAS_OF_DEVIATION = 1.4826
_FEWEST = 0.005  # of the voxels; of fewer nothing is told
_MUCH_IS_FLAT = 0.05  # of the voxels
_LEAST_BELOW = 0.1  # of what was measured; of noise half would be


class Solvent(NamedTuple):
    """In map units."""

    background: float
    noise: float  # standard deviation; 0.0 where too few voxels tell


def solvent_of(density: np.ndarray, where: NDArray[np.bool_], flat: NDArray[np.bool_]) -> Solvent:
    """
    Args:
        density: (nz, ny, nx).
        where: (nz, ny, nx), which voxels count: of what varies among them the molecule shall be less than half.
        flat: (nz, ny, nx), which voxels a program has set to one value, see `flat_voxels`.
    """
    values = density[where & ~flat]
    masked = np.count_nonzero(flat) > _MUCH_IS_FLAT * density.size
    if len(values) < max(8, _FEWEST * density.size):
        return Solvent(_median(density[flat] if masked else density.flatten()), 0.0)
    background = _median(density[flat] if masked else values)
    below = values[values <= background]
    if len(below) < _LEAST_BELOW * len(values):
        return Solvent(background, 0.0)
    return Solvent(background, _SIGMAS_OF_DEVIATION * (background - _median(below)))


def _median(values: np.ndarray) -> float:
    """In double precision; it puts them in another order, since a large box would take a second copy of them."""
    middle = (len(values) - 1) // 2, len(values) // 2
    values.partition(middle)
    return float(values[list(middle)].mean(dtype=np.float64))


def flat_voxels(density: np.ndarray) -> NDArray[np.bool_]:
    """Where a voxel has exactly the value of a neighbour along x, (nz, ny, nx)."""
    same = density[:, :, 1:] == density[:, :, :-1]
    flat: NDArray[np.bool_] = np.zeros(density.shape, dtype=bool)
    flat[:, :, 1:] |= same
    flat[:, :, :-1] |= same
    return flat
