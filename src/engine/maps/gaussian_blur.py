"""Gaussians on a grid, as a dense product along each axis: the blur of a density, and the kernel of the transport."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian_blur(density: Tensor, sigma: float | Sequence[float], times: int = 1) -> Tensor:
    """The density convolved with a Gaussian; what passes the faces is lost.

    Args:
        density: (nz, ny, nx).
        sigma: standard deviation, voxels; one for all axes, or one each, (z, y, x).  0 changes nothing.
        times: as if the blur were made so many times, at the price of one.
    """
    sigmas = [sigma] * 3 if isinstance(sigma, (int, float)) else sigma
    if max(sigmas) <= 0:
        return density
    for n, along in zip(density.shape, sigmas):
        kernel = torch.linalg.matrix_power(_of_sum_one(n, along, density), times)
        density = torch.tensordot(density, kernel, dims=([0], [0]))  # the axis done goes last, so three make a round
    return density


def axis_gaussian(n: int, width: float, like: Tensor) -> Tensor:
    """exp(-(i - j)²/width), width in voxels², of the type and on the device of `like`; (n, n)."""
    index = torch.arange(n, dtype=like.dtype, device=like.device)
    return gaussian_between(index, index, width)


def gaussian_between(a: Tensor, b: Tensor, width: float) -> Tensor:
    """exp(-(a - b)²/width) of places along an axis, (n,) and (m,); (n, m)."""
    return ((a[:, None] - b) ** 2 / -width).exp()


def squared_distances(n: int, like: Tensor) -> Tensor:
    """(i - j)² voxels², of the type and on the device of `like`; (n, n)."""
    index = torch.arange(n, dtype=like.dtype, device=like.device)
    return (index[:, None] - index) ** 2


def _of_sum_one(n: int, sigma: float, like: Tensor) -> Tensor:
    """(n, n), voxel by voxel; rows in the middle have the sum 1."""
    if sigma <= 0:
        return torch.eye(n, dtype=like.dtype, device=like.device)
    reach = math.ceil(8 * sigma)
    total = axis_gaussian(2 * reach + 1, 2 * sigma**2, like)[reach].sum()
    return axis_gaussian(n, 2 * sigma**2, like) / total
