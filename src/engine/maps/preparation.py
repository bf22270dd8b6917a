"""From two maps on one grid to what training works on: threshold, equal mass, binning, points.

Arrays are (nz, ny, nx).  Positions are (z, y, x) in units of the longest box side: voxel i of a grid whose voxels have
the side h lies at (i + 0.5)·h.  Binning by b makes the side b·h, so a network trained on binned maps fits full ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .bounding_box import bounding_box
from .density_map import DensityMap, grid_text, same_grid

_LEAST_WEIGHT = 1e-6  # of a point, as a share of the map's maximum
_FAINT = 0.25  # of the level
_SUGGESTED_SHARE = 0.01  # of the voxels above a suggested level, as ChimeraX's first contour

Array = NDArray[np.float32]


class PreparedPair(NamedTuple):
    """What training works on; `initial` has the maximum 1 before binning, `target` the same sum, held out included."""

    initial: Array  # (nz, ny, nx)
    target: Array  # (nz, ny, nx)
    voxel: float  # side of a voxel in units of the longest box side of the maps as they came
    support: NDArray[np.int64]  # (n, 3) voxel (z, y, x) of each point
    weights: Array  # (n,)
    seen: Array | None = None  # (nz, ny, nx), what share of a voxel of the target is not held out

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx) after binning."""
        nz, ny, nx = self.initial.shape
        return nz, ny, nx


def prepare(
    initial: DensityMap,
    target: DensityMap,
    initial_level: float,
    target_level: float,
    bin_size: float = 1,
    margin: int = 0,
    held_out: NDArray[np.bool_] | None = None,
) -> PreparedPair:
    """Threshold both maps, give the target the initial's mass, bin them, and take the points.

    Args:
        margin: voxels round what is above the level whose density is kept too where it is not faint: the slopes of
            the molecule's surface without the noise far from it.
        held_out: (nz, ny, nx), voxels of the target that training is not to see: they are zero before anything is
            made of them, so that nothing of them gets into means over voxels.
    Raises:
        InputError: the maps are on different grids, a level is above its map's maximum or negative, or nothing is left.
    """
    if not same_grid(initial, target):
        raise InputError(
            f"The maps must share a grid: {initial.name} is {grid_text(initial)}, {target.name} is "
            f"{grid_text(target)}. Resample one of them first."
        )
    if bin_size > min(initial.grid_shape):
        raise InputError(f"A binning of {bin_size} leaves nothing of a box of {grid_text(initial)}. Use a smaller one.")
    a = above_level(initial, initial_level)
    _add_margin(a, initial.density, _FAINT * initial_level, margin)
    a /= a.max()  # in place, as a large box takes much memory
    mass, a = a.sum(dtype=np.float64), bin_density(a, bin_size)
    target_density, b = target.density, above_level(target, target_level)
    share = 1.0  # of the mass that is not held out, as if density were even: the true one is not to be known
    if held_out is not None:
        target_density, b = (np.where(held_out, np.float32(0), d) for d in (target_density, b))
        n_seen = int(np.count_nonzero(b))
        if n_seen == 0:
            raise InputError(f"All of {target.name} above level {target_level:g} is held out. Hold out less.")
        share = n_seen / (n_seen + int(np.count_nonzero(held_out)))
    _add_margin(b, target_density, _FAINT * target_level, margin)
    b *= np.float32(share * mass / b.sum(dtype=np.float64))
    b = bin_density(b, bin_size)
    support = np.argwhere(a >= _LEAST_WEIGHT)
    if len(support) == 0:
        raise InputError(
            f"Nothing is left of {initial.name} above level {initial_level:g} with binning {bin_size}. "
            f"Lower the level or the binning."
        )
    weights = a[tuple(support.T)]
    seen = None if held_out is None else bin_density((~held_out).astype(np.float32), bin_size)
    return PreparedPair(a, b, bin_size / max(initial.grid_shape), support, weights, seen)


def above_level(density_map: DensityMap, level: float) -> Array:
    """The density with all that is below the level set to zero; (nz, ny, nx), map units.

    Raises:
        InputError: the level is negative, not a number, or nothing reaches it.
    """
    _check_level(density_map, level)
    density = density_map.density
    return np.where(density < level, np.float32(0), density)


def occupied_above(density_map: DensityMap, level: float) -> NDArray[np.bool_]:
    """Where that is not zero, (nz, ny, nx); a quarter of the memory.

    Raises:
        InputError: as above.
    """
    _check_level(density_map, level)
    occupied: NDArray[np.bool_] = density_map.density >= level
    if level == 0:
        occupied &= density_map.density > 0
    return occupied


