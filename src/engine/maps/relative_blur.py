"""How much coarser one map is than another: the Gaussian that makes the power of one fall like that of the other.

A Gaussian blur of standard deviation σ (Å) multiplies a map's power at the spatial frequency s (1/Å) by
exp(-4π²σ²s²).  So the logarithm of the ratio of two maps' radial power is a line in s² if one is, but for a motion of
its parts, a blurred copy of the other: Wilson, Nature 150 (1942) 152; Rosenthal & Henderson, J. Mol. Biol. 333 (2003)
721.  In the words of those papers, B = 8π²σ².
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .fsc import check_shapes
from .shells import n_shells, numbers_at, sections, squared_frequencies

_TIMES_NOISE = 5.0  # power that a shell must have
_TIMES_NOISE_MASKED = 2.0  # within a mask: there is less noise there than power, and few shells have five times as much
_FAINTEST = 1e-6  # of the mean power; below, density cut off at the faces of the box may be all that shows
_FEWEST_SHELLS = 4
_MODES_AT_ONCE = 1 << 19
_STILL_FALLING = 1.5  # power of the last shell in that of the corners, where it is density and not white noise


class _Power(NamedTuple):
    """Power of the modes in each shell, and of those beyond the last one: the noise, if it falls no more.

    Maps as fine as their voxels allow have density there.  It is the median, which does not see the few modes along the
    axes that density at the faces of the box fills.
    """

    squared_frequency: NDArray[np.float64]  # (n_shells,), 1/Å²
    power: NDArray[np.float64]  # (n_shells,)
    n_modes: NDArray[np.float64]  # (n_shells,)
    noise: float


def estimate_blur(
    initial: np.ndarray, target: np.ndarray, voxel_size: tuple[float, float, float], is_masked: bool = False
) -> float:
    """Standard deviation of the Gaussian by which the initial map must be blurred to be as coarse as the target.

    Shells count while both maps have signal there, several times the noise; that is the power of the corners of Fourier
    space, where white noise shows as it is and density hardly.  They count by what they tell: the number of their
    modes, and the share of signal.

    Args:
        initial, target: (nz, ny, nx) on one grid, of any scale; without a threshold, whose edges are sharp.
        voxel_size: (z, y, x), Å.
        is_masked: either map is noisy, and nothing but the molecule was left of it.
    Returns:
        Å; 0.0 where the target is as sharp as the initial map or sharper, or too few shells have signal to tell.
    Raises:
        InputError: the maps differ in shape.
    """
    check_shapes(initial, target)
    powers = [_radial_power(density, voxel_size) for density in (initial, target)]
    signal = [p.power - p.noise for p in powers]
    times_noise = _TIMES_NOISE_MASKED if is_masked else _TIMES_NOISE
    clear = np.logical_and(*((p.power > times_noise * p.noise) & (p.power > 0) for p in powers))
    n_clear = int(np.argmin(clear)) if not clear.all() else len(clear)  # up to the first shell that is not
    if n_clear < _FEWEST_SHELLS:
        return 0.0
    share = np.multiply(*(s[:n_clear] / p.power[:n_clear] for s, p in zip(signal, powers)))
    weights = powers[0].n_modes[:n_clear] * share**2
    x, y = powers[0].squared_frequency[:n_clear], np.log(signal[1][:n_clear] / signal[0][:n_clear])
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    slope = float((weights * x * y).sum() / (weights * x * x).sum())
    return math.sqrt(max(0.0, -slope)) / (2 * math.pi)


def _radial_power(density: np.ndarray, voxel_size: tuple[float, float, float]) -> _Power:
    """Power by shells, see shells.py, without frequency 0."""
    shape = nz, ny, n_modes_x = (*density.shape[:2], density.shape[2] // 2 + 1)
    lines = torch.empty(shape, dtype=torch.complex128)
    for part in sections(slice(0, nz), _MODES_AT_ONCE // (ny * n_modes_x)):
        lines[part] = torch.fft.rfft(torch.from_numpy(np.asarray(density[part], dtype=np.float64)))
    power = lines.real.numpy()  # each mode's is put where the mode was: a large box takes gigabytes
    shells = np.empty(shape, np.int16)
    n_sums = n_shells(density.shape, voxel_size) + 2
    sums = np.zeros(n_sums)
    for part in sections(slice(0, n_modes_x), _MODES_AT_ONCE // (nz * ny)):
        squared = squared_frequencies(density.shape, voxel_size, part)
        shells[:, :, part] = own = numbers_at(squared, density.shape, voxel_size)
        sums += np.bincount(own.ravel(), weights=squared.ravel(), minlength=n_sums)
        power[:, :, part] = torch.fft.fft2(lines[:, :, part], dim=(0, 1)).abs().square().numpy()
    n_modes = _count(shells, n_sums)
    medians = _medians_of_shells(power, shells, n_modes)
    corners = float(medians[-1]) if medians[-2] < _STILL_FALLING * medians[-1] else 0.0
    noise = max(corners, _FAINTEST * float(power.mean()))
    squares = sums / np.maximum(n_modes, 1)
    return _Power(squares[1:-1], medians[1:-1], n_modes[1:-1].astype(np.float64), noise)


def _count(shells: NDArray[np.int16], n_sums: int) -> NDArray[np.int64]:
    """How many modes each shell has, section by section: numpy counts 64-bit numbers, which it makes of them first."""
    counts = np.zeros(n_sums, np.int64)
    for section in shells:
        counts += np.bincount(section.ravel(), minlength=n_sums)
    return counts


def _medians_of_shells(
    power: NDArray[np.float64], shells: NDArray[np.int16], n_modes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of the power, (nz, ny, n_modes_x), in each shell, a few shells at a time."""
    medians = np.empty(len(n_modes))
    group = (np.cumsum(n_modes) - 1) // _MODES_AT_ONCE
    for number in np.unique(group):
        first, last = np.flatnonzero(group == number)[[0, -1]]
        some = (shells >= first) & (shells <= last)
        own = power[some]
        if first == last:  # the corners hold half of all, and need no order
            medians[first] = _median(own)
            continue
        own = own[np.argsort(shells[some], kind="stable")]
        medians[first : last + 1] = [_median(values) for values in np.split(own, np.cumsum(n_modes[first:last]))]
    return medians


def _median(values: NDArray[np.float64]) -> float:
    """The lower one of two middle ones; 0 of none.  It puts them in another order."""
    if len(values) == 0:
        return 0.0
    middle = (len(values) - 1) // 2
    values.partition(middle)
    return float(values[middle])
