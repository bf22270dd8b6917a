"""Small maps of known motion: two Gaussian domains in a box that is no cube, one of which moves.

Arrays, sizes and positions run z, y, x.  The domains overlap with nothing and the noise has a fixed seed.
"""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

SHAPE = (20, 24, 28)
VOXEL_SIZE = (1.5, 1.5, 1.5)  # Å
LEVEL = 0.5  # keeps about a hundred voxels, and none of the noise
STILL, MOVING = (9.0, 8.0, 8.0), (9.0, 13.0, 18.0)  # centres of the two domains, voxels
MOTION = (1.0, -3.0, 0.0)  # of the second one, voxels

_SIGMA = 1.9  # voxels
_NOISE = 0.02

Array = NDArray[np.float32]


def two_domains(time: float = 0.0, shape: tuple[int, int, int] = SHAPE) -> Array:
    """The map when the second domain has gone that share of its way; (nz, ny, nx), maximum about 1."""
    moving = tuple(place + time * move for place, move in zip(MOVING, MOTION))
    noise = np.random.default_rng(20240).uniform(-_NOISE, _NOISE, shape)
    return (blob(STILL, shape) + 0.8 * blob(moving, shape) + noise).astype(np.float32)


def blob(centre: tuple[float, ...], shape: tuple[int, int, int] = SHAPE, sigma: float = _SIGMA) -> NDArray[np.float64]:
    """A Gaussian of height 1; (nz, ny, nx)."""
    z, y, x = (np.exp(-((np.arange(n) - place) ** 2) / (2 * sigma**2)) for n, place in zip(shape, centre))
    return z[:, None, None] * y[:, None] * x


def write_mrc(
    path: Path,
    density: NDArray,
    voxel_size: tuple[float, float, float] = VOXEL_SIZE,
    nstart: tuple[int, int, int] = (0, 0, 0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    compression: str | None = None,
) -> Path:
    """Write a map by mrcfile, all threes (z, y, x); compression is "gzip" or "bzip2"."""
    with mrcfile.new(path, density, compression=compression, overwrite=True) as file:
        file.voxel_size = voxel_size[::-1]
        file.header.nzstart, file.header.nystart, file.header.nxstart = nstart
        file.header.origin.z, file.header.origin.y, file.header.origin.x = origin
    return path