def _check_level(density_map: DensityMap, level: float) -> None:
    density = density_map.density
    low, high = float(density.min()), float(density.max())
    span = f"{density_map.name} has values from {low:.4g} to {high:.4g}"
    if high <= 0:
        raise InputError(f"{span}: there is no density above zero to move. Is it the right map?")
    if not level >= 0:
        raise InputError(
            f"Level {level:g} cannot be used: only density above zero can be moved, and {span}. "
            f"{suggestion(density_map)}"
        )
    if level > high:
        raise InputError(f"Level {level:g} keeps nothing: {span}. {suggestion(density_map)}")


def _add_margin(kept: Array, density: Array, faintest: float, margin: int) -> None:
    """Put into what is kept, in place, what is not faint within `margin` voxels of it, counted along the axes."""
    if margin == 0:
        return
    occupied = kept > 0
    box = bounding_box(occupied, margin)
    near = occupied[box]
    del occupied
    for _ in range(margin):
        wider = near.copy()
        for axis in range(3):
            forward, back = [slice(None)] * 3, [slice(None)] * 3
            forward[axis], back[axis] = slice(1, None), slice(None, -1)
            wider[tuple(forward)] |= near[tuple(back)]
            wider[tuple(back)] |= near[tuple(forward)]
        near = wider
    near &= density[box] > faintest
    np.copyto(kept[box], density[box], where=near)


def suggested_level(density_map: DensityMap) -> float:
    """A level that keeps the highest hundredth of the voxels; map units."""
    values = density_map.density.ravel()
    n_below = min(values.size - 1, int((1 - _SUGGESTED_SHARE) * values.size))
    return max(0.0, float(np.partition(values, n_below)[n_below]))


def suggestion(density_map: DensityMap, word: str = "A level of") -> str:
    """A level that keeps what the sentence says, and the way out where the map's zero is not its background.

    Args:
        word: what stands before the level.
    """
    density, level = density_map.density, suggested_level(density_map)
    kept = np.count_nonzero(density >= level) / density.size
    if level > 0:
        return f"{word} {level:.3g} keeps its highest {100 * max(kept, 0.0001):.2g} %."
    low = float(density.min())
    return (
        f"Less than 1 % of it is above zero, {100 * kept:.2g} %: its zero may not be its background. Add an offset "
        f"first (in ChimeraX: volume scale #1 shift {-low:.4g})."
    )


def bin_density(density: Array, bin_size: float) -> Array:
    """Means of bin_size³ blocks; a box that does not divide is padded with zeros at its far ends.

    Args:
        density: (nz, ny, nx); a voxel counts as a cube of even density.
        bin_size: voxels a side of a block, 1 or more, not only whole numbers.
    Returns:
        (⌈nz/b⌉, ⌈ny/b⌉, ⌈nx/b⌉).
    """
    if bin_size == 1:
        return density
    if bin_size != int(bin_size):
        for _ in range(3):  # the axis done goes last
            density = np.tensordot(density, _shares(density.shape[0], bin_size), axes=(0, 1))
        return density
    occupied = density != 0
    box = bounding_box(occupied, 0) if occupied.any() else (slice(0, 1),) * 3
    del occupied
    size = int(bin_size)
    binned = np.zeros([-(-n // size) for n in density.shape], np.float32)
    first, last = [along.start // size for along in box], [-(-along.stop // size) for along in box]
    part = density[tuple(slice(size * a, size * b) for a, b in zip(first, last))]
    padded = np.pad(part, [(0, -n % size) for n in part.shape])
    nz, ny, nx = (n // size for n in padded.shape)
    blocks = padded.reshape(nz, size, ny, size, nx, size)
    binned[tuple(slice(a, b) for a, b in zip(first, last))] = blocks.mean(axis=(1, 3, 5), dtype=np.float64)
    return binned


def _shares(n: int, bin_size: float) -> Array:
    """What share of each block along an axis is each of n voxels, (⌈n/b⌉, n)."""
    blocks = np.arange(math.ceil(n / bin_size))[:, None] * bin_size
    voxels = np.arange(n)
    overlap = np.minimum(blocks + bin_size, voxels + 1) - np.maximum(blocks, voxels)
    return np.asarray(overlap.clip(0) / bin_size, dtype=np.float32)


def unbinned(density: Array, bin_size: int, grid_shape: tuple[int, ...]) -> Array:
    """The grid that `bin_density` was given, each voxel with the value of its block."""
    for axis in range(3):
        density = density.repeat(bin_size, axis=axis)
    return density[tuple(slice(n) for n in grid_shape)]


def level_of_same_volume(density: NDArray[np.float32], n_voxels: int) -> float:
    """The level at or above which n_voxels voxels of a map lie, and no voxel that is not above zero.

    A map that has been carried is a little lower at its rim than the one it was made of, so that the same level would
    keep less of it, and from leg to leg less and less.

    Args:
        density: (nz, ny, nx), not all zero.
        n_voxels: 1 or more, not more than there are voxels.
    """
    values = np.partition(density.ravel(), -n_voxels)[-n_voxels:]
    return float(values[values > 0].min())
