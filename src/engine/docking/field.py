"""From docked domains to a flow that can be trained, and from any flow to rigid motions that docking can consider."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..flow.domains import DomainField
from ..flow.integration import displacement
from ..flow.rotations import to_vectors
from ..flow.screws import screw_factors
from ..flow.symmetry import Symmetry
from .docked import DockedDomains
from .motions import Motions, best_motion
from .poses import correlation_with_target


def domain_field(docked: DockedDomains, grid_shape: tuple[int, int, int]) -> DomainField:
    """A flow with a centre for each supervoxel, which follows the screw motion of its domain.

    A motion x → R (x - c) + c + s is the flow of ω × (x - c) + u from t = 0 to 1 where ω is R's rotation vector and s
    the way of u, see `Screws`.

    Args:
        grid_shape: (nz, ny, nx), of the maps that were docked.
    """
    pair, pieces = docked.pair, docked.supervoxels
    labels = torch.from_numpy(docked.labels).to(pieces.centres.device)
    motions = docked.motions.chosen(labels).about(pieces.centres)
    side = pair.ratio / max(grid_shape)  # of a coarse voxel, in units of the box
    extent = float((pieces.points - pieces.centres[pieces.owner]).norm(dim=1).mean()) * side
    return DomainField.of_screws(pair.to_box(pieces.centres, grid_shape), *_screws(motions, side), extent)


def symmetric_field(
    found: Sequence[DockedDomains], symmetry: Symmetry, grid_shape: tuple[int, int, int], seed: int
) -> DomainField:
    """A flow of domains that keeps a symmetry: each unit moves as docking moves one of them.

    Docking knows nothing of the symmetry and may be right for some units only.  So what it does with each unit is
    given to all of them in turn, and that which then explains the target best is taken.

    Args:
        found: by docking, in one pair of maps.
        symmetry: of both maps.
        grid_shape: as above.
        seed: of the borders of the domains.
    """
    pair, pieces = found[0].pair, found[0].supervoxels
    symmetry = symmetry.to(pieces.points)
    points = pair.to_box(pieces.points, grid_shape)
    field = DomainField.spread_over(points, len(pieces.centres), seed, symmetry)
    images = symmetry.images(field.centres.detach())  # (g, n, 3)
    owner = torch.cdist(points, images.reshape(-1, 3)).argmin(1)
    names, owner = owner.unique(return_inverse=True)  # an image may be nearest to nothing
    places = pair.from_box(images.reshape(-1, 3), grid_shape)
    nearest = torch.cdist(places, places[names]).argmin(1)
    side = pair.ratio / max(grid_shape)
    best, kept = -math.inf, (field.rotations.detach(), field.translations.detach())
    for docked in found:
        ways = docked.moved(pieces.points) - pieces.points
        of_images = local_motions(pieces.points, ways, pieces.weights, owner).chosen(nearest).about(places)
        for turn, rows in zip(symmetry.rotations, torch.arange(len(places)).reshape(images.shape[:2])):
            there = of_images.chosen(rows)
            back = Motions(turn.T @ there.rotations @ turn, there.centres, there.shifts @ turn)
            turns, velocities = _screws(back, side)
            with torch.no_grad():
                field.rotations.copy_(turns * field.arm)
                field.translations.copy_(velocities)
                ends = pair.from_box(points + displacement(field, points), grid_shape)
                value = float(correlation_with_target(pair, ends, pieces.weights))
                if value > best:
                    best, kept = value, (field.rotations.clone(), field.translations.clone())
    with torch.no_grad():
        field.rotations.copy_(kept[0])
        field.translations.copy_(kept[1])
    return field


def _screws(motions: Motions, side: float) -> tuple[Tensor, Tensor]:
    """ω and u of motions about their centres, (n, 3) each, u in units of the box, of which a coarse voxel is `side`."""
    turns = to_vectors(motions.rotations)
    velocities = torch.linalg.solve(_shift_of_velocity(turns.double()), motions.shifts.double()[..., None])[..., 0]
    return turns, velocities.to(turns) * side


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
    """What makes of a velocity the shift after a unit of time, see `Screws`; (n, 3) → (n, 3, 3)."""
    first, second = screw_factors((turns * turns).sum(1)[:, None, None])
    cross = torch.zeros(len(turns), 3, 3, dtype=turns.dtype, device=turns.device)
    cross[:, 2, 1], cross[:, 0, 2], cross[:, 1, 0] = turns.T
    cross = cross - cross.mT
    return torch.eye(3, dtype=turns.dtype, device=turns.device) + first * cross + second * (cross @ cross)
