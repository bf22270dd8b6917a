"""How far mass has to be moved to make one density from another, in Å: a distance to compare runs by.

It is √S for densities of mass 1, S being the Sinkhorn divergence

    (1)  S(a, b) = T(a, b) - T(a, a)/2 - T(b, b)/2

and T the entropic transport of `sinkhorn` at converged potentials: 0 for equal densities, and d for a density moved by
d, whatever epsilon is.  The training's loss T(a, b) with a few rounds is neither.  Feydy, Séjourné, Vialard, Amari,
Trouvé & Peyré, AISTATS 2019; for T(a, a) they give the symmetric rounds u ← √(u · a / K u).

Densities are deposited on a grid of their own.  √epsilon is `_BLUR`, or a sixteenth of the occupied box's longest side
where that is more, and a voxel is half of it or the map's own: so the box has at most 32 voxels a side, and the rounds
below are enough and stay in float64's range.  Differences on a smaller scale than √epsilon count for less than they
are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..maps.deposit import deposit
from ..maps.gaussian_blur import axis_gaussian
from .sinkhorn import kernel_product, sinkhorn

_BLUR = 5.0  # Å
_BLURS_A_SIDE = 16
_BLURS_A_GROWN_SIDE = 8
_VOXELS_A_BLUR = 2
_N_ROUNDS = 60
_POINTS_AT_ONCE = 1 << 18
_N_SYMMETRIC_ROUNDS = 15


class TransportDistance:
    """The distance of densities, given by points, from one target.

    Args:
        target: (n, 3), Å, in any frame.
        weights: (n,), ≥ 0.
        voxel_size: of the map, Å; finer the grid never is.
    """

    def __init__(self, target: Tensor, weights: Tensor, voxel_size: float) -> None:
        self._target, self._weights = target, weights / weights.sum()
        self._voxel_size = voxel_size
        low, high = target.amin(0), target.amax(0)
        self._low, self._high = low, high
        self._side = max(float((high - low).max()), voxel_size)
        self._own_terms: dict[float, float] = {}  # T(b, b) in Å² by the side of the box

    def include(self, points: Tensor) -> None:
        """Make the box so large that it holds these points, (n, 3), too, as a rule those that are to be moved."""
        self._low, self._high = self._low.minimum(points.amin(0)), self._high.maximum(points.amax(0))
        self._side = max(self._side, float((self._high - self._low).max()))

    def to(self, points: Tensor, weights: Tensor) -> float:
        """The distance in Å.

        Points that have gone far out of the box make it twice as large, or four times, and √epsilon an eighth of it.

        Args:
            points: (n, 3), Å.
            weights: (n,), ≥ 0, of any sum.
        Returns:
            Å; not a number where a point is not.
        """
        if not points.isfinite().all():
            return math.nan
        low, high = self._low.minimum(points.amin(0)), self._high.maximum(points.amax(0))
        needed = float((high - low).max())
        side = self._side * 2 ** max(0, math.ceil(math.log2(needed / self._side) - 0.2))
        blur = max(_BLUR, side / (_BLURS_A_SIDE if side == self._side else _BLURS_A_GROWN_SIDE))
        voxel = max(self._voxel_size, blur / _VOXELS_A_BLUR)
        origin = self._low + ((low - self._low) / voxel).floor() * voxel  # the lattice is always the same
        nz, ny, nx = (int(n) + 2 for n in ((high - origin) / voxel).floor().tolist())

        def density(places: Tensor, masses: Tensor) -> Tensor:
            grid = torch.zeros((nz, ny, nx), device=places.device)
            for some, of_some in zip(places.split(_POINTS_AT_ONCE), masses.split(_POINTS_AT_ONCE)):
                grid += deposit((some - origin) / voxel, of_some, (nz, ny, nx))
            # Small enough for the CPU, which knows float64 and gives the same distance beside every GPU.
            return grid.cpu().double()

        a = density(points, weights / weights.sum())
        b = density(self._target, self._weights)
        epsilon = (blur / voxel) ** 2
        if side not in self._own_terms:
            self._own_terms[side] = _own_term(b, epsilon)
        cross = float(sinkhorn(a, b, epsilon, _N_ROUNDS).loss)
        divergence = cross - (_own_term(a, epsilon) + self._own_terms[side]) / 2  # (1)
        return voxel * math.sqrt(max(0.0, divergence))


def _own_term(density: Tensor, epsilon: float) -> float:
    """T(a, a), mass · voxels²: both potentials are f = epsilon log u."""
    kernels = [axis_gaussian(n, epsilon, density) for n in density.shape]
    u = density.sqrt()
    for _ in range(_N_SYMMETRIC_ROUNDS):
        u = (u * density / kernel_product(u, kernels).clamp(min=torch.finfo(u.dtype).tiny)).sqrt()
    return float(epsilon * (2 * torch.special.xlogy(density, u).sum() - (u * kernel_product(u, kernels)).sum()))
