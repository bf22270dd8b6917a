"""Rigid motions, many at a time: applied, fitted to points; and an even covering of all turns.

Rotations are (…, 3, 3) and act on (z, y, x) columns; a rotation vector is axis times angle, radians.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..flow.rotations import of_quaternions

_PHI, _PSI = math.sqrt(2), 1.533751168755204288118041  # ψ⁴ = ψ + 4


@dataclasses.dataclass(frozen=True)
class Motions:
    """k rigid motions x → R (x - c) + c + s, of one unit of length."""

    rotations: Tensor  # (k, 3, 3), R
    centres: Tensor  # (k, 3), c
    shifts: Tensor  # (k, 3), s

    @property
    def count(self) -> int:
        return len(self.rotations)

    def moved(self, points: Tensor) -> Tensor:
        """Where each motion takes points; (n, 3) → (k, n, 3), or (k, n, 3), each motion's own."""
        return (points - self.centres[:, None]) @ self.rotations.mT + (self.centres + self.shifts)[:, None]

    def chosen(self, index: Tensor | Sequence[int]) -> Motions:
        """Those of an index."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.shifts.device)
        return Motions(self.rotations[rows], self.centres[rows], self.shifts[rows])

    def about(self, centres: Tensor) -> Motions:
        """The same motions, told about other centres, (k, 3)."""
        ends = self.moved(centres[:, None])[:, 0]
        return Motions(self.rotations, centres, ends - centres)

    def scaled(self, factor: float) -> Motions:
        """The same motions in a unit of length so many times shorter."""
        return Motions(self.rotations, self.centres * factor, self.shifts * factor)

    def to(self, like: Tensor) -> Motions:
        """The same motions, on the device and of the type of a tensor."""
        return Motions(self.rotations.to(like), self.centres.to(like), self.shifts.to(like))

    @classmethod
    def identity(cls, like: Tensor) -> Motions:
        """One that moves nothing."""
        zero = torch.zeros(1, 3, dtype=like.dtype, device=like.device)
        return cls(torch.eye(3, dtype=like.dtype, device=like.device)[None], zero, zero)

    @classmethod
    def joined(cls, parts: Sequence[Motions]) -> Motions:
        """Those of all parts in turn."""
        return cls(
            torch.cat([part.rotations for part in parts]),
            torch.cat([part.centres for part in parts]),
            torch.cat([part.shifts for part in parts]),
        )


def all_turns(n: int, like: Tensor) -> Tensor:
    """n rotations spread evenly over all there are, (n, 3, 3), the identity not among them.

    Quaternions on two spirals: Alexa, Super-Fibonacci Spirals, CVPR 2022.
    """
    s = torch.arange(n, dtype=torch.float64) + 0.5
    near, far = (s / n).sqrt(), (1 - s / n).sqrt()
    alpha, beta = 2 * math.pi * s / _PHI, 2 * math.pi * s / _PSI
    q = torch.stack((near * alpha.sin(), near * alpha.cos(), far * beta.sin(), far * beta.cos()), dim=1)
    return of_quaternions(q).to(like)


def best_motion(start: Tensor, end: Tensor, weights: Tensor) -> Motions:
    """The rigid motions that take points nearest to where they end: Kabsch, Acta Cryst. A34 (1978) 827.

    Args:
        start, end: (k, n, 3).
        weights: (k, n), not negative.
    Returns:
        k motions, about the points' centres.
    """
    share = (weights / weights.sum(1, keepdim=True).clamp(min=1e-12))[..., None].double()
    a, b = start.double(), end.double()
    from_centre, to_centre = (share * a).sum(1), (share * b).sum(1)
    covariance = (share * (b - to_centre[:, None])).mT @ (a - from_centre[:, None])
    u, _, vt = torch.linalg.svd(covariance.cpu())
    signs = torch.ones(len(u), 3, dtype=u.dtype)
    signs[:, 2] = torch.linalg.det(u @ vt).sign()
    rotations = ((u * signs[:, None]) @ vt).to(a.device)
    return Motions(rotations.to(start), from_centre.to(start), (to_centre - from_centre).to(start))
