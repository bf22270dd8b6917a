"""Transport that may leave mass where it is: for a target that has, or lacks, a part of the molecule.

In place of exact marginals their divergence KL(P1|a) + KL(Pᵀ1|b) is paid for, with the weight rho: mass that would have
to go farther than about √rho is rather made and unmade.  Notation as in `sinkhorn`; the rounds become

    (1)  exp(f/epsilon) = (a / K exp(g/epsilon))^(rho / (rho + epsilon))

and likewise (2); the dual value

    (3)  rho <a, 1 - exp(-f/rho)> + rho <b, 1 - exp(-g/rho)> - epsilon sum(exp(f/epsilon) K exp(g/epsilon))

has the derivative rho (1 - exp(-f/rho)) with respect to a.  For rho to infinity it is `sinkhorn`.
Chizat, Peyré, Schmitzer & Vialard, Math. Comp. 87 (2018) 2563; Séjourné et al., arXiv:1910.12958.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..maps.gaussian_blur import axis_gaussian
from .sinkhorn import FLOOR, SAFE_ROUNDS, kernel_product, log_blur


class UnbalancedTransport(NamedTuple):
    """The dual value (3) and its derivative with respect to the initial density."""

    loss: Tensor  # scalar, mass · voxels²
    derivative: Tensor  # (nz, ny, nx), voxels²


def unbalanced_sinkhorn(
    initial: Tensor, target: Tensor, epsilon: float, rho: float, n_iterations: int
) -> UnbalancedTransport:
    """Run `n_iterations` rounds: a few as they stand, more with logarithms, slowly.

    Args:
        initial, target: (nz, ny, nx), densities ≥ 0, on one device that knows float64.
        epsilon: strength of the regularisation, voxels².
        rho: price of mass that is made or unmade, voxels².
        n_iterations: rounds, at least 1.
    Raises:
        InputError: the shapes differ, or epsilon, rho or n_iterations is not positive.
    """
    if initial.shape != target.shape or not (epsilon > 0 and rho > 0 and n_iterations >= 1):
        raise InputError(
            f"Unbalanced transport needs two densities of one shape and positive numbers, not {tuple(initial.shape)} "
            f"and {tuple(target.shape)}, epsilon {epsilon:g}, rho {rho:g} and {n_iterations} rounds."
        )
    a, b = (density.double().clamp(min=FLOOR) for density in (initial, target))
    kernels = [axis_gaussian(n, epsilon, a) for n in a.shape]
    power = rho / (rho + epsilon)
    log_a, log_b = a.log(), b.log()
    f, g = log_a, torch.zeros_like(log_b)  # potentials divided by epsilon
    if n_iterations <= SAFE_ROUNDS:  # as in `sinkhorn`; the power brings the extremes nearer
        u, v = a, torch.ones_like(b)
        for _ in range(n_iterations):
            u = (a / kernel_product(v, kernels)) ** power  # (1)
            v = (b / kernel_product(u, kernels)) ** power  # (2)
        f, g = u.log(), v.log()
        plan = (u * kernel_product(v, kernels)).sum()
    else:
        for _ in range(n_iterations):
            f = power * (log_a - log_blur(g, epsilon))
            g = power * (log_b - log_blur(f, epsilon))
        plan = (f + log_blur(g, epsilon)).exp().sum()
    paid_a, paid_b = (-torch.expm1(-epsilon / rho * potential) for potential in (f, g))
    loss = rho * ((a * paid_a).sum() + (b * paid_b).sum()) - epsilon * plan  # (3)
    return UnbalancedTransport(loss, rho * paid_a)
