"""Connected parts of a set of voxels, distances from it, and masks with a soft edge round it, without SciPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bounding_box import bounding_box

_MOST_IN_32_BITS = 2**31 - 1


def connected_components(occupied: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which voxels hang together face to face.

    Every voxel points to one of its part with a smaller number; neighbours of different parts make the larger number
    point to the smaller one, and all ways are shortened, until nothing changes: Shiloach & Vishkin, J. Algorithms 3
    (1982) 57.

    Args:
        occupied: (nz, ny, nx).
    Returns:
        voxels (n, 3), (z, y, x) of each occupied voxel; parts (n,), numbered from 0 in the order of their first voxels.
    """
    box = bounding_box(occupied, 0) if occupied.any() else (slice(0),) * 3
    occupied = occupied[box]
    voxels: NDArray[np.int64] = np.argwhere(occupied)
    kind = np.int32 if len(voxels) <= _MOST_IN_32_BITS else np.int64
    number: NDArray[np.signedinteger[Any]] = np.full(occupied.shape, -1, dtype=kind)
    number[occupied] = np.arange(len(voxels))
    pairs = []
    for axis in range(3):
        a = number[tuple(slice(None, -1) if k == axis else slice(None) for k in range(3))]
        b = number[tuple(slice(1, None) if k == axis else slice(None) for k in range(3))]
        both = (a >= 0) & (b >= 0)
        pairs.append(np.stack((a[both], b[both])))
    root = np.arange(len(voxels), dtype=number.dtype)
    del number, a, b, both  # of a large box
    a, b = np.concatenate(pairs, axis=1)
    del pairs
    while len(a):
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        apart = low != high
        if not apart.any():
            break
        a, b = a[apart], b[apart]
        np.minimum.at(root, high[apart], low[apart])
        while True:
            further = root[root]
            if np.array_equal(further, root):
                break
            root = further
    return voxels + [along.start or 0 for along in box], np.unique(root, return_inverse=True)[1].reshape(-1)


def distance_from(
    occupied: NDArray[np.bool_], voxel_size: tuple[float, float, float], reach: float
) -> NDArray[np.float32]:
    """How far each voxel's centre lies from the next occupied one.

    Squared distances are taken axis by axis, d² = min over k of (d² of the voxel k further + (k h)²): Felzenszwalb &
    Huttenlocher, Theory of Computing 8 (2012) 415, by trial of every k within reach.

    Args:
        occupied: (nz, ny, nx).
        voxel_size: (z, y, x), Å.
        reach: Å.
    Returns:
        (nz, ny, nx), Å; infinite beyond the reach.
    """
    whole = np.full(occupied.shape, np.inf, np.float32)
    if not occupied.any():
        return whole
    box = bounding_box(occupied, math.floor(reach / min(voxel_size) + 1e-6))
    squared = np.where(occupied[box], np.float32(0), np.float32(np.inf))
    for axis, size in enumerate(voxel_size):
        before, n = squared, squared.shape[axis]
        squared = before.copy()
        for k in range(1, min(n - 1, math.floor(reach / size + 1e-6)) + 1):
            low = tuple(slice(None, -k) if a == axis else slice(None) for a in range(3))
            high = tuple(slice(k, None) if a == axis else slice(None) for a in range(3))
            step = np.float32((k * size) ** 2)
            np.minimum(squared[low], before[high] + step, out=squared[low])
            np.minimum(squared[high], before[low] + step, out=squared[high])
    distance = np.sqrt(squared)
    whole[box] = np.where(distance <= reach * (1 + 1e-6), distance, np.float32(np.inf))
    return whole


def soft_edged(
    core: NDArray[np.bool_], voxel_size: tuple[float, float, float], grown: float, edge: float
) -> NDArray[np.float32]:
    """1 up to `grown` (Å) from the core, then down to 0 over `edge` (Å) as a cosine; (nz, ny, nx)."""
    distance = distance_from(core, voxel_size, grown + edge)
    part = np.clip((np.where(np.isfinite(distance), distance, grown + edge) - grown) / edge, 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * part), dtype=np.float32)
