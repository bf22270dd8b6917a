"""Flows one after another: the way through several conformations, a leg from each to the next.

Each of the n legs takes 1/n of the time.  A point goes on in a leg from where the leg before has brought it, so nothing
is put on a grid between two legs.  Positions, displacements and integrators are those of integration.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..options.choices import N_EULER_STEPS
from . import integration, inverse
from .velocity import Field

_SAME_TIME = 1e-9


def displacements(
    fields: Sequence[Field],
    points: Tensor,
    times: Sequence[float],
    n_steps: int = N_EULER_STEPS,
    integrator: str | None = None,
) -> Iterator[Tensor]:
    """How far the points have gone at each of the times; as one flow's, n_steps being those of one leg.

    Args:
        fields: of the legs, one or more, in their order.
        points: (n, 3), positions at t = 0.
        times: from 0 to 1 over the whole way, in ascending order; at k/n leg k has just ended.
        n_steps, integrator: as for one flow.
    Yields:
        (n, 3), x(t) - x(0) for each time.
    """
    if len(fields) == 1:
        yield from integration.displacements(fields[0], points, times, n_steps, integrator)
        return
    before = torch.zeros_like(points)  # what the legs that have ended have added
    left = [time * len(fields) for time in times]
    for leg, field in enumerate(fields):
        here = [time for time in left if time <= leg + 1 + _SAME_TIME]
        left = left[len(here) :]
        wanted = [min(1.0, time - leg) for time in here]
        if left and not (wanted and wanted[-1] >= 1 - _SAME_TIME):
            wanted.append(1.0)
        moved = torch.zeros_like(points)
        for i, moved in enumerate(integration.displacements(field, points + before, wanted, n_steps, integrator)):
            if i < len(here):
                yield before + moved
        if not left:
            return
        before = before + moved


def inverse_displacement(
    fields: Sequence[Field], points: Tensor, n_steps: int = N_EULER_STEPS, integrator: str | None = None
) -> tuple[Tensor, Tensor]:
    """x(0) - x(1) of points given at t = 1, the legs undone from the last to the first.

    Returns:
        (n, 3), and (n,), how far from each point the whole way ends from the x(0) found; see `inverse`.
    """
    if len(fields) == 1:
        return inverse.inverse_displacement(fields[0], points, n_steps, integrator)
    back = torch.zeros_like(points)
    for field in reversed(fields):
        back = back + inverse.inverse_displacement(field, points + back, n_steps, integrator)[0]
    *_, there = displacements(fields, points + back, [1.0], n_steps, integrator)
    return back, (back + there).norm(dim=1)
