"""Points that each follow a screw motion of their own: velocities, and ways in closed form.

Positions are (n, 3), ordered (z, y, x).
"""

from __future__ import annotations

import torch
from torch import Tensor


class Screws:
    """The velocity ω × x + b of points of which each has its own, and how far it takes them, in closed form.

    In a time t a point goes t (I + (1 - cos θ)/θ² [ω t] + (θ - sin θ)/θ³ [ω t]²) v, θ = |ω| t, v its velocity at the
    beginning: Murray, Li & Sastry, A Mathematical Introduction to Robotic Manipulation (1994), ch. 2.
    """

    def __init__(self, turn: Tensor, shift: Tensor) -> None:
        self._turn, self._shift = turn, shift

    def __call__(self, points: Tensor) -> Tensor:
        """(n, 3) → (n, 3)."""
        return torch.linalg.cross(self._turn, points) + self._shift

    def __add__(self, other: Screws) -> Screws:
        """The sum of both velocities, which is a screw's again."""
        return Screws(self._turn + other._turn, self._shift + other._shift)

    def way(self, velocity: Tensor, time: float) -> Tensor:
        """x(t) - x(0), (n, 3), of points that have this velocity at t = 0."""
        turn = self._turn * time
        square = (turn * turn).sum(1, keepdim=True)
        first, second = screw_factors(square)
        across = torch.linalg.cross(turn, velocity)
        return time * (velocity + first * across + second * torch.linalg.cross(turn, across))


def screw_factors(square: Tensor) -> tuple[Tensor, Tensor]:
    """(1 - cos θ)/θ² and (θ - sin θ)/θ³, of θ² of any shape; by series up to θ = 1, where digits would be lost."""
    small, large = square.clamp(max=1), square.clamp(min=1)
    angle = large.sqrt()
    first = 1 / 2 - small * (1 / 24 - small * (1 / 720 - small * (1 / 40320 - small / 3628800)))
    second = 1 / 6 - small * (1 / 120 - small * (1 / 5040 - small * (1 / 362880 - small / 39916800)))
    far = square > 1
    return (
        torch.where(far, (1 - angle.cos()) / large, first),
        torch.where(far, (angle - angle.sin()) / (large * angle), second),
    )
