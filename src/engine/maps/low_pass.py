"""A map seen at a lower resolution.

A map at a resolution of d Å is, by the habit of ChimeraX's molmap, one whose atoms are Gaussians of standard deviation
0.225 d: their Fourier transform falls to 1/e at the frequency 1/d.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .gaussian_blur import gaussian_blur

SIGMA_OF_RESOLUTION = 0.225

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
    above = torch.from_numpy(np.asarray(density, dtype=np.float32) - background)
    sigmas = [SIGMA_OF_RESOLUTION * resolution / size for size in voxel_size]
    return np.ascontiguousarray(gaussian_blur(above, sigmas).numpy()) + background
