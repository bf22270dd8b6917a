"""Voxels of the target that training does not see, to judge it by.

They lie in blocks, not scattered: the density of one voxel can be told from its neighbours', that of a block cannot.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..maps.gaussian_blur import gaussian_blur

_LEAST_SEEN = 1e-3


def held_out_mask(density: np.ndarray, share: float, block: float, seed: int) -> NDArray[np.bool_]:
    """Smooth random blocks of the occupied region that hold about `share` of its mass.

    A random field that varies over the length of a block is cut at the level which leaves that share of the mass.  The
    same seed gives the same mask in one version of this program; the field is of 32-bit floats, and its transforms
    take no more memory than the map.

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
    nz, ny, nx = density.shape
    field = torch.from_numpy(np.random.default_rng(seed).standard_normal(density.shape, dtype=np.float32))
    # A field blurred by σ = block / 4 has a correlation length of √2 σ, and blocks of about 4 σ.
    transform = torch.fft.rfftn(field)
    for axis, frequency in enumerate((torch.fft.fftfreq(nz), torch.fft.fftfreq(ny), torch.fft.rfftfreq(nx))):
        shape = [1, 1, 1]
        shape[axis] = -1
        transform *= torch.exp(-2 * math.pi**2 * (block / 4) ** 2 * frequency**2).reshape(shape)
    smooth = torch.fft.irfftn(transform, s=density.shape).numpy()
    values, masses = smooth[occupied], density[occupied].astype(np.float64)
    order = np.argsort(-values, kind="stable")
    held = np.cumsum(masses[order]) <= share * masses.sum()
    mask: NDArray[np.bool_] = np.zeros(density.shape, dtype=bool)
    mask[tuple(np.argwhere(occupied)[order[held]].T)] = True
    return mask


def without_held_out(density: np.ndarray, held_out: NDArray[np.bool_], block: float) -> NDArray[np.float32]:
    """The density with what is held out replaced by the mean of what is seen round it.

    So that what is found out about a map before training (its molecule, noise, blur, symmetry) says nothing of it.

    Args:
        density: (nz, ny, nx).
        held_out: (nz, ny, nx).
        block: about how wide the blocks are, voxels.
    """
    values = torch.from_numpy(np.asarray(density, np.float32))
    seen = torch.from_numpy((~held_out).astype(np.float32))
    round_it = gaussian_blur(values * seen, block / 2) / gaussian_blur(seen, block / 2).clamp(min=_LEAST_SEEN)
    return np.where(held_out, round_it.numpy(), density).astype(np.float32)
