"""Shells of Fourier space: numbers, sums and filters.

Shells are as thick as the finest frequency step, 1 / (longest side of the box), and centred on its multiples, up to the
Nyquist frequency of the coarsest axis.  What is beyond, the corners, is one shell more, and so is frequency 0, the
first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

Shells = NDArray[np.int32]
Modes = NDArray[np.complexfloating]
Density = NDArray[np.floating]

_SECTIONS_AT_ONCE, _MODES_AT_ONCE = 8, 1 << 20
_ALL = slice(None)


def modes_of(density: np.ndarray) -> Modes:
    """The Fourier transform of a real density, (nz, ny, nx) → (nz, ny, nx // 2 + 1), in double precision.

    By PyTorch, which takes a sixth of the time that numpy takes.
    """
    # A copy of its own begins at the same place of a cache line in every run, and so has the same bits.
    modes: Modes = torch.fft.rfftn(torch.tensor(density, dtype=torch.float64)).numpy()
    return modes


def modes_in_single_precision(density: np.ndarray, divided_by: float) -> Modes:
    """The same some sections at a time, which takes no more memory than what comes out.

    Args:
        divided_by: what makes the density about 1.
    """
    nz, ny, nx = density.shape
    modes = torch.empty((nz, ny, nx // 2 + 1), dtype=torch.complex64)
    for part in sections(slice(0, nz), _SECTIONS_AT_ONCE):
        modes[part] = torch.fft.rfft(torch.tensor(density[part], dtype=torch.float32).div_(divided_by))
    for part in sections(slice(0, modes.shape[2]), _SECTIONS_AT_ONCE):
        modes[:, :, part] = torch.fft.fft2(modes[:, :, part], dim=(0, 1))
    found: Modes = modes.numpy()
    return found


def longest_side(grid_shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> float:
    """Å, of the box."""
    return max(n * size for n, size in zip(grid_shape, voxel_size))


def n_shells(grid_shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> int:
    """How many there are beside the first and the corners."""
    # 1e-6: else rounding may lose the one at the Nyquist frequency
    return math.floor(longest_side(grid_shape, voxel_size) / (2 * max(voxel_size)) + 1e-6)


def squared_frequencies(
    grid_shape: tuple[int, ...], voxel_size: tuple[float, float, float], part: slice = _ALL
) -> NDArray[np.float64]:
    """1/Å², of each mode of rfftn, or of some sections across x; (nz, ny, part of nx // 2 + 1)."""
    (nz, ny, nx), (z_size, y_size, x_size) = grid_shape, voxel_size
    z, y, x = np.fft.fftfreq(nz, z_size), np.fft.fftfreq(ny, y_size), np.fft.rfftfreq(nx, x_size)
    squared: NDArray[np.float64] = z[:, None, None] ** 2 + y[:, None] ** 2 + x[part] ** 2
    return squared


def shell_numbers(grid_shape: tuple[int, ...], voxel_size: tuple[float, float, float], part: slice = _ALL) -> Shells:
    """Which shell each of these modes lies in, from 0 to the number of shells and 1."""
    nz, ny, nx = grid_shape
    whole = slice(*part.indices(nx // 2 + 1))
    numbers = np.empty((nz, ny, whole.stop - whole.start), np.int32)
    for some in sections(whole, _MODES_AT_ONCE // (nz * ny)):  # in double precision they would take much of a large box
        squared = squared_frequencies(grid_shape, voxel_size, some)
        numbers[:, :, some.start - whole.start : some.stop - whole.start] = numbers_at(squared, grid_shape, voxel_size)
    return numbers


def numbers_at(
    squared: NDArray[np.float64], grid_shape: tuple[int, ...], voxel_size: tuple[float, float, float]
) -> Shells:
    """The same for modes of known squared frequencies."""
    steps = np.sqrt(squared)  # and on in place, which spares a large box two arrays
    steps *= longest_side(grid_shape, voxel_size)
    steps += 0.5
    np.minimum(np.floor(steps, out=steps), n_shells(grid_shape, voxel_size) + 1, out=steps)
    return steps.astype(np.int32)


def sums_over_shells(values: np.ndarray, shells: Shells) -> NDArray[np.float64]:
    """Of what is real and given for the modes of rfftn; the shells' modes count about alike, so none is doubled."""
    return np.asarray(np.bincount(shells.ravel(), weights=values.ravel()), dtype=np.float64)


def power_of_shells(modes: Modes, shells: Shells) -> NDArray[np.float64]:
    """The same of the modes' squared amplitudes."""
    total = np.zeros(int(shells.max()) + 1)
    for part in sections(slice(0, len(modes)), _SECTIONS_AT_ONCE):
        squares = np.abs(modes[part]).astype(np.float64).ravel() ** 2
        total += np.bincount(shells[part].ravel(), weights=squares, minlength=len(total))
    return total


def filtered_by_shells(modes: Modes, gain: NDArray[np.float64], shells: Shells, grid_shape: tuple[int, ...]) -> Density:
    """The density, (nz, ny, nx), of the modes' precision, whose modes are these times their shell's gain."""
    filtered = np.empty_like(modes)
    for part in sections(slice(0, len(modes)), _SECTIONS_AT_ONCE):
        np.multiply(modes[part], gain[shells[part]], out=filtered[part], casting="same_kind")
    density: Density = torch.fft.irfftn(torch.from_numpy(filtered), s=grid_shape).numpy()
    return density


def filtered_in_place(modes: Modes, gain: NDArray[np.float64], shells: Shells, grid_shape: tuple[int, ...]) -> Density:
    """The same, with half the memory: the modes are no longer to be used."""
    for part in sections(slice(0, len(modes)), _SECTIONS_AT_ONCE):
        np.multiply(modes[part], gain[shells[part]], out=modes[part], casting="same_kind")
    nz, ny, nx = grid_shape
    lines = torch.from_numpy(modes)
    for part in sections(slice(0, lines.shape[2]), _SECTIONS_AT_ONCE):
        lines[:, :, part] = torch.fft.ifft2(lines[:, :, part], dim=(0, 1))
    density = torch.empty((nz, ny, nx), dtype=lines.real.dtype)
    for part in sections(slice(0, nz), _SECTIONS_AT_ONCE):
        density[part] = torch.fft.irfft(lines[part], n=nx)
    return density.numpy()


def sections(whole: slice, at_once: int) -> Iterator[slice]:
    """Parts of it of so many sections each, but at least one, so that what is made on the way takes little memory."""
    at_once = max(1, at_once)
    return (slice(first, min(first + at_once, whole.stop)) for first in range(whole.start, whole.stop, at_once))
