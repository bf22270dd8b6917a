"""Where and how much a flow moves and deforms a map, and what it leaves unexplained, as maps on the initial's grid.

    displacement.mrc    Å, the length of the way from t = 0 to t = 1
    volume_change.mrc   det F, 1 where volume is kept; see `deformation`
    strain.mrc          0 where the motion is rigid
    residual.mrc        target - s × generated, in units of the target: density that no motion explains

The first three are given where mass is at t = 0, to be laid on the initial map: at each point, and within three voxels
of one by the nearest, so that a surface that runs a little outside the points can be coloured too.  Elsewhere nothing
moves: 0, and a volume change of 1.  The residual lies where mass is at t = 1, and is to be looked at beside the target;
the generated map is blurred to the target's resolution first, and s is the scale at which the sum of squares is least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..maps.bounding_box import bounding_box
from ..maps.density_map import DensityMap, voxel_side
from ..maps.gaussian_blur import gaussian_blur
from ..maps.mrc_file import write_map
from ..maps.preparation import above_level
from .comparison import Measured

_REACH = 3  # voxels
REACH_OF_BLUR = 6.0  # standard deviations; beyond, a Gaussian has fallen to 1e-8


class Nearest(NamedTuple):
    """For each voxel of a part of the box the index of the nearest point; elsewhere there is none."""

    part: tuple[slice, slice, slice]
    points: NDArray[np.int32]  # as large as the part; -1 where there is none


def motion_maps(
    initial: DensityMap,
    target: DensityMap,
    target_level: float,
    nearest: Nearest,
    measured: Measured,
    blur: float = 0.0,
) -> Iterator[tuple[str, DensityMap]]:
    """Make the maps from what was measured at one checkpoint, one at a time, since a large one takes much memory.

    Args:
        initial, target, target_level, blur: as given to `Comparison`.
        nearest: of that comparison's points.
        measured: what it measured.
    Yields:
        name and map, on the grid of the initial map.
    """

    ways = np.sqrt((measured.displacement**2).sum(axis=1))
    yield "displacement", spread_over(initial, nearest, ways)
    yield "volume_change", spread_over(initial, nearest, measured.volume_change, 1)
    yield "strain", spread_over(initial, nearest, measured.strain)
    left = above_level(target, target_level)
    _take_explained_off(left, measured.generated, blur / voxel_side(initial.voxel_size))
    yield "residual", initial.with_density(left)


def spread_over(
    initial: DensityMap, nearest: Nearest, values: NDArray[np.float64], elsewhere: float = 0.0
) -> DensityMap:
    """A map of what is known at points, (n,), and near them."""
    density = np.full(initial.grid_shape, elsewhere, np.float32)
    there = nearest.points >= 0
    density[nearest.part][there] = values[nearest.points[there]]
    return initial.with_density(density)


def write_motion_maps(directory: Path, maps: Iterable[tuple[str, DensityMap]]) -> list[str]:
    """Write the four files, in the place of earlier ones; returns their names.

    Raises:
        InputError: one cannot be written.
    """
    names = []
    for name, density_map in maps:
        names.append(f"{name}.mrc")
        write_map(directory / names[-1], density_map)
        del density_map  # else it would lie beside the next one while that is made
    return names


def residual(generated: np.ndarray, target: np.ndarray, blur: float) -> NDArray[np.float32]:
    """target - s × generated, the scale s by least squares.

    Args:
        generated: (nz, ny, nx), of any scale.
        target: (nz, ny, nx).
        blur: standard deviation in voxels of the Gaussian that makes `generated` as coarse as the target.
    """
    left = target.astype(np.float32)
    _take_explained_off(left, generated, blur)
    return left


def _take_explained_off(target: NDArray[np.float32], generated: np.ndarray, blur: float) -> None:
    """The same in place of the target."""
    occupied = (generated != 0) | (target != 0)
    if not occupied.any():
        return
    box = bounding_box(occupied, math.ceil(REACH_OF_BLUR * blur))  # no work on empty space
    del occupied
    coarse = gaussian_blur(torch.tensor(generated[box], dtype=torch.float32), blur).numpy()
    power = sum(float(np.square(section, dtype=np.float64).sum()) for section in coarse)
    product = sum(
        float(np.multiply(section, wanted, dtype=np.float64).sum()) for section, wanted in zip(coarse, target[box])
    )
    coarse *= np.float32(product / power if power > 0 else 0.0)
    target[box] -= coarse


def nearest_points(
    support: NDArray[np.int64], grid_shape: tuple[int, int, int], voxel_size: tuple[float, float, float]
) -> Nearest:
    """For each voxel the index of the nearest point within three voxels of the longest side, -1 where there is none.

    Args:
        support: (n, 3), voxel (z, y, x) of each point, no two the same.
        grid_shape: (nz, ny, nx).
        voxel_size: (z, y, x), Å.
    """
    size = np.asarray(voxel_size)
    reach = _REACH * size.max()
    most = np.floor(reach / size + 1e-6).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in most], indexing="ij"), axis=-1).reshape(-1, 3)
    distances = np.sqrt(((offsets * size) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")
    corner, end = support.min(0) - most, support.max(0) + 1 + most
    padded = end - corner
    strides = np.array([padded[1] * padded[2], padded[2], 1])
    places = (support - corner) @ strides
    points = np.arange(len(support), dtype=np.int32)
    near = np.full(int(padded.prod()), -1, dtype=np.int32)
    for step in offsets[order[distances[order] <= reach + 1e-6]] @ strides:  # the nearest come first and stay
        at = places + step
        free = near[at] < 0
        near[at[free]] = points[free]
    low, high = np.maximum(corner, 0), np.minimum(end, grid_shape)
    inside = tuple(slice(a, b) for a, b in zip(low - corner, high - corner))
    z, y, x = (slice(a, b) for a, b in zip(low.tolist(), high.tolist()))
    return Nearest((z, y, x), near.reshape(padded)[inside])
