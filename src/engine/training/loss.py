"""What training makes small: the distance of the deposited density from the target, and how far the flow is from rigid.

Densities are (nz, ny, nx); points are (n, 3), ordered (z, y, x), in voxels with centres at whole numbers.  Each loss
works on the part of the box that can matter to it: the voxels which points or target reach, and for the transport also
those that its kernel reaches from there.  Where several ranks have a share of the points each, all get the loss of all
points, and the derivative with respect to their own.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..maps.deposit import deposit
from ..maps.gaussian_blur import gaussian_blur
from ..ranks import ALONE, Ranks
from ..transport.sinkhorn import sinkhorn
from ..transport.unbalanced import unbalanced_sinkhorn

# How far empty voxels act on the potentials of occupied ones, in √epsilon a round.  Up to five rounds it is no farther
# than three times that; what is left out changes loss and potentials by less than 1e-6 of them.
_REACH_OF_A_ROUND = 4.7

_BLUR_REACH = 3.5  # standard deviations of a Gaussian, beyond which 5e-4 of its mass lie

_CORNERS = list(itertools.product((0, 1), repeat=3))  # of a cell, in the order of `cells`
# A path from corner 000 to 111 along the axes in each order: the six tetrahedra of a cell share that diagonal.
_PATHS = [[sum(4 >> axis for axis in order[:k]) for k in range(4)] for order in itertools.permutations(range(3))]


class Target(NamedTuple):
    """The density to be matched, (nz, ny, nx), and the first and last voxel that it occupies in each axis, (3,).

    Where a part of the voxels is held out, `seen` says how much of each counts, from 0 to 1, and the density is the
    mean of that much of it and of zeros for the rest.
    """

    density: Tensor
    first: Tensor
    last: Tensor
    seen: Tensor | None = None  # (nz, ny, nx)

    @classmethod
    def of(cls, density: Tensor, seen: Tensor | None = None) -> Target:
        """Find out where the density, which must not be empty, is above zero."""
        ends = []
        for axis in range(3):
            occupied = torch.nonzero(density.amax(dim=[k for k in range(3) if k != axis]) > 0)
            ends.append(torch.stack((occupied[0, 0], occupied[-1, 0])))
        first, last = torch.stack(ends).unbind(1)
        return cls(density if seen is None else torch.where(seen > 0, density, 0), first, last, seen)


class DataLoss(NamedTuple):
    """The loss and the mass that it has seen, both scalars; the rest of the points' mass lies outside the box."""

    value: Tensor
    mass: Tensor


def transport_loss(
    points: Tensor,
    weights: Tensor,
    target: Target,
    epsilon: float,
    n_iterations: int,
    own: Tensor | None = None,
    rho: float | None = None,
    ranks: Ranks = ALONE,
) -> DataLoss:
    """Entropic transport between the deposited points and the target, see `sinkhorn`; differentiable in the points.

    Args:
        points: (n, 3), voxels.
        weights: (n,).
        target: of about the same sum.
        epsilon: voxels².
        n_iterations: Sinkhorn rounds.
        own: what the target's transport onto itself costs, see `own_transport`.  If given, the loss is debiased: half
            of what each density's transport onto itself costs is taken off, so that equal densities have the loss 0
            and no derivative, after however few rounds.
        rho: voxels², for a target that has or lacks a part, see `unbalanced_sinkhorn`; not with `own`.
        ranks: that have the other points.
    Returns:
        DataLoss, in mass · voxels².
    """
    density, wanted, seen = _deposit_in_crop(points, weights, target, _reach(epsilon, n_iterations), ranks)
    mass = density.detach().sum()
    if seen is not None:  # and scaled, since what is seen of both must be of one mass
        density = density * seen
        density = density * (wanted.sum() / density.sum())
    return DataLoss(_TransportLoss.apply(density, wanted, epsilon, n_iterations, own, rho), mass)


def own_transport(target: Target, epsilon: float, n_iterations: int) -> Tensor:
    """What the target's transport onto itself costs, in mass · voxels²; arguments as in `transport_loss`."""
    margin = _reach(epsilon, n_iterations)
    ends = zip((target.first - margin).clamp(min=0).tolist(), (target.last + margin + 1).tolist())
    density = target.density[tuple(slice(first, end) for first, end in ends)]
    density = density.cpu() if density.device.type == "mps" else density
    return sinkhorn(density, density, epsilon, n_iterations).loss


