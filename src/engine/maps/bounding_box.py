"""The part of a box that holds something: what is empty is not worked on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bounding_box(occupied: NDArray[np.bool_], margin: int) -> tuple[slice, slice, slice]:
    """The smallest box round what is occupied, so many voxels larger on all sides as far as the map goes.

    Args:
        occupied: (nz, ny, nx), True somewhere.
        margin: voxels.
    Returns:
        For z, y, x.
    """
    slices = []
    for axis, n in enumerate(occupied.shape):
        there = np.flatnonzero(occupied.any(axis=tuple(other for other in range(3) if other != axis)))
        slices.append(slice(max(0, int(there[0]) - margin), min(n, int(there[-1]) + 1 + margin)))
    return slices[0], slices[1], slices[2]
