"""Deposit of weighted points on a voxel grid.

Positions are (z, y, x) in voxels; voxel centres lie at whole numbers.  A point shares its weight among the eight
voxels round it, which keeps the sum and the centre of mass of the weights.  What falls outside the grid is dropped.
Cloud-in-cell: Hockney & Eastwood, Computer Simulation Using Particles (1988), ch. 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError


def deposit(points: Tensor, weights: Tensor, grid_shape: tuple[int, int, int]) -> Tensor:
    """Sum `weights` onto a grid; differentiable in `points` and `weights`.

    Args:
        points: (n, 3), positions (z, y, x) in voxels.
        weights: (n,), mass of each point, in map units.
        grid_shape: (nz, ny, nx).
    Returns:
        (nz, ny, nx), density in map units.
    Raises:
        InputError: there is not one weight for each point.
    """
    if points.ndim != 2 or points.shape[1] != 3 or weights.shape != points.shape[:1]:
        raise InputError(
            f"A deposit needs points (n, 3) and weights (n,), not {tuple(points.shape)} and {tuple(weights.shape)}."
        )
    corner = points.detach().floor()
    fraction = points - corner  # (n, 3), from 0 to 1
    lower = corner.clamp(-2, max(grid_shape)).nan_to_num(-2).long()  # far outside is outside
    # For each axis (2, n): index of both voxels, share of each (0 outside the grid).  The points go last in all that
    # follows: loops over two voxels, inside those over points, would take twice as long.
    rows, shares = [], []
    for axis, n in enumerate(grid_shape):
        index = torch.stack((lower[:, axis], lower[:, axis] + 1))
        share = torch.stack((1 - fraction[:, axis], fraction[:, axis]))
        inside = (index >= 0) & (index < n)
        rows.append(index.clamp(0, n - 1))
        shares.append(torch.where(inside, share, torch.zeros_like(share)))
    nz, ny, nx = grid_shape
    voxel = (rows[0][:, None, None] * ny + rows[1][:, None]) * nx + rows[2]  # (2, 2, 2, n)
    share = shares[0][:, None, None] * shares[1][:, None] * shares[2]
    mass = share * weights.to(share.dtype)
    grid = torch.zeros(nz * ny * nx, dtype=mass.dtype, device=mass.device)
    return grid.index_add(0, voxel.reshape(-1), mass.reshape(-1)).reshape(nz, ny, nx)
