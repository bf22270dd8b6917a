"""Gaussians on a grid, as a dense product along each axis: the blur of a density, and the kernel of the transport."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_blur(density: Tensor, sigma: float) -> Tensor:
    """The density convolved with a Gaussian of standard deviation `sigma` (voxels); what passes the faces is lost."""
    if sigma <= 0:
        return density
    reach = math.ceil(8 * sigma)
    total = axis_gaussian(2 * reach + 1, 2 * sigma**2, density)[reach].sum()
    for n in density.shape:
        kernel = axis_gaussian(n, 2 * sigma**2, density) / total
        density = torch.tensordot(density, kernel, dims=([0], [0]))  # the axis done goes last, so three make a round
    return density


def axis_gaussian(n: int, width: float, like: Tensor) -> Tensor:
    """exp(-(i - j)²/width), width in voxels², of the type and on the device of `like`; (n, n)."""
    return (squared_distances(n, like) / -width).exp()


def squared_distances(n: int, like: Tensor) -> Tensor:
    """(i - j)² voxels², of the type and on the device of `like`; (n, n)."""
    index = torch.arange(n, dtype=like.dtype, device=like.device)
    return (index[:, None] - index) ** 2
