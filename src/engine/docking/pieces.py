"""A map cut into pieces: voxels gathered round centres that lie evenly in the molecule.  Lengths are in voxels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDS = 12


class Pieces(NamedTuple):
    """Voxels with density and the piece that each belongs to."""

    centres: Tensor  # (k, 3), centres of mass
    points: Tensor  # (n, 3), voxels (z, y, x)
    weights: Tensor  # (n,), densities
    owner: Tensor  # (n,), piece of each voxel, of the nearest centre


def points_above(density: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Voxels above a level, (n, 3), and their densities, (n,)."""
    index = torch.nonzero(density > level)
    return index.to(density.dtype), density[tuple(index.T)]


def cut(points: Tensor, weights: Tensor, n_pieces: int, seed: int = 0) -> Pieces:
    """Pieces of about the same extent: farthest points first (Gonzalez 1985), then k-means (Lloyd 1982).

    Args:
        points: (n, 3), voxels.
        weights: (n,), densities.
        n_pieces: at most n.
        seed: chooses the first centre; other seeds give other borders.
    """
    generator = torch.Generator().manual_seed(seed)
    first = int(torch.randint(len(points), (1,), generator=generator))
    centres = points[first : first + 1]
    distances = (points - centres).square().sum(1)
    while len(centres) < min(n_pieces, len(points)):
        farthest = points[distances.argmax()][None]
        centres = torch.cat((centres, farthest))
        distances = torch.minimum(distances, (points - farthest).square().sum(1))
    for _ in range(_ROUNDS):
        owner = torch.cdist(points, centres).argmin(1)
        member = torch.nn.functional.one_hot(owner, len(centres)).to(points.dtype) * weights[:, None]
        mass = member.sum(0)
        centres = torch.where(mass[:, None] > 0, (member.T @ points) / mass.clamp(min=1e-12)[:, None], centres)
    return Pieces(centres, points, weights, torch.cdist(points, centres).argmin(1))
