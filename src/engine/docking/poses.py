"""The poses of all domains together, to a fraction of a voxel: uphill in the correlation of the whole.

Each domain sees the target as the others leave it, since they share one sum; so two do not settle in one place.
Lengths are in coarse voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..adam import Adam
from ..flow.rotations import of_vectors
from ..maps.deposit import deposit
from .coarse import CoarsePair
from .motions import Motions

_TURN_RATE, _SHIFT_RATE, _LAST_RATE = 0.01, 0.05, 0.1  # radians, voxels; the last as a share of the first


def correlation_with_target(pair: CoarsePair, points: Tensor, weights: Tensor) -> Tensor:
    """Of the density of points (n, 3) and weights (n,), about the means; differentiable in the points."""
    nz, ny, nx = pair.target.shape
    a, b = deposit(points, weights, (nz, ny, nx)), pair.target
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.norm() * b.norm())


def settle_poses(
    pair: CoarsePair, points: Tensor, weights: Tensor, domain: Tensor, motions: Motions, n_steps: int
) -> tuple[Motions, float]:
    """Adam's steps in all poses, each domain turning about its centre of mass.

    Args:
        points: (n, 3), of the initial.
        weights: (n,).
        domain: (n,), motion that each point follows; every motion has points.
        motions: k of them.
    Returns:
        The motions, about the domains' centres; the correlation with the target.
    """
    masses = torch.zeros(motions.count).to(weights).index_add_(0, domain, weights)
    centres = torch.zeros_like(motions.shifts).index_add_(0, domain, points * weights[:, None]) / masses[:, None]
    motions = motions.about(centres)
    turns = torch.zeros_like(motions.shifts, requires_grad=True)
    shifts = torch.zeros_like(motions.shifts, requires_grad=True)
    arms = points - centres[domain]
    optimiser = Adam(([turns], _TURN_RATE), ([shifts], _SHIFT_RATE))

    def correlation() -> Tensor:
        rotations = of_vectors(turns) @ motions.rotations
        ends = (rotations[domain] @ arms[..., None])[..., 0] + (centres + motions.shifts + shifts)[domain]
        return correlation_with_target(pair, ends, weights)

    for step in range(n_steps):
        optimiser.scale_rates(_LAST_RATE ** (step / n_steps))
        optimiser.zero_grad()
        (-correlation()).backward()
        optimiser.step()
    with torch.no_grad():
        value = float(correlation())
        rotations = of_vectors(turns.detach()) @ motions.rotations
    return Motions(rotations, centres, motions.shifts + shifts.detach()), value
