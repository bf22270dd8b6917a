"""Densities between voxels, by trilinear interpolation: the adjoint of the deposit."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(density: Tensor, points: Tensor) -> Tensor:
    """The density at points, zero outside the grid; differentiable in the points.

    Args:
        density: (nz, ny, nx).
        points: (…, 3), positions (z, y, x) in voxels; of the type of the density or finer.
    Returns:
        (…), of the type of the density.
    """
    sizes = torch.tensor(density.shape, dtype=points.dtype, device=points.device)
    places = (2 * points / (sizes - 1).clamp(min=1) - 1).flip(-1).reshape(1, 1, 1, -1, 3).to(density)
    values = torch.nn.functional.grid_sample(density[None, None], places, align_corners=True)
    return values.reshape(points.shape[:-1])
