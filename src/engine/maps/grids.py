"""Maps put on one grid: what a header leaves open taken from the other map, and resampling.

Arrays, sizes and positions run z, y, x; lengths are in Å.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import InputError
from .density_map import PLACE_TOLERANCE, DensityMap, extent_text, grid_text, no_voxel_size_note, same_grid

SAID_OUTSIDE, _MOST_OUTSIDE = 0.005, 0.5  # of the mass


def on_grid_of(density_map: DensityMap, other: DensityMap, level: float | None = None) -> tuple[DensityMap, str]:
    """A map on another's grid: taken as it is where the grids are one, else resampled.

    Args:
        density_map: the map to put there; what of it falls outside is added to its notes.
        other: the grid.
        level: of the map, if it has one: its mass is what lies above, else all that lies above zero.
    Returns:
        The map, what its header leaves open taken from `other`; and a sentence for the user, "" if it was there.
    Raises:
        InputError: the two boxes do not overlap, or more than half of the map's mass falls outside.
    """
    placed = assume_grid_of(density_map, other)
    if same_grid(placed, other):
        return placed, ""
    said = _resampled_text(placed, other)
    resampled = resample(placed, other)
    share = share_outside(placed, other, level)
    what = "of the density of" if level is None else f"of the density above {level:g} of"
    outside = f"{share:.0%} {what} {placed.name} lies outside the box of {other.name}"
    if share > _MOST_OUTSIDE:
        raise InputError(
            f"{outside}: {placed.name} lies at {extent_text(placed)}, {other.name} at {extent_text(other)}. Move one "
            f"onto the other first, or mend the origin in its header."
        )
    if share > SAID_OUTSIDE:
        note = f"{outside} and is left out. Use a larger box, or move one onto the other first."
        resampled = dataclasses.replace(resampled, notes=(*resampled.notes, note))
    return resampled, said


def placed_on(density_map: DensityMap, other: DensityMap) -> tuple[DensityMap, str]:
    """As `on_grid_of`, but for maps of which it does no harm what lies outside the other's box: masks, half maps."""
    placed = assume_grid_of(density_map, other)
    if same_grid(placed, other):
        return placed, ""
    return resample(placed, other), _resampled_text(placed, other)


def share_outside(density_map: DensityMap, box: DensityMap, level: float | None = None) -> float:
    """What share of a map's mass, above its level or above zero, lies outside the box of another; 0 to 1.

    A box reaches half a voxel beyond the centres of its outermost voxels.
    """
    density = density_map.density
    mass = np.where(density >= max(level or 0.0, 0.0), density, np.float32(0))
    total = float(mass.sum(dtype=np.float64))
    for axis in range(3):
        place = density_map.origin[axis] + density_map.voxel_size[axis] * np.arange(density.shape[axis])
        index = (place - box.origin[axis]) / box.voxel_size[axis]
        mass = mass.compress((index >= -0.5) & (index <= box.grid_shape[axis] - 0.5), axis=axis)
    return 1 - float(mass.sum(dtype=np.float64)) / total if total > 0 else 0.0


def _resampled_text(placed: DensityMap, other: DensityMap) -> str:
    return f"{placed.name} ({grid_text(placed)}) is resampled onto the grid of {other.name} ({grid_text(other)})."


def sizes_text(a: DensityMap, b: DensityMap) -> str | None:
    """A doubt: boxes alike, and voxels of exactly 1 Å in one of them, which programs write unasked."""
    for unset, other in ((a, b), (b, a)):
        alike = unset.grid_shape == other.grid_shape and unset.voxel_size_known and other.voxel_size_known
        if alike and set(unset.voxel_size) == {1.0} and not np.allclose(other.voxel_size, 1, rtol=1e-3):
            return (
                f"{unset.name} ({grid_text(unset)}) and {other.name} ({grid_text(other)}) have boxes of equal sides, "
                f"and one says exactly 1 Å: its voxel size was probably never filled in. If so, set it in its header "
                f"(in ChimeraX: volume #1 voxelSize)."
            )
    return None