def squared_difference(points: Tensor, weights: Tensor, target: Target, ranks: Ranks = ALONE) -> DataLoss:
    """Σ (deposited - target)² over the grid; differentiable in the points.  Arguments as in `transport_loss`."""
    density, wanted, seen = _deposit_in_crop(points, weights, target, 0, ranks)
    mass = density.detach().sum()
    return DataLoss((((density if seen is None else density * seen) - wanted) ** 2).sum(), mass)


class CorrelationLoss:
    """1 - <A, B> / (|A| |B|), A the deposited density blurred, B the target; differentiable in the points.

    With the blur by which the target is coarser than the points, the two are compared at the target's own resolution.
    With d for the density, G for the blur, which is its own transpose, and s for what is seen,

        A = s G d,   <A, B> = <d, G s B>,   |A|² = <d, G s² G d>,   dA-terms: G s B and G s² G d again;

    so that G s B is taken once for all steps, and G G, where all is seen, as one Gaussian: a step is one blur.

    Args:
        target: blurred already where that is wanted.
        sigma: standard deviation of the Gaussian for the deposited density, voxels; 0 for none.
        ranks: that have the other points.
    """

    def __init__(self, target: Target, sigma: float, ranks: Ranks = ALONE) -> None:
        self._target, self._sigma, self._ranks = target, sigma, ranks
        self._norm = target.density.double() if target.density.device.type != "mps" else target.density
        self._norm = self._norm.square().sum().sqrt()
        self._crop: tuple[slice, ...] | None = None  # that the next is for
        self._wanted = target.density  # G s B

    def __call__(self, points: Tensor, weights: Tensor) -> DataLoss:
        """The loss, from 0 (alike) to 2, of points (n, 3), voxels, with weights (n,)."""
        crop, places = _crop(points, self._target, math.ceil(_BLUR_REACH * self._sigma) + 1, self._ranks)
        density = self._ranks.summed(deposit(places, weights, _shape_of(crop)))
        seen = None if self._target.seen is None else self._target.seen[crop].to(density.dtype)
        if crop != self._crop:
            wanted = self._target.density[crop].to(density.dtype)
            self._crop, self._wanted = crop, gaussian_blur(wanted if seen is None else wanted * seen, self._sigma)
        value = _Correlation.apply(density, self._wanted, self._norm.to(density.dtype), seen, self._sigma)
        return DataLoss(value, density.detach().sum())


class _Correlation(torch.autograd.Function):
    """Its derivative comes with its value, see `CorrelationLoss`."""

    @staticmethod
    def forward(ctx: Any, density: Tensor, wanted: Tensor, norm: Tensor, seen: Tensor | None, sigma: float) -> Tensor:
        if seen is None:
            own = gaussian_blur(density, sigma, times=2)
        else:
            own = gaussian_blur(gaussian_blur(density, sigma) * seen.square(), sigma)
        tiny = torch.finfo(density.dtype).tiny
        square = (density * own).sum()
        product, length = (density * wanted).sum(), square.clamp(min=0).sqrt() * norm
        length = length.clamp(min=tiny)
        ctx.save_for_backward((own * (product / square.clamp(min=tiny)) - wanted) / length)
        return 1 - product / length

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (derivative,) = ctx.saved_tensors
        return gradients[0] * derivative, None, None, None, None


