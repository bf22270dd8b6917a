"""A made-up molecule of two domains in two states of known motion, as maps: something to try the programs on.

Each domain is a bundle of helices; the smaller one swings about a hinge between them.  Densities are sums of Gaussians
of standard deviation 0.225 × resolution, one for each atom, as ChimeraX's molmap makes them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .density_map import DensityMap

HINGE_ANGLE = 40.0  # degrees
INITIAL_RESOLUTION, TARGET_RESOLUTION = 4.0, 6.0  # Å
LEVEL = 0.24  # of both maps, whose maximum is 1

_VOXEL = 1.6  # Å
_GRID_SHAPE = (40, 44, 56)  # z, y, x
_RISE, _TURN = 1.5, np.deg2rad(100)  # of an α-helix, Å and radians a residue
_RESIDUE = np.array([(1.55, -28, -0.9), (2.3, 0, 0), (1.7, 26, 1.1), (3.3, -20, -0.4)])  # N, Cα, C, Cβ: Å, degrees, Å
_SPACING = 9.5  # Å between neighbouring helices
_SIGMA = 0.225  # of the Gaussians, in units of the resolution
_REACH = 5.0  # standard deviations

Atoms = NDArray[np.float64]  # (n, 3), z, y, x, Å


class DemoPair(NamedTuple):
    """Both maps, the atoms behind them, row by row the same, and which of them are Cα."""

    initial: DensityMap
    target: DensityMap
    initial_atoms: Atoms
    target_atoms: Atoms
    is_alpha: NDArray[np.bool_]  # (n,)

    def atoms_at(self, time: float) -> Atoms:
        """The true positions on the way: the hinge turned by that share of its angle; (n, 3), Å."""
        return _hinged(self.initial_atoms, time)


def make_demo_pair() -> DemoPair:
    """The same pair every time: a swing of 40 degrees, seen at 4 Å before it and at 6 Å after it."""
    seven = [(0.0, 0.0)] + [(np.cos(a), np.sin(a)) for a in np.deg2rad(60 * np.arange(6))]
    four = [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]
    large = [_helix(20, np.array([z, y]) * _SPACING, -31.0, k) for k, (z, y) in enumerate(seven)]
    small = [_helix(16, np.array([z, y]) * _SPACING, 3.0, k) for k, (z, y) in enumerate(four)]
    atoms = np.concatenate(large + small)
    is_alpha = np.tile([False, True, False, False], len(atoms) // 4)
    middle = (np.array(_GRID_SHAPE) - 1) / 2 * _VOXEL
    atoms += middle
    target_atoms = _hinged(atoms, 1.0)
    return DemoPair(
        density_of(atoms, INITIAL_RESOLUTION, "demo_initial.mrc"),
        density_of(target_atoms, TARGET_RESOLUTION, "demo_target.mrc"),
        atoms,
        target_atoms,
        is_alpha,
    )


def _helix(n_residues: int, place: NDArray[np.float64], start: float, phase: float) -> Atoms:
    """Four atoms a residue of a helix along x from `start`, its axis at (z, y) = place; (4n, 3), Å."""
    residue = np.arange(n_residues)[:, None]
    radius, ahead, along = _RESIDUE.T
    angle = phase + _TURN * residue + np.deg2rad(ahead)
    x = start + _RISE * residue + along
    return np.stack((place[0] + radius * np.sin(angle), place[1] + radius * np.cos(angle), x), axis=-1).reshape(-1, 3)


def _hinged(atoms: Atoms, share: float) -> Atoms:
    """Turn the domain beyond the hinge about an axis along z, and leave the rest."""
    hinge = (np.array(_GRID_SHAPE) - 1) / 2 * _VOXEL + np.array([0.0, -_SPACING, 1.0])
    angle = np.deg2rad(HINGE_ANGLE) * share
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    beyond = atoms[:, 2] > hinge[2]
    return np.where(beyond[:, None], (atoms - hinge) @ turn.T + hinge, atoms)


def density_of(atoms: Atoms, resolution: float, name: str) -> DensityMap:
    """Sum of Gaussians, scaled to the maximum 1."""
    sigma = _SIGMA * resolution
    density = np.zeros(_GRID_SHAPE)
    centres = [np.arange(n) * _VOXEL for n in _GRID_SHAPE]
    for atom in atoms:
        parts, factors = [], []
        for centre, place in zip(centres, atom):
            near = np.flatnonzero(np.abs(centre - place) < _REACH * sigma)
            parts.append(slice(near[0], near[-1] + 1))
            factors.append(np.exp(-((centre[near] - place) ** 2) / (2 * sigma**2)))
        density[tuple(parts)] += factors[0][:, None, None] * factors[1][:, None] * factors[2]
    density /= density.max()
    return DensityMap(density.astype(np.float32), (_VOXEL, _VOXEL, _VOXEL), name=name)
