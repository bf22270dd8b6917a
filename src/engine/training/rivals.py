"""Whether another start explains the target almost as well, and takes a part of the molecule elsewhere.

Lobes that look alike, and units of a ring, may change places.  A score tells them apart by little; who uses the morph
should know.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..flow.integration import displacement
from ..flow.velocity import Field

_NEAR = 0.02  # of the best score: almost as well
_ELSEWHERE, _LEAST_SHARE = 6.0, 0.1  # Å; of the mass


def rival_of(
    fields: Sequence[Field], scores: Sequence[float], best: int, points: Tensor, weights: Tensor, side: float
) -> tuple[int, float, float] | None:
    """The start that is almost as good as the best and differs from it most.

    Args:
        fields, scores: of each start.
        best: which is the best.
        points: (n, 3), at t = 0, in units of the longest box side.
        weights: (n,).
        side: Å, of the longest box side.
    Returns:
        Which start; the share of the mass that it takes more than 6 Å elsewhere; Å, how far, in the mean over that.
        None if none takes a tenth elsewhere.
    """
    found: tuple[int, float, float] | None = None
    with torch.no_grad():
        way = displacement(fields[best], points)
        for i, (field, score) in enumerate(zip(fields, scores)):
            if i == best or score < scores[best] - _NEAR:
                continue
            apart = (displacement(field, points) - way).norm(dim=1) * side
            mass = weights * (apart > _ELSEWHERE)
            share = float(mass.sum() / weights.sum())
            if share > (found[1] if found else _LEAST_SHARE):
                found = i, share, float((apart * mass).sum() / mass.sum())
    return found


def rival_text(rival: tuple[int, float, float], starts: Sequence[object], scores: Sequence[float], best: int) -> str:
    """What is said of what `rival_of` has found."""
    other, share, apart = rival
    return (
        f"Two ways explain the target almost equally well: {starts[other]} ({scores[other]:.3f} against "
        f"{scores[best]:.3f}) takes {share:.0%} of the mass elsewhere, {apart:.0f} Å away in the mean."
    )
