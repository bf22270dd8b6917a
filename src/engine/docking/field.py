"""From docked domains to a flow that can be trained, and from any flow to rigid motions that docking can consider."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flow.domains import DomainField
from ..flow.rotations import to_vectors
from .docked import DockedDomains
from .motions import Motions, best_motion


def domain_field(docked: DockedDomains, grid_shape: tuple[int, int, int]) -> DomainField:
    """A flow with a centre for each supervoxel, which follows the screw motion of its domain.

    A motion x → R (x - c) + c + s is the flow of ω × (x - c) + u from t = 0 to 1 where ω is R's rotation vector and
    s = (1 + (1 - cos θ)/θ² [ω] + (θ - sin θ)/θ³ [ω]²) u, θ = |ω|: Murray, Li & Sastry, A Mathematical Introduction to
    Robotic Manipulation (1994), ch. 2.

    Args:
        grid_shape: (nz, ny, nx), of the maps that were docked.
    """
    pair, pieces = docked.pair, docked.supervoxels
    labels = torch.from_numpy(docked.labels).to(pieces.centres.device)
    motions = docked.motions.chosen(labels).about(pieces.centres)
    turns = to_vectors(motions.rotations)
    velocities = torch.linalg.solve(_shift_of_velocity(turns.double()), motions.shifts.double()[..., None])[..., 0]
    side = pair.ratio / max(grid_shape)  # of a coarse voxel, in units of the box
    extent = float((pieces.points - pieces.centres[pieces.owner]).norm(dim=1).mean()) * side
    centres = pair.to_box(pieces.centres, grid_shape)
    return DomainField.of_screws(centres, turns, velocities.to(turns) * side, extent)


def local_motions(positions: Tensor, displacements: Tensor, weights: Tensor, owner: Tensor) -> Motions:
    """The rigid motion nearest to what a flow does with each piece, about its centre of mass.

    Args:
        positions, displacements: (n, 3), of one unit of length.
        weights: (n,).
        owner: (n,), which piece each point belongs to, from 0 on; every piece has points.
    """
    found = []
    for piece in range(int(owner.max()) + 1):
        rows = torch.nonzero(owner == piece)[:, 0]
        start = positions[rows][None]
        found.append(best_motion(start, start + displacements[rows][None], weights[rows][None]))
    return Motions.joined(found)


def _shift_of_velocity(turns: Tensor) -> Tensor:
    """(n, 3) → (n, 3, 3)."""
    angle = turns.norm(dim=1)[:, None, None].clamp(min=1e-6)
    cross = torch.zeros(len(turns), 3, 3, dtype=turns.dtype, device=turns.device)
    cross[:, 2, 1], cross[:, 0, 2], cross[:, 1, 0] = turns.T
    cross = cross - cross.mT
    one = torch.eye(3, dtype=turns.dtype, device=turns.device)
    # (1 - cos θ)/θ² loses its digits at small angles; 2 sin²(θ/2)/θ² does not.
    second = torch.where(angle > 1e-3, (angle - angle.sin()) / angle**3, torch.full_like(angle, 1 / 6))
    return one + 2 * (angle / 2).sin() ** 2 / angle**2 * cross + second * (cross @ cross)