def resample(density_map: DensityMap, onto: DensityMap) -> DensityMap:
    """Interpolate a map on another's grid: trilinear, zero outside.

    Outside is what lies more than 0.05 voxel beyond the centres of the outermost voxels.  Along an axis where the
    voxels of `onto` are k >= 1.5 times larger, the interpolating triangle is made round(k) voxels wide instead of one,
    which averages what the coarser grid cannot hold.  Away from the edges linear functions stay exact.

    Args:
        density_map: what to interpolate.
        onto: the grid; its density is not looked at.
    Returns:
        The density and name of `density_map` on the grid of `onto`.
    Raises:
        InputError: the two boxes do not overlap.
    """
    density = density_map.density
    for axis in range(3):
        ratio = onto.voxel_size[axis] / density_map.voxel_size[axis]
        start = (onto.origin[axis] - density_map.origin[axis]) / density_map.voxel_size[axis]
        positions = start + ratio * np.arange(onto.grid_shape[axis])  # voxels of density_map
        n = density_map.grid_shape[axis]
        inside = (positions >= -PLACE_TOLERANCE) & (positions <= n - 1 + PLACE_TOLERANCE)
        if not inside.any():
            raise InputError(
                f"The maps must overlap: {density_map.name} lies at {extent_text(density_map)}, {onto.name} at "
                f"{extent_text(onto)}. Move one onto the other first, or mend the origin in its header."
            )
        density = _interpolate(density, axis, np.clip(positions, 0, n - 1), inside, width=max(1, round(ratio)))
    return dataclasses.replace(onto, density=density, name=density_map.name, notes=density_map.notes)


def assume_grid_of(density_map: DensityMap, other: DensityMap) -> DensityMap:
    """Give a map whose voxel size is not known the other's.

    Where its nstart and origin words are all zero too, and the two have one shape, it gets the other's origin as well.
    A map whose voxel size is known comes back as it is.
    """
    if density_map.voxel_size_known or not other.voxel_size_known:
        return density_map
    notes = tuple(note for note in density_map.notes if note != no_voxel_size_note(density_map.name))
    assumed = dataclasses.replace(
        density_map,
        voxel_size=other.voxel_size,
        voxel_size_known=True,
        notes=(*notes, f"{density_map.name} says no voxel size; that of {other.name} is taken."),
    )
    if any(density_map.nstart) or any(density_map.header_origin) or density_map.grid_shape != other.grid_shape:
        return assumed
    return dataclasses.replace(assumed, nstart=other.nstart, header_origin=other.header_origin)


def _interpolate(density: np.ndarray, axis: int, positions: np.ndarray, inside: np.ndarray, width: int) -> np.ndarray:
    """Weighted mean under a triangle round each position along one axis; 0 where it is not inside.

    Where a wide triangle hangs over an edge, the outermost values count for what is not there.

    Args:
        density: (…, n, …).
        axis: the axis of n.
        positions: (m,), voxels, in [0, n - 1].
        inside: (m,).
        width: of the triangle, voxels; 1 is linear interpolation.
    Returns:
        (…, m, …).
    """
    n = density.shape[axis]
    taps = np.floor(positions).astype(np.intp) + np.arange(1 - width, 1 + width)[:, np.newaxis]  # (2 width, m)
    weights = np.maximum(0, 1 - np.abs(taps - positions) / width) * inside / width  # of sum 1, or 0 outside
    across = tuple(other for other in range(3) if other != axis)
    result = np.zeros((*density.shape[:axis], len(positions), *density.shape[axis + 1 :]), np.float32)
    for tap, weight in zip(np.clip(taps, 0, n - 1), weights.astype(np.float32)):
        result += density.take(tap, axis=axis) * np.expand_dims(weight, across)
    return result
