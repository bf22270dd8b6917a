"""How alike two maps on one grid are: Fourier shell correlation, and correlation as ChimeraX reports it.

Arrays run z, y, x.  The shell correlation of maps with Fourier transforms A and B is, over the modes k of one shell,
Re Σ A(k) B*(k) / √(Σ |A(k)|² Σ |B(k)|²): Harauz & van Heel, Optik 73 (1986) 146.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from ..errors import InputError
from .bounding_box import bounding_box
from .shells import longest_side, n_shells, sections, shell_numbers

_VOXELS_AT_ONCE = 1 << 18
_LINES_KEPT, _MODES_AT_ONCE = 1 << 23, 1 << 19  # modes, so that Fourier space of a large box is never held whole


def fourier_shell_correlation(
    density_a: np.ndarray,
    density_b: np.ndarray,
    voxel_size: tuple[float, float, float],
    grid_shape: tuple[int, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Correlate two maps shell by shell in Fourier space.

    Shells are those of shells.py, without frequency 0, the mean of the maps, and without the corners.

    Args:
        density_a: (nz, ny, nx), map units.
        density_b: (nz, ny, nx), map units, on the same grid.
        voxel_size: (z, y, x), Å.
        grid_shape: of the box, where both are given in a part of it beyond which they are zero.
    Returns:
        frequencies: (n_shells,), 1/Å, the middle of each shell.
        correlation: (n_shells,), from -1 to 1; 0 in a shell where one of the maps is zero.
    Raises:
        InputError: the maps differ in shape.
    """
    check_shapes(density_a, density_b)
    grid_shape = grid_shape or density_a.shape
    n = n_shells(grid_shape, voxel_size)
    # The transform of a real map repeats itself at -k: modes that rfftn leaves out count by their partners.
    repeats = np.full(grid_shape[2] // 2 + 1, 2.0)
    repeats[0] = 1
    if grid_shape[2] % 2 == 0:
        repeats[-1] = 1
    sums = np.zeros((3, n + 2))  # first the mean's, last that of all beyond
    for part, a, b in _modes_of_both(density_a, density_b, grid_shape):
        shells = shell_numbers(grid_shape, voxel_size, part).ravel()
        for total, values in zip(sums, ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)):
            total += np.bincount(shells, weights=(values * repeats[part]).ravel(), minlength=len(total))
    cross, power_a, power_b = sums[:, 1:-1]
    norm = np.sqrt(power_a) * np.sqrt(power_b)  # the root of each: their product may overflow
    correlation = np.divide(cross, norm, out=np.zeros(n), where=norm > 0)
    return np.arange(1, n + 1) / longest_side(grid_shape, voxel_size), np.clip(correlation, -1, 1)


def resolution_at(frequencies: np.ndarray, correlation: np.ndarray, threshold: float) -> float:
    """Where a shell correlation first falls below a threshold, by linear interpolation in frequency.

    Args:
        frequencies: (n_shells,), 1/Å, ascending.
        correlation: (n_shells,).
        threshold: 0.143 between half-maps, 0.5 against another map.
    Returns:
        Å.  Where it never falls below, that of the last shell: Nyquist, a bound from above.  Where it is below from the
        first shell on, that of the first: the longest side of the box, so nothing is resolved.
    """
    below = np.flatnonzero(np.asarray(correlation) < threshold)
    if len(below) == 0:
        return float(1 / frequencies[-1])
    after = int(below[0])
    if after == 0:
        return float(1 / frequencies[0])
    before = after - 1
    part = (correlation[before] - threshold) / (correlation[before] - correlation[after])
    return float(1 / (frequencies[before] + part * (frequencies[after] - frequencies[before])))


def correlation(density_a: np.ndarray, density_b: np.ndarray) -> float:
    """Correlation about zero, <a, b> / (|a| |b|), over all voxels; 0.0 where a map is zero everywhere.

    This is "correlation" of ChimeraX's `measure correlation` with `envelope false`; by default ChimeraX compares only
    where the first map is above its level.

    Args:
        density_a: (nz, ny, nx), map units.
        density_b: (nz, ny, nx), map units, on the same grid.
    Raises:
        InputError: the maps differ in shape.
    """
    check_shapes(density_a, density_b)
    sums = np.zeros(3)
    flat_a, flat_b = np.ravel(density_a), np.ravel(density_b)
    for first in range(0, len(flat_a), _VOXELS_AT_ONCE):
        a, b = (_float64(each[first : first + _VOXELS_AT_ONCE]) for each in (flat_a, flat_b))
        sums += (a @ b, a @ a, b @ b)
    norm = math.sqrt(sums[1]) * math.sqrt(sums[2])
    return float(sums[0]) / norm if norm > 0 else 0.0


def correlation_about_mean(density_a: np.ndarray, density_b: np.ndarray) -> float:
    """The same after each map's mean is taken off (Pearson); 0.0 where a map is constant."""
    check_shapes(density_a, density_b)
    if np.ptp(density_a) == 0 or np.ptp(density_b) == 0:  # else rounding of the mean would be correlated
        return 0.0
    a, b = _float64(density_a), _float64(density_b)
    return correlation(a - a.mean(), b - b.mean())


def check_shapes(density_a: np.ndarray, density_b: np.ndarray) -> None:
    """
    Raises:
        InputError: the maps differ in shape.
    """
    if density_a.shape != density_b.shape:
        a, b = ("x".join(str(n) for n in density.shape[::-1]) for density in (density_a, density_b))
        raise InputError(f"The maps must share a grid: one has {a} voxels, the other {b}. Resample one of them first.")


def _modes_of_both(
    density_a: np.ndarray, density_b: np.ndarray, grid_shape: tuple[int, ...]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """The modes of rfftn, some sections across x at a time; the phases are those of a common corner of both maps.

    Most of a box is empty: lines without density have no modes, which go through no transform along x.
    """
    nz, ny, nx = grid_shape
    occupied = (density_a != 0) | (density_b != 0)
    if not occupied.any():
        return
    box = bounding_box(occupied, 0)
    n_lines = math.prod(density_a[box].shape[:2])
    del occupied
    for whole in sections(slice(0, nx // 2 + 1), _LINES_KEPT // n_lines):
        lines = [_along_x(each[box], nx, whole) for each in (density_a, density_b)]
        for part in sections(whole, _MODES_AT_ONCE // (nz * ny)):
            own = slice(part.start - whole.start, part.stop - whole.start)
            a, b = (torch.fft.fft2(each[:, :, own], s=(nz, ny), dim=(0, 1)).numpy() for each in lines)
            yield part, a, b


def _along_x(density: np.ndarray, n: int, part: slice) -> torch.Tensor:
    """Some modes along x of lines filled up with zeros to n voxels, (z, y, of part), in double precision."""
    modes = torch.empty((*density.shape[:2], part.stop - part.start), dtype=torch.complex128)
    for section, values in zip(modes, density):
        section[:] = torch.fft.rfft(torch.tensor(values, dtype=torch.float64), n=n)[:, part]
    return modes


def _float64(density: np.ndarray) -> np.ndarray:
    """For exact sums."""
    return np.asarray(density, dtype=np.float64)
