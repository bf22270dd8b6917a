"""The stages of recipe auto: on which grids, how long and at which rates, from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .starts import Start

_COARSE_VOXEL = 5.0  # Å, at most, in the starts
_COARSE_POINTS = 3000  # at most, in the starts; for these, voxels may be larger
_COARSE_BOX = 16  # voxels along the shortest side, at least
_MANY_POINTS, _FEWEST_STEPS = 50_000, 120  # of a refinement: with more points fewer steps, but not below
# Of learning, first and last: of the starts, by transport and then by correlation, and of each refinement.
_TRANSPORT_RATES = {"network": (2e-3, 2e-3), "domains": (4e-3, 2e-3)}
_START_RATES = (1e-3, 3e-4)
_REFINING_RATES = ((1e-3, 5e-4), (5e-4, 2.5e-4), (2.5e-4, 1e-4))
_BLUR_SLOPES = 1.4  # voxels: a grid may be so much coarser than the blur's standard deviation
_LEAST_BINNING = 1.2  # at the target's own detail; below it a coarser grid spares less than it loses


class Stage(NamedTuple):
    """So many steps of one kind on one grid."""

    text: str  # what the user is told
    start: int | None  # of which start; None for the one chosen
    loss: str
    bin_size: float  # voxels of the maps
    n_steps: int
    rates: tuple[float, float]  # of learning, first and last
    blur: float = 0.0  # Å, standard deviation by which both maps are blurred beyond the target's own resolution
    margin: int = 0  # voxels, see `prepare`


def planned_stages(
    starts: Sequence[Start],
    voxel: float,
    target_blur: float,
    shortest_side: int,
    n_points: Callable[[float, int], int],
) -> list[Stage]:
    """All that may come; the recipe leaves out starts that are not needed.

    Args:
        starts: which flows to begin with, in turn.
        voxel: Å, of the maps.
        target_blur: Å, standard deviation of the Gaussian that makes the initial as coarse as the target.
        shortest_side: voxels, of the box.
        n_points: how many points there are at a bin size with a margin, see `prepare`.
    """
    coarse = max(1, math.floor(_COARSE_VOXEL / voxel))
    while n_points(coarse, 0) > _COARSE_POINTS and coarse * _COARSE_BOX < shortest_side:
        coarse += 1
    names = "coarse", "finer", "the target's own"
    blurs = max(2.2, 1.5 * voxel), max(1.3, 0.9 * voxel), 0.0
    enough = [bin_size_for(math.hypot(blur, target_blur), voxel) for blur in blurs]
    sizes: list[float] = [min(coarse, math.floor(size)) for size in enough]
    if enough[-1] >= _LEAST_BINNING:
        sizes[-1] = min(coarse, enough[-1])
    stages = []
    if starts[0].flow == "docked":  # one step, so that the first checkpoint is that of the maps as they are
        text = "nothing moves; parts of the initial map are docked into the target, which may take a minute"
        stages.append(
            Stage(text, None, "correlation", bin_size=sizes[0], n_steps=1, rates=_REFINING_RATES[0], blur=blurs[0])
        )
    for i, begun in enumerate(starts):
        text = f"start {i + 1} of {len(starts)}, {begun}" if len(starts) > 1 else str(begun)
        by_transport, by_correlation = f"{text}: transport", f"{text}: correlation"
        if begun.flow == "docked":  # it is near already: what is coarser would lead it astray
            size, rates, blur = sizes[0], _REFINING_RATES[0], blurs[0]
            stages.append(Stage(by_correlation, i, "correlation", size, n_steps=200, rates=rates, blur=blur))
            continue
        rates, blur = _TRANSPORT_RATES[begun.flow], coarse * voxel / _BLUR_SLOPES
        stages.append(Stage(by_transport, i, "w2", coarse, n_steps=500, rates=rates))
        stages.append(Stage(by_correlation, i, "correlation", coarse, n_steps=100, rates=_START_RATES, blur=blur))
    for name, blur, size, n_steps, rates in zip(names, blurs, sizes, (300, 400, 400), _REFINING_RATES):
        text, margin = f"refinement at {name} detail", int(blur == 0)
        n_steps = max(_FEWEST_STEPS, min(n_steps, round(n_steps * _MANY_POINTS / n_points(size, margin))))
        stages.append(Stage(text, None, "correlation", size, n_steps=n_steps, rates=rates, blur=blur, margin=margin))
    return stages


def bin_size_for(blur: float, voxel: float) -> float:
    """How much coarser than the maps, with voxels of so many Å, a grid may be for what is blurred by so many Å."""
    return max(1.0, _BLUR_SLOPES * blur / voxel)
