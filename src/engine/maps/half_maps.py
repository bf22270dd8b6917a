"""The noise of a map, by the difference of its half maps.

Half maps A = S + a and B = S + b hold the same signal and independent noise, so their mean M has the noise (a + b)/2
and (A - B)/2 is as strong a draw of it, shell by shell.  The map itself is their mean filtered: sharpened, weighted,
low-passed.  Its filter is found in each shell of Fourier space, g = Re Σ T M* / Σ |M|², and the difference filtered
alike is a draw of the noise that the map has.  Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..errors import InputError, named
from .density_map import DensityMap
from .fsc import correlation_about_mean, fourier_shell_correlation, resolution_at
from .molecule_mask import Array
from .shells import filtered_by_shells, modes_of, power_of_shells, shell_numbers, sums_over_shells

_HALF_MAP_THRESHOLD = 0.143
_LEAST_ALIKE = 0.7  # correlation of the map with the mean of its halves, filtered alike


class Noise(NamedTuple):
    """Of a map that has half maps."""

    draw: Array  # (nz, ny, nx), as strong in each shell as the map's own noise, map units
    resolution: float  # Å, where the half maps' shell correlation falls below 0.143


def noise_of(density_map: DensityMap, half_maps: tuple[DensityMap, DensityMap], mask: Array) -> Noise:
    """
    Args:
        density_map: what was made of the half maps, not masked.
        half_maps: on its grid, of any scale.
        mask: (nz, ny, nx), from 0 to 1: the molecule, with a soft edge.
    Raises:
        InputError: the half maps are one map, or not those of this one.
    """
    a, b, whole = (each.density.astype(np.float64) for each in (*half_maps, density_map))
    names = " and ".join(each.name for each in half_maps)
    mean, difference = (a + b) / 2, (a - b) / 2
    if not difference.any():
        raise InputError(
            f"{names} are equal, so that their difference says nothing of noise ({named('half_maps')}): give the two "
            f"half maps of {density_map.name}."
        )
    shells = shell_numbers(whole.shape, density_map.voxel_size)
    modes = modes_of(mean)
    cross = sums_over_shells((modes_of(whole) * modes.conj()).real, shells)
    power = power_of_shells(modes, shells)
    gain = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)
    alike = correlation_about_mean(filtered_by_shells(modes, gain, shells, mean.shape) * mask, whole * mask)
    if not alike >= _LEAST_ALIKE:
        raise InputError(
            f"{names} are not the half maps of {density_map.name} ({named('half_maps')}): the correlation of their "
            f"mean with it is {alike:.2f}. Give those that it was made of, unmasked and where it lies."
        )
    frequencies, curve = fourier_shell_correlation(a * mask, b * mask, density_map.voxel_size)
    resolution = resolution_at(frequencies, curve, _HALF_MAP_THRESHOLD)
    draw = filtered_by_shells(modes_of(difference), gain, shells, mean.shape)
    return Noise(np.asarray(draw, dtype=np.float32), resolution)


def ceiling_of_correlation(kept: np.ndarray, noise: np.ndarray) -> float:
    """What the correlation about zero of a map with its signal alone is, above the level: √(1 - Σ n² / Σ t²).

    No flow can be expected to come closer to the target than its signal does.

    Args:
        kept: (nz, ny, nx), the map above its level, zero elsewhere.
        noise: (nz, ny, nx), a draw of its noise.
    """
    where = kept > 0
    total = float(np.square(kept[where], dtype=np.float64).sum())
    share = float(np.square(noise[where], dtype=np.float64).sum()) / total if total > 0 else 1.0
    return math.sqrt(max(0.0, 1 - share))
