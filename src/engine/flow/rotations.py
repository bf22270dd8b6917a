"""Rotations, many at a time: their vectors, their quaternions, and the angles between them.

Rotations are (…, 3, 3) and act on (z, y, x) columns; a rotation vector is axis times angle, radians.
"""

from __future__ import annotations

import torch
from torch import Tensor


def of_quaternions(q: Tensor) -> Tensor:
    """Rotations of unit quaternions (…, 4), the real part last."""
    x, y, z, w = q.unbind(-1)
    rows = (
        torch.stack((1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)), -1),
        torch.stack((2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)), -1),
        torch.stack((2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)), -1),
    )
    return torch.stack(rows, -2)


def of_vectors(vectors: Tensor) -> Tensor:
    """Rotations of rotation vectors (…, 3); differentiable, at zero too."""
    angle2 = (vectors * vectors).sum(-1, keepdim=True)
    angle = (angle2 + 1e-12).sqrt()
    half = angle / 2
    q = torch.cat((vectors * (half.sin() / angle), half.cos()), -1)
    return of_quaternions(q / q.norm(dim=-1, keepdim=True))


def to_vectors(rotations: Tensor) -> Tensor:
    """Rotation vectors of rotations, (…, 3, 3) → (…, 3), of angles up to π."""
    r = rotations.double()
    # The quaternion is the main axis of a symmetric matrix (Bar-Itzhack 2000), which no angle makes singular.
    k = torch.zeros((*r.shape[:-2], 4, 4), dtype=r.dtype, device=r.device)
    trace = r.diagonal(dim1=-2, dim2=-1).sum(-1)
    for i in range(3):
        for j in range(3):
            k[..., i, j] = r[..., i, j] + r[..., j, i]
        k[..., i, i] -= trace
    off = torch.stack((r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]), -1)
    k[..., :3, 3] = k[..., 3, :3] = off
    k[..., 3, 3] = trace
    q = torch.linalg.eigh(k.cpu())[1][..., -1].to(r.device)
    q = torch.where(q[..., 3:] < 0, -q, q)
    sine = q[..., :3].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, q[..., 3:])
    return (q[..., :3] * torch.where(sine > 1e-9, angle / sine.clamp(min=1e-9), torch.full_like(sine, 2))).to(rotations)


def angles_between(a: Tensor, b: Tensor) -> Tensor:
    """Radians between rotations, (…, 3, 3) each, broadcast."""
    cosine = ((a * b).sum((-2, -1)) - 1) / 2
    return cosine.clamp(-1, 1).acos()
