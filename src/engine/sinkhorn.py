"""Entropic optimal transport between two densities on one grid.

Densities and potentials are (nz, ny, nx); lengths are in voxels, so the cost of moving mass from voxel x to voxel y is
|x - y|² voxels² and `epsilon` is in voxels² too.  With a the initial and b the target density, both raised to `FLOOR`
where they are empty, f and g the potentials and K = exp(-|x - y|²/epsilon), one Sinkhorn round is

    (1)  exp(f/epsilon) = a / K exp(g/epsilon)
    (2)  exp(g/epsilon) = b / K exp(f/epsilon)

from g = 0.  The dual value, which is the loss, is

    (3)  <f, a> + <g, b> - epsilon sum(exp(f/epsilon) K exp(g/epsilon))

where empty voxels count as 0 in the first two terms, and its derivative with respect to a is f (envelope theorem).
Cuturi, NeurIPS 2013; Peyré & Cuturi, Computational Optimal Transport (2019), ch. 4.

K is separable: three matrix products, one for each axis.  Every round multiplies the ratio of the largest to the
smallest exp(f/epsilon) by at most sum(K)·max(a)/FLOOR, which is the reason why (1) and (2) can be carried out in
float64 just as they stand: `_SAFE_ROUNDS` rounds can neither overflow nor lose a term that matters, whatever the
densities.  For more rounds the extremes are looked at, and where they leave the range, the rounds go on with
logarithms (`log_blur`), slowly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import InputError

FLOOR = 1e-20  # an empty voxel's mass, as in CryoTRANS 1.0.0; with a few rounds it shapes the potentials
_SAFE_ROUNDS = 5
_LARGEST_LOG = 300.0  # |log| of a scaling; float64 ends at 709, and K needs the rest
_MARGINAL_TOLERANCE = 1e-3
_LINES_AT_ONCE = 1 << 24  # elements of a log-sum-exp held at a time


class Transport(NamedTuple):
    """What `sinkhorn` found: the dual value (3), f and g, and how far the plan's first marginal is from a."""

    loss: Tensor  # scalar, mass · voxels²
    potential_initial: Tensor  # (nz, ny, nx), voxels²; the loss's derivative with respect to the initial density
    potential_target: Tensor  # (nz, ny, nx), voxels²
    marginal_error: Tensor  # scalar, sum|marginal - a| / sum(a)
    n_iterations: int


def sinkhorn(initial: Tensor, target: Tensor, epsilon: float, n_iterations: int) -> Transport:
    """Run `n_iterations` Sinkhorn rounds, fewer if the first marginal is reached after round 1, 101, 201 ...

    Args:
        initial, target: (nz, ny, nx), densities ≥ 0 of about the same sum, on one device.
        epsilon: strength of the regularisation, voxels².
        n_iterations: rounds, at least 1.
    Returns:
        Transport, its tensors float64 on the device of `initial` (which must know float64).
    Raises:
        InputError: the shapes differ, or epsilon or n_iterations is not positive.
    """
    if initial.shape != target.shape:
        raise InputError(
            f"Transport needs two densities of one shape: the initial is {tuple(initial.shape)}, "
            f"the target {tuple(target.shape)}. Resample one of them first."
        )
    if not epsilon > 0 or n_iterations < 1:
        raise InputError(
            f"Transport needs epsilon above 0 and at least one round, not epsilon {epsilon:g} and {n_iterations}."
        )
    initial, target = initial.double(), target.double()
    a, b = initial.clamp(min=FLOOR), target.clamp(min=FLOOR)
    kernels = [_kernel(n, epsilon, initial.device) for n in initial.shape]
    u, v = a, torch.ones_like(b)
    blurred = _blur(v, kernels)
    error = torch.zeros((), dtype=torch.float64, device=initial.device)
    done = 0
    while done < n_iterations:
        u = a / blurred  # (1)
        v = b / _blur(u, kernels)  # (2)
        blurred = _blur(v, kernels)
        done += 1
        if done >= _SAFE_ROUNDS and done < n_iterations and not _in_range(u, v):
            return _sinkhorn_by_logarithms(initial, target, u.log(), v.log(), epsilon, done, n_iterations)
        if done % 100 == 1 or done == n_iterations:
            error = (u * blurred - a).abs().sum() / a.sum()
            if done < n_iterations and error < _MARGINAL_TOLERANCE:
                break
    f, g = u.log(), v.log()
    loss = (f * initial).sum() + (g * target).sum() - (u * blurred).sum()  # (3) / epsilon
    return Transport(epsilon * loss, epsilon * f, epsilon * g, error, done)


def log_blur(log_mass: Tensor, epsilon: float) -> Tensor:
    """log Σ_y exp(log_mass(y) - |x - y|²/epsilon) for every voxel x, without over- or underflow.

    Args:
        log_mass: (nz, ny, nx).
        epsilon: voxels².
    Returns:
        (nz, ny, nx).
    """
    for axis in range(3):
        n = log_mass.shape[axis]
        cost = _squared_distances(n, log_mass.dtype, log_mass.device) / epsilon
        lines = log_mass.movedim(axis, -1)
        shape = lines.shape
        chunks = lines.reshape(-1, n).split(max(1, _LINES_AT_ONCE // (n * n)))
        blurred = torch.cat([torch.logsumexp(chunk[:, None, :] - cost, dim=-1) for chunk in chunks])
        log_mass = blurred.reshape(shape).movedim(-1, axis)
    return log_mass


def _sinkhorn_by_logarithms(
    initial: Tensor, target: Tensor, f: Tensor, g: Tensor, epsilon: float, done: int, n_iterations: int
) -> Transport:
    """The same rounds on from the potentials f and g (divided by epsilon)."""
    log_a, log_b = initial.clamp(min=FLOOR).log(), target.clamp(min=FLOOR).log()
    blurred = log_blur(g, epsilon)
    error = torch.zeros((), dtype=torch.float64, device=initial.device)
    while done < n_iterations:
        f = log_a - blurred
        g = log_b - log_blur(f, epsilon)
        blurred = log_blur(g, epsilon)
        done += 1
        if done % 100 == 1 or done == n_iterations:
            error = ((f + blurred).exp() - log_a.exp()).abs().sum() / log_a.exp().sum()
            if done < n_iterations and error < _MARGINAL_TOLERANCE:
                break
    loss = (f * initial).sum() + (g * target).sum() - (f + blurred).exp().sum()
    return Transport(epsilon * loss, epsilon * f, epsilon * g, error, done)


def _blur(mass: Tensor, kernels: list[Tensor]) -> Tensor:
    """K mass, axis by axis; (nz, ny, nx)."""
    nz, ny, nx = mass.shape
    along_x = mass.reshape(nz * ny, nx) @ kernels[2]
    along_y = torch.matmul(kernels[1], along_x.reshape(nz, ny, nx))
    return (kernels[0] @ along_y.reshape(nz, ny * nx)).reshape(nz, ny, nx)


def _kernel(n: int, epsilon: float, device: torch.device) -> Tensor:
    """exp(-(i - j)²/epsilon); (n, n)."""
    return (_squared_distances(n, torch.float64, device) / -epsilon).exp()


def _squared_distances(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(i - j)² voxels²; (n, n)."""
    index = torch.arange(n, dtype=dtype, device=device)
    return (index[:, None] - index) ** 2


def _in_range(u: Tensor, v: Tensor) -> bool:
    extremes = torch.stack([*u.aminmax(), *v.aminmax()])
    limit = math.exp(_LARGEST_LOG)
    return bool(((extremes > 1 / limit) & (extremes < limit)).all())
