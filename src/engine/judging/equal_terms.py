"""Two maps made comparable before they are correlated: with one radial amplitude spectrum, where either has mass.

Sharpening, blurring, a B factor or another camera's contrast change how a map's amplitudes fall with frequency and say
nothing of whether a motion is right; the phases do.  So in each shell of Fourier space the map that is the stronger
there is brought down to the other: neither is amplified, noise least of all.  Maps of one mass have one amplitude at
frequency 0.  Then both are low-passed to 3 Å, as finer detail asks for positions more exact than a morph's.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..maps.bounding_box import bounding_box
from ..maps.low_pass import SIGMA_OF_RESOLUTION
from ..maps.shells import (
    filtered_in_place,
    longest_side,
    modes_in_single_precision,
    power_of_shells,
    shell_numbers,
)

_FINEST = 3.0  # Å
_FAINTEST = 1e-12  # of the strongest shell
_SOME_MASS = 0.02  # of the generated map's maximum
ROUND = 4  # voxels round both, so that what filters spread over one face does not come in by the other

Array = NDArray[np.float64]
Density = NDArray[np.floating]


def on_equal_terms(
    generated: np.ndarray, target: np.ndarray, voxel_size: tuple[float, float, float]
) -> tuple[tuple[slice, slice, slice], Density, Density]:
    """Both maps with the lower of their amplitudes in each shell, and zero where neither has mass.

    Args:
        generated, target: (nz, ny, nx), above their levels, of any scale.
        voxel_size: (z, y, x), Å.
    Returns:
        The part of the box that holds all mass; both maps in this part, float32, in units of their mass.
    """
    either = (generated > _SOME_MASS * generated.max()) | (target > 0)
    part = bounding_box(either, ROUND)
    nothing = ~either[part]
    del either  # of the whole box
    masses = [float(each.sum(dtype=np.float64)) for each in (generated, target)]
    shape = target[part].shape
    if masses[0] <= 0:
        return part, np.zeros(shape, np.float32), np.asarray(target[part] / masses[1], np.float32)
    shells = shell_numbers(shape, voxel_size)
    # In single precision, which suffices for a correlation; in units of the mass no square over- or underflows.
    modes = [modes_in_single_precision(each[part], mass) for each, mass in zip((generated, target), masses)]
    amplitudes = [np.sqrt(power_of_shells(each, shells)) for each in modes]
    lower = np.minimum(*amplitudes) * _low_pass(len(amplitudes[0]), shape, voxel_size)
    gains = [lower / np.maximum(amplitude, _FAINTEST * amplitude.max()) for amplitude in amplitudes]
    b = filtered_in_place(modes.pop(), gains[1], shells, shape)  # popped, so that its memory is free for the other
    a = filtered_in_place(modes.pop(), gains[0], shells, shape)
    a[nothing] = b[nothing] = 0
    return part, a, b


def _low_pass(n_shells: int, shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> Array:
    frequency = np.arange(n_shells) / longest_side(shape, voxel_size)
    sigma = SIGMA_OF_RESOLUTION * _FINEST
    return np.asarray(np.exp(-2 * (math.pi * sigma * frequency) ** 2))
