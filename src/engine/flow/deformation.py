"""How a flow deforms the space round its points: F = dx(1)/dx(0), and what it says of volume, stretch and rigidity.

F is taken exactly, by going back through the integration once for each of the three axes.  Of its singular values
σ₁ ≥ σ₂ ≥ σ₃, the last with the sign of det F, these are measures:

    volume change  det F, the product; not positive where space is folded or crushed
    stretch        σ₁
    strain         √(mean (σᵢ - 1)²) = |F - R|/√3, R being the nearest rotation; 0 for every rigid motion

Bonet & Wood, Nonlinear Continuum Mechanics for Finite Element Analysis (2008), ch. 4; the nearest rotation: Kabsch,
Acta Cryst. A34 (1978) 827.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..options.choices import N_EULER_STEPS
from .integration import follow
from .velocity import Field

_POINTS_AT_ONCE = 1 << 14  # what the integration puts out is kept for the way back
_POINTS_AT_ONCE_ON_CPU = 1 << 11


class Deformation(NamedTuple):
    """For each point, float64 on the CPU."""

    gradient: Tensor  # (n, 3, 3), F; row: axis of the motion, column: axis of the start
    volume_change: Tensor  # (n,)
    stretch: Tensor  # (n,)
    strain: Tensor  # (n,)


def deformation(field: Field, points: Tensor, voxel_size: tuple[float, float, float]) -> tuple[Tensor, Deformation]:
    """Carry points along a flow and take the deformation where they started.

    Args:
        field: what the flow follows; its `integrator` says how.
        points: (n, 3), positions at t = 0 in units of the longest box side, counted in voxels.
        voxel_size: (z, y, x), Å; only the ratios count, since a stretch is one of lengths in Å.
    Returns:
        x(1) - x(0), (n, 3), like `points`; the deformation.
    """
    at_once = _POINTS_AT_ONCE_ON_CPU if points.device.type == "cpu" else _POINTS_AT_ONCE
    moves, gradients = [], []
    for part in points.split(at_once):
        with torch.enable_grad():
            start = part.detach().requires_grad_()
            moved = follow(field, start, N_EULER_STEPS)
            end = start + moved
            rows = [torch.autograd.grad(end[:, axis].sum(), start, retain_graph=axis < 2)[0] for axis in range(3)]
        moves.append(moved.detach())
        gradients.append(torch.stack(rows, dim=1).cpu().double())
    size = torch.tensor(voxel_size, dtype=torch.float64)
    gradient = torch.cat(gradients)
    del gradients
    return torch.cat(moves), measured(gradient.mul_(size[:, None]).div_(size))


def measured(gradient: Tensor) -> Deformation:
    """Volume change, stretch and strain of given gradients F, (n, 3, 3) float64; not a number where F is not."""
    parts = [_measured(part) for part in gradient.split(_POINTS_AT_ONCE)]
    return Deformation(gradient, *(torch.cat(values) for values in zip(*parts)))


def _measured(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    finite = gradient.isfinite().all(2).all(1)
    usable = torch.where(finite[:, None, None], gradient, torch.zeros_like(gradient))
    volume_change = torch.linalg.det(usable)
    singular = torch.linalg.svdvals(usable)  # (n, 3), descending
    smallest = torch.where(volume_change < 0, -singular[:, 2], singular[:, 2])
    signed = torch.stack((singular[:, 0], singular[:, 1], smallest), dim=1)
    strain = ((signed - 1) ** 2).mean(1).sqrt()
    nan = torch.full_like(strain, float("nan"))
    change, stretch, strain = (torch.where(finite, value, nan) for value in (volume_change, singular[:, 0], strain))
    return change, stretch, strain
