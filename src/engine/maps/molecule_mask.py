"""What of a map is molecule: a soft mask, as RELION and cryoSPARC make theirs.

    1. The map is low-passed to 8 Å, where noise has averaged out and the parts of a molecule hang together.
    2. What lies above the noise there is kept: four standard deviations above the solvent, and 12 % of the maximum.
    3. Of its connected parts those count that have 5 % of the mass of the largest one or more; the rest is dust.
    4. They are grown by 3 Å, and the mask falls from 1 to 0 over 4 Å more, as a cosine.
    5. The noise is measured again where no molecule is, and 2 to 4 repeated: in a box that the molecule fills, its
       density counts as noise at first.

Scheres, J. Struct. Biol. 180 (2012) 519 (RELION's relion_mask_create); Chen et al., Ultramicroscopy 135 (2013) 24.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .components import connected_components, distance_from, soft_edged
from .low_pass import low_passed
from .preparation import bin_density, unbinned
from .solvent import Solvent, flat_voxels, solvent_of

_RESOLUTION = 8.0  # Å
_VOXEL = 1.5  # Å, which are more than fine enough for it
_SIGMAS = 4.0  # of the noise at that resolution
_SHARE_OF_MAXIMUM = 0.12
_SHARE_OF_LARGEST = 0.05  # of the largest part's mass
_GROWN = 3.0  # Å
_EDGE = 4.0  # Å
_ROUNDS = 3  # at most
_SAME = 0.02  # of the noise

Array = NDArray[np.float32]


class Molecule(NamedTuple):
    """Where the molecule is, and what is round it."""

    mask: Array  # (nz, ny, nx), from 0 to 1
    solvent: Solvent  # of the map as it is, where the mask is 0
    flat: NDArray[np.bool_]  # (nz, ny, nx), what was set to one value and not measured
    n_parts: int  # that count
    dust: float  # share of the mass above the noise that hangs together with none of them


def find_molecule(density: np.ndarray, voxel_size: tuple[float, float, float]) -> Molecule:
    """
    Args:
        density: (nz, ny, nx), not constant.
        voxel_size: (z, y, x), Å.
    """
    flat = flat_voxels(density)
    binned = max(1, int(_VOXEL / max(voxel_size)))
    if binned > 1:
        z, y, x = (binned * size for size in voxel_size)
        small = find_molecule(bin_density(density, binned), (z, y, x))
        mask = unbinned(small.mask, binned, density.shape)
        return small._replace(mask=mask, solvent=solvent_of(density, mask == 0, flat), flat=flat)
    coarse = low_passed(density, voxel_size, _RESOLUTION)
    solvent = solvent_of(coarse, ~flat, flat)
    core, n_parts, dust = _parts_above(coarse, solvent)
    for _ in range(_ROUNDS - 1):
        outside = ~np.isfinite(distance_from(core, voxel_size, _GROWN + _EDGE))
        again = solvent_of(coarse, outside, flat)
        settled = abs(again.noise - solvent.noise) <= _SAME * solvent.noise
        solvent = again
        core, n_parts, dust = _parts_above(coarse, solvent)
        if settled:
            break
    mask = soft_edged(core, voxel_size, _GROWN, _EDGE)
    return Molecule(mask, solvent_of(density, mask == 0, flat), flat, n_parts, dust)


def masked_molecule(density: np.ndarray, mask: Array) -> Molecule:
    """What a mask that was given makes of a map: (nz, ny, nx) both, the mask from 0 to 1."""
    flat = flat_voxels(density)
    return Molecule(mask, solvent_of(density, mask == 0, flat), flat, 1, 0.0)


def _parts_above(coarse: Array, solvent: Solvent) -> tuple[NDArray[np.bool_], int, float]:
    """What lies above the noise and is no dust; how many parts it has, and the dust's share of the mass."""
    above = coarse - np.float32(solvent.background)
    occupied = above >= max(_SIGMAS * solvent.noise, _SHARE_OF_MAXIMUM * float(above.max()))
    voxels, parts = connected_components(occupied)
    masses = np.bincount(parts, weights=above[tuple(voxels.T)].astype(np.float64))
    counts = masses >= _SHARE_OF_LARGEST * masses.max(initial=0.0)
    core: NDArray[np.bool_] = np.zeros(coarse.shape, dtype=bool)
    core[tuple(voxels[counts[parts]].T)] = True
    total = float(masses.sum())
    return core, int(counts.sum()), float(masses[~counts].sum()) / total if total > 0 else 0.0
