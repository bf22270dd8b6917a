"""Voxels of the target that training does not see, to judge it by.

They lie in blocks, not scattered: the density of one voxel can be told from its neighbours', that of a block cannot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError


def held_out_mask(density: np.ndarray, share: float, block: float, seed: int) -> NDArray[np.bool_]:
    """Smooth random blocks of the occupied region that hold about `share` of its mass.

    A random field that varies over the length of a block is cut at the level which leaves that share of the mass.

    Args:
        density: (nz, ny, nx), the target with what is below its level set to zero; occupied is what is above zero.
        share: from 0 to 1, both excluded.
        block: about how wide the blocks are, voxels.
        seed: names the mask.
    Returns:
        (nz, ny, nx).
    Raises:
        InputError: the share or the block is out of range, or the density is zero everywhere.
    """
    if not 0 < share < 1 or not block > 0:
        raise InputError(
            f"Blocks can hold out a share between 0 and 1 and be some voxels wide, not {share} and {block}."
        )
    occupied = density > 0
    if not occupied.any():
        raise InputError("Nothing can be held out: the target is zero everywhere. Lower its level.")
    field = np.random.default_rng(seed).normal(size=density.shape)
    squared = np.zeros(density.shape)  # frequency, cycles a voxel
    for axis, n in enumerate(density.shape):
        shape = [1, 1, 1]
        shape[axis] = n
        squared = squared + (np.fft.fftfreq(n) ** 2).reshape(shape)
    # A field blurred by σ = block / 4 has a correlation length of √2 σ, and blocks of about 4 σ.
    smooth = np.fft.ifftn(np.fft.fftn(field) * np.exp(-2 * np.pi**2 * (block / 4) ** 2 * squared)).real
    values, masses = smooth[occupied], density[occupied].astype(np.float64)
    order = np.argsort(-values, kind="stable")
    held = np.cumsum(masses[order]) <= share * masses.sum()
    mask: NDArray[np.bool_] = np.zeros(density.shape, dtype=bool)
    mask[tuple(np.argwhere(occupied)[order[held]].T)] = True
    return mask
