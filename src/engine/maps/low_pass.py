"""A map seen at a lower resolution; without PyTorch, so that maps are looked at before anything is loaded.

A map at a resolution of d Å is, by the habit of ChimeraX's molmap, one whose atoms are Gaussians of standard deviation
0.225 d: their Fourier transform falls to 1/e at the frequency 1/d.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SIGMA_OF_RESOLUTION = 0.225
_REACH = 5.0  # standard deviations, beyond which 6e-7 of a Gaussian's mass lie

Array = NDArray[np.float32]


def low_passed(density: np.ndarray, voxel_size: tuple[float, float, float], resolution: float) -> Array:
    """The density convolved with the Gaussian of an atom at this resolution; beyond the faces it is its median.

    So a background that is not zero stays even up to the faces.

    Args:
        density: (nz, ny, nx).
        voxel_size: (z, y, x), Å.
        resolution: Å; 0 changes nothing.
    Returns:
        (nz, ny, nx).
    """
    background = np.float32(np.median(density))
    result = np.asarray(density, dtype=np.float32) - background
    for axis, size in enumerate(voxel_size):
        kernel = _kernel(result.shape[axis], SIGMA_OF_RESOLUTION * resolution / size)
        result = np.moveaxis(np.tensordot(kernel, result, axes=([1], [axis])), 0, axis)
    return np.ascontiguousarray(result) + background


def _kernel(n: int, sigma: float) -> Array:
    """(n, n), voxel by voxel; rows in the middle have the sum 1."""
    if sigma <= 0:
        return np.eye(n, dtype=np.float32)
    reach = math.ceil(_REACH * sigma)
    total = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).sum()
    index = np.arange(n)
    distance = index[:, np.newaxis] - index
    return (np.exp(-(distance**2) / (2 * sigma**2)) / total).astype(np.float32)
