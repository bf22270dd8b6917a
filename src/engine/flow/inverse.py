"""The inverse of the flow: where what it brings to a point comes from.

Positions are (n, 3), ordered (z, y, x), in units of the longest box side, as in integration.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..options.choices import N_EULER_STEPS
from .integration import change_of_step, follow
from .velocity import Field

_POINTS_AT_ONCE = 1 << 16
_POINTS_AT_ONCE_ON_CPU = 1 << 13
_CLOSE = 1e-6  # box sides; a residual below is none: float32 holds positions to a tenth of it
_FAR = 10.0  # box sides; an iteration that goes beyond has run away
_FIXED_POINT_ROUNDS = 50
_NEWTON_ROUNDS = 30
_HALVINGS = 6


@torch.no_grad()
def inverse_displacement(
    field: Field, points: Tensor, n_steps: int = N_EULER_STEPS, integrator: str | None = None
) -> tuple[Tensor, Tensor]:
    """x(0) - x(1) of points given at t = 1: where what the flow brings to them comes from.

    It is the inverse of the very steps that `displacements` makes, not a flow with the velocity turned round.  Each
    step is undone by the fixed point of x = y - change(x), or by Newton's method where that does not settle.  A point
    that this leaves off its mark, because the velocity depends on the start, is found by Newton's method on
    x(0) + d(x(0)) = x(1).  Where the flow folds, or nothing arrives at a point, a residual remains.

    Args:
        field: what the points follow.
        points: (n, 3), positions at t = 1.
        n_steps, integrator: as in `displacements`.
    Returns:
        (n, 3), x(0) - x(1), and (n,), how far from each point the flow of the x(0) found ends, in units of the longest
        box side.
    """
    integrator = integrator or field.integrator
    at_once = _POINTS_AT_ONCE_ON_CPU if points.device.type == "cpu" else _POINTS_AT_ONCE
    found = [_inverse(field, part, n_steps, integrator) for part in points.split(at_once)]
    starts, residuals = zip(*found)
    return torch.cat(starts) - points, torch.cat(residuals)


def _inverse(field: Field, ends: Tensor, n_steps: int, integrator: str) -> tuple[Tensor, Tensor]:
    """x(0) of the points, (n, 3), and how far from them it leads, (n,)."""

    def lead(starts: Tensor, which: Tensor) -> Tensor:
        return starts + follow(field, starts, n_steps, integrator)

    places = ends
    for _ in range(n_steps):
        places = _undo_step(field, ends, places, 1 / n_steps, integrator)
    sane = (places - ends).norm(dim=1, keepdim=True) <= _FAR
    return _solve(lead, torch.where(sane, places, ends), ends)


def _undo_step(field: Field, anchors: Tensor, ends: Tensor, size: float, integrator: str) -> Tensor:
    """Where a step that leads to `ends` began, the velocity being that of points that start at `anchors`."""

    def lead(places: Tensor, which: Tensor) -> Tensor:
        velocity = field.at(anchors[which])
        return places + change_of_step(velocity, places, velocity(places), size, integrator)

    velocity = field.at(anchors)
    places = ends
    for _ in range(_FIXED_POINT_ROUNDS):
        before, places = places, ends - change_of_step(velocity, places, velocity(places), size, integrator)
        if not bool(((places - before).abs() > _CLOSE / 10).any()):
            return places
    # Newton's method goes on from where the iteration came to, unless it has run away.
    sane = (places - before).norm(dim=1, keepdim=True) <= size
    return _solve(lead, torch.where(sane, places, ends), ends)[0]


def _solve(lead: Callable[..., Tensor], starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's method on lead(x) = end, damped.

    Args:
        lead: (m, 3), which=(m,) → (m, 3): where places lead that are meant for these of the points; each on its own.
        starts: (n, 3), first guesses.
        ends: (n, 3).
    Returns:
        (n, 3), x, and (n,), the distance of lead(x) from the end; never larger than that of the first guess.
    """
    starts = starts.clone()
    everywhere = torch.arange(len(ends), device=ends.device)
    residuals = (lead(starts, which=everywhere) - ends).norm(dim=1)
    off = everywhere
    for _ in range(_NEWTON_ROUNDS):
        off = off[~(residuals[off] <= _CLOSE)]  # also what is no number
        if len(off) == 0:
            break
        better, smaller = _newton_step(partial(lead, which=off), starts[off], ends[off])
        fell = smaller < residuals[off]
        off = off[fell]
        starts[off], residuals[off] = better[fell], smaller[fell]
    return starts, residuals


def _newton_step(lead: Callable[[Tensor], Tensor], starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Better starts and their residuals: of the full step and its halves, each point takes the best."""
    # A point's way depends on that point alone: three directions give the whole derivative.
    columns = []
    for axis in range(3):
        direction = torch.zeros_like(starts)
        direction[:, axis] = 1
        with forward_ad.dual_level():
            reached, column = forward_ad.unpack_dual(lead(forward_ad.make_dual(starts, direction)))
        columns.append(column)
    jacobian = torch.stack(columns, dim=2)  # (n, 3, 3)
    step = torch.linalg.solve_ex(jacobian, reached - ends)[0]
    best, smallest = starts, (reached - ends).norm(dim=1)
    for halvings in range(_HALVINGS):
        tried = starts - step / 2**halvings
        residuals = (lead(tried) - ends).norm(dim=1)
        fell = residuals < smallest  # never where it is no number, as after a derivative that has no inverse
        best, smallest = torch.where(fell[:, None], tried, best), torch.where(fell, residuals, smallest)
    return best, smallest
