"""Shells of Fourier space: numbers, sums and filters; as thick as the finest frequency step, see fsc.py.

What is beyond the Nyquist frequency of the coarsest axis, the corners, is one shell more, and so is frequency 0, the
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

_SECTIONS_AT_ONCE = 8  # of Fourier space, so that what is made on the way takes next to no memory


def modes_of(density: np.ndarray, divided_by: float | None = None) -> Modes:
    """The Fourier transform of a real density, (nz, ny, nx) → (nz, ny, nx // 2 + 1), in double precision.

    By PyTorch, which takes a sixth of the time that numpy takes.

    Args:
        divided_by: of what this makes about 1 the transform is taken in single precision.
    """
    # A copy of its own begins at the same place of a cache line in every run, and so has the same bits.
    values = torch.tensor(density, dtype=torch.float64 if divided_by is None else torch.float32)
    modes: Modes = torch.fft.rfftn(values if divided_by is None else values.div_(divided_by)).numpy()
    return modes


def shell_numbers(grid_shape: tuple[int, ...], voxel_size: tuple[float, float, float]) -> Shells:
    """Which shell each mode of rfftn lies in, (nz, ny, nx // 2 + 1), from 0 to the number of shells and 1."""
    longest_side = max(n * size for n, size in zip(grid_shape, voxel_size))
    last = math.floor(longest_side / (2 * max(voxel_size)) + 1e-6)
    z, y, x = (np.fft.fftfreq(n, size) for n, size in zip(grid_shape, voxel_size))
    x = np.abs(x[: grid_shape[2] // 2 + 1])
    frequency = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    return np.minimum(np.floor(longest_side * frequency + 0.5).astype(np.int32), np.int32(last + 1))


def sums_over_shells(values: np.ndarray, shells: Shells) -> NDArray[np.float64]:
    """Of what is real and given for the modes of rfftn; the shells' modes count about alike, so none is doubled."""
    return np.asarray(np.bincount(shells.ravel(), weights=values.ravel()), dtype=np.float64)


def power_of_shells(modes: Modes, shells: Shells) -> NDArray[np.float64]:
    """The same of the modes' squared amplitudes."""
    total = np.zeros(int(shells.max()) + 1)
    for part in _sections(len(modes)):
        squares = np.abs(modes[part]).astype(np.float64).ravel() ** 2
        total += np.bincount(shells[part].ravel(), weights=squares, minlength=len(total))
    return total


def filtered_by_shells(modes: Modes, gain: NDArray[np.float64], shells: Shells, grid_shape: tuple[int, ...]) -> Density:
    """The density, (nz, ny, nx), of the modes' precision, whose modes are these times their shell's gain."""
    filtered = np.empty_like(modes)
    for part in _sections(len(modes)):
        np.multiply(modes[part], gain[shells[part]], out=filtered[part], casting="same_kind")
    density: Density = torch.fft.irfftn(torch.from_numpy(filtered), s=grid_shape).numpy()
    return density


def filtered_in_place(modes: Modes, gain: NDArray[np.float64], shells: Shells, grid_shape: tuple[int, ...]) -> Density:
    """The same, with half the memory: the modes are no longer to be used."""
    for part in _sections(len(modes)):
        np.multiply(modes[part], gain[shells[part]], out=modes[part], casting="same_kind")
    nz, ny, nx = grid_shape
    lines = torch.from_numpy(modes)
    for part in _sections(lines.shape[2]):
        lines[:, :, part] = torch.fft.ifft2(lines[:, :, part], dim=(0, 1))
    density = torch.empty((nz, ny, nx), dtype=lines.real.dtype)
    for part in _sections(nz):
        density[part] = torch.fft.irfft(lines[part], n=nx)
    return density.numpy()


def _sections(n: int) -> Iterator[slice]:
    return (slice(first, first + _SECTIONS_AT_ONCE) for first in range(0, n, _SECTIONS_AT_ONCE))
