"""A mask of the user's own: what of a map counts, 1 inside, 0 outside, and between them on a soft edge.

It may be a map on any grid, or positions of atoms, round which a mask is made.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, named
from .components import soft_edged
from .density_map import DensityMap, extent_text
from .grids import placed_on

_BEYOND = 0.05  # a resampled or filtered mask may ring this far beyond 0 and 1
_LEAST_KEPT = 0.03  # of the mass above the level
_GROWN, _EDGE = 4.0, 3.0  # Å, round atoms: to where density at 5 Å has fallen to nothing


def mask_on_grid(mask: DensityMap, density_map: DensityMap, option: str) -> tuple[DensityMap, str]:
    """A mask on the grid of a map.

    Args:
        mask: as it was given; 0 outside its box.
        density_map: the grid.
        option: which option the mask was given with.
    Returns:
        The mask, from 0 to 1; and a sentence for the user, "" if it was on that grid.
    Raises:
        InputError: it has values that no mask has, it is empty, or the boxes do not overlap.
    """
    low, high = float(mask.density.min()), float(mask.density.max())
    if low < -_BEYOND or high > 1 + _BEYOND:
        raise InputError(
            f"{mask.name} is no mask ({named(option)}): its values run from {low:.4g} to {high:.4g}, and wanted are 0 "
            f"for what is left out to 1 for what counts. Make one of it (in ChimeraX: volume onesmask #1)."
        )
    if high < 0.5:
        raise InputError(
            f"{mask.name} is an empty mask ({named(option)}): its highest value is {high:.4g}, and 1 is wanted where "
            f"the map counts. Give another, or leave it out."
        )
    placed, said = placed_on(mask, density_map)
    return placed.with_density(np.clip(placed.density, 0, 1)), said


def mask_round(positions: NDArray[np.float64], density_map: DensityMap, name: str, option: str) -> DensityMap:
    """A soft mask on the grid of a map: 1 up to 4 Å from an atom, 0 from 7 Å on.

    Args:
        positions: (n, 3), z, y, x, Å, in the map's frame.
        name: of the atoms, for messages.
    Raises:
        InputError: no atom lies in the box.
    """
    shape = density_map.grid_shape
    nearest = np.rint((positions - density_map.origin) / density_map.voxel_size).astype(np.int64)
    inside = nearest[((nearest >= 0) & (nearest < shape)).all(axis=1)]
    if len(inside) == 0:
        raise InputError(
            f"No atom of {name} ({named(option)}) lies in the box of {density_map.name}, {extent_text(density_map)}. "
            f"Fit it into the map first."
        )
    core: NDArray[np.bool_] = np.zeros(shape, dtype=bool)
    core[tuple(inside.T)] = True
    mask = soft_edged(core, density_map.voxel_size, _GROWN, _EDGE)
    return DensityMap(mask, density_map.voxel_size, density_map.nstart, density_map.header_origin, name)


def masked(density_map: DensityMap, mask: DensityMap, level: float, option: str) -> tuple[DensityMap, str]:
    """The map times its mask, and a sentence for the user.

    Args:
        density_map: on the mask's grid.
        mask: from 0 to 1.
        level: map units.
    Raises:
        InputError: the mask leaves next to nothing of what is above the level.
    """
    density = density_map.density
    mass = np.where(density >= max(level, 0), density, 0).astype(np.float64).clip(min=0)
    total = float(mass.sum())
    share = float((mass * mask.density).sum()) / total if total > 0 else 1.0
    kept = f"{mask.name} keeps {_percent(share)} of the density of {density_map.name} above level {level:g}"
    if share < _LEAST_KEPT:
        raise InputError(
            f"{kept} ({named(option)}), too little to go by. Is it this map's mask, and not inverted? Give another, "
            f"or leave it out."
        )
    return density_map.with_density(density * mask.density), f"{kept}; what lies outside it does not count."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
