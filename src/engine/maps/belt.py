"""Belts of detergent or lipid: smooth density that lies at the same place in both maps.

Protein has detail at any resolution that shows its helices: what a map differs from itself under a Gaussian of 3 Å is
0.3 times its density there at 7 Å, 0.6 times at 5 Å and more than its density at 3 Å.  A belt of disordered molecules
has 0.2.  A domain may be as smooth because it moves; that it lies still tells a belt from it.

A belt counts for much in a correlation, and says nothing of the motion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .components import connected_components
from .density_map import DensityMap
from .low_pass import SIGMA_OF_RESOLUTION, low_passed
from .preparation import above_level, bin_density, unbinned

_VOXEL = 1.5  # Å, which are fine enough for what follows
_FINE, _ROUND = 3.0, 5.0  # Å, standard deviations: of what is called detail, of where it is taken
_SMOOTH = 0.28  # detail in units of the density
_SMOOTHER = 0.4  # times what the tenth part of the molecule with most detail has
_LEAST_SHARE = 0.1  # of the density above the level
_EDGE = 2.0  # Å, standard deviation of the masks' edges
_FAINT = 1e-3

Array = NDArray[np.float32]


class Belt(NamedTuple):
    """What leaves it out of each map, (nz, ny, nx) from 0 to 1, and the share of the density above the level in it."""

    masks: tuple[Array, Array]
    shares: tuple[float, float]


def find_belt(initial: DensityMap, target: DensityMap, levels: tuple[float, float]) -> Belt | None:
    """The belt that both maps have; None if there is none.

    Args:
        initial, target: on one grid, clean: noise is detail too.
        levels: contour level of each.
    """
    binned = max(1, int(_VOXEL / max(initial.voxel_size)))
    if binned > 1:
        coarse = [_binned(each, binned) for each in (initial, target)]
        if any(level > each.density.max() for each, level in zip(coarse, levels)):
            return None
        small = find_belt(coarse[0], coarse[1], levels)
        if small is None:
            return None
        first, second = (unbinned(mask, binned, initial.grid_shape) for mask in small.masks)
        return Belt((first, second), small.shares)
    maps = (initial, target)
    above = [above_level(each, level) for each, level in zip(maps, levels)]
    details = [_detail(each) for each in maps]
    most = [float(np.percentile(detail[density > 0], 90)) for detail, density in zip(details, above)]
    smooth = [
        (density > 0) & (detail < min(_SMOOTH, _SMOOTHER * much)) for detail, density, much in zip(details, above, most)
    ]
    core = smooth[0] & smooth[1]
    still = _joined(core, (above[0] > 0) & (above[1] > 0) & (smooth[0] | smooth[1]))
    if not core.any() or min(_share(density, still) for density in above) < _LEAST_SHARE:
        return None
    masks = [
        _mask(each, still, (density > 0) & (detail > much / 2))
        for each, density, detail, much in zip(maps, above, details, most)
    ]
    shares = [_share(density, mask < 0.5) for density, mask in zip(above, masks)]
    return Belt((masks[0], masks[1]), (shares[0], shares[1]))


def _binned(density_map: DensityMap, bin_size: int) -> DensityMap:
    z, y, x = (bin_size * size for size in density_map.voxel_size)
    return DensityMap(bin_density(density_map.density, bin_size), (z, y, x), name=density_map.name)


def _joined(core: NDArray[np.bool_], more: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The core and what hangs together with it: where a domain comes near a belt, only one of the maps is smooth."""
    voxels, parts = connected_components(core | more)
    of_core = np.isin(parts, np.unique(parts[core[tuple(voxels.T)]]))
    joined = np.zeros_like(core)
    joined[tuple(voxels[of_core].T)] = True
    return joined


def _detail(density_map: DensityMap) -> Array:
    """How much the density varies within a few ångström, in units of the density, (nz, ny, nx)."""
    density = np.maximum(density_map.density, 0)
    density = density / max(float(density.max()), np.finfo(np.float32).tiny)  # of any unit, it can be squared
    fine = density - _blurred(density, density_map, _FINE)
    level = np.maximum(_blurred(density, density_map, _ROUND), _FAINT * float(density.max()))
    return np.asarray(np.sqrt(np.maximum(_blurred(fine * fine, density_map, _ROUND), 0)) / level)


def _mask(density_map: DensityMap, smooth: NDArray[np.bool_], detailed: NDArray[np.bool_]) -> Array:
    """1 where what has detail is nearer, 0 where what is smooth is, and 1 far from both."""
    a, b = (_blurred(part.astype(np.float32), density_map, _EDGE) for part in (detailed, smooth))
    return np.asarray((a + _FAINT) / (a + np.maximum(b, 0) + _FAINT), dtype=np.float32).clip(0, 1)


def _blurred(density: np.ndarray, density_map: DensityMap, sigma: float) -> Array:
    return low_passed(density, density_map.voxel_size, sigma / SIGMA_OF_RESOLUTION)


def _share(density: np.ndarray, part: NDArray[np.bool_]) -> float:
    return float(density[part].sum(dtype=np.float64) / density.sum(dtype=np.float64))