def cell_lattice(support: Tensor, grid_shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """The lattice nodes at the corners of the points' cells, each node once.

    The cell of a point is the cube from it to the next voxel in each axis, so its first corner is the point itself.

    Args:
        support: (n, 3), voxel (z, y, x) of each point.
        grid_shape: (nz, ny, nx).
    Returns:
        nodes (m, 3), voxels; cells (n, 8), the row of each corner in nodes, corners in the order 000, 001, … 111.
    """
    corners = support[:, None, :] + torch.tensor(_CORNERS, device=support.device)
    ny, nx = grid_shape[1] + 1, grid_shape[2] + 1
    number = (corners[..., 0] * ny + corners[..., 1]) * nx + corners[..., 2]
    numbers, cells = torch.unique(number, return_inverse=True)
    nodes = torch.stack((numbers // (ny * nx), numbers // nx % ny, numbers % nx), dim=1)
    return nodes, cells


def rigidity(nodes: Tensor, cells: Tensor) -> Tensor:
    """Mean over the cells' tetrahedra of |FᵀF - I|², F the affine map of a tetrahedron: 0 where the flow is rigid.

    Equals Σᵢ (σᵢ² - 1)² over the singular values σᵢ of F, the mesh loss of CryoTRANS.  The edges of a tetrahedron
    from 000 to 111 run along one axis each, so F's columns are the carried edges, in some order, which
    the norm does not see.

    Args:
        nodes: (m, 3), carried positions of the lattice nodes, voxels.
        cells: (n, 8), see `cell_lattice`.
    Returns:
        Scalar.
    """
    corners = nodes.index_select(0, cells.reshape(-1)).reshape(-1, 8, 3)
    total = corners.new_zeros(())
    for path in _PATHS:
        a, b, c = (corners[:, path[k + 1]] - corners[:, path[k]] for k in range(3))
        for e in (a, b, c):
            total = total + (((e * e).sum(1) - 1) ** 2).sum()
        for e, f in ((a, b), (a, c), (b, c)):
            total = total + 2 * ((e * f).sum(1) ** 2).sum()
    return total / (len(_PATHS) * max(1, len(cells)))


def _reach(epsilon: float, n_iterations: int) -> int:
    """How far from points and target the transport needs empty voxels; voxels."""
    n_reaches = min(n_iterations, 3) if n_iterations <= 5 else n_iterations
    return math.ceil(math.sqrt(epsilon) * _REACH_OF_A_ROUND * n_reaches) + 1


class _TransportLoss(torch.autograd.Function):
    """The dual value, whose derivative with respect to the density follows from the potential: no way back through the
    rounds."""

    @staticmethod
    def forward(
        ctx: Any,
        density: Tensor,
        target: Tensor,
        epsilon: float,
        n_iterations: int,
        own: Tensor | None,
        rho: float | None,
    ) -> Tensor:
        # Apple's GPUs have no float64; there the rounds are done on the CPU, which shares their memory.
        home = torch.device("cpu") if density.device.type == "mps" else density.device
        a, b = density.to(home), target.to(home)
        if rho is not None:
            loss, derivative = unbalanced_sinkhorn(a, b, epsilon, rho, n_iterations)
        else:
            loss, derivative = sinkhorn(a, b, epsilon, n_iterations)[:2]
        if own is not None:
            of_points = sinkhorn(a, a, epsilon, n_iterations)
            loss = loss - (of_points.loss + own) / 2
            derivative = derivative - of_points.potential_initial
        ctx.save_for_backward(derivative.to(density.dtype).to(density.device))
        return loss.to(density.dtype).to(density.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (derivative,) = ctx.saved_tensors
        return gradients[0] * derivative, None, None, None, None, None


def _deposit_in_crop(
    points: Tensor, weights: Tensor, target: Target, margin: int, ranks: Ranks
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Deposit all ranks' points, and cut the target and what is seen of it, in the part of the box of `_crop`."""
    crop, places = _crop(points, target, margin, ranks)
    density = ranks.summed(deposit(places, weights, _shape_of(crop)))
    return density, target.density[crop], None if target.seen is None else target.seen[crop]


def _crop(points: Tensor, target: Target, margin: int, ranks: Ranks) -> tuple[tuple[slice, slice, slice], Tensor]:
    """The part of the box that all ranks' points or the target occupy, with a margin round it, and the points' places
    in it."""
    with torch.no_grad():
        box = torch.tensor(target.density.shape, device=points.device)
        places = points.nan_to_num(0).clamp(-1, max(target.density.shape)).floor().long()
        lowest = torch.minimum(target.first, places.amin(0)) - margin
        highest = torch.maximum(target.last, places.amax(0) + 1) + margin
        lowest, highest = lowest.clamp(min=0), highest.minimum(box - 1)
        ends = ranks.largest(torch.cat((-lowest, highest + 1)))
        crop = slice(-ends[0], ends[3]), slice(-ends[1], ends[4]), slice(-ends[2], ends[5])
        corner = torch.tensor([along.start for along in crop], device=points.device).to(points.dtype)
    return crop, points - corner


def _shape_of(crop: tuple[slice, slice, slice]) -> tuple[int, int, int]:
    nz, ny, nx = (along.stop - along.start for along in crop)
    return nz, ny, nx
