"""What a look at a map and its level says before anything is trained on them: a sentence each, with the way out.

Needs no PyTorch, so that it is said before anything is loaded; the worker says it to ChimeraX too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .components import connected_components
from .density_map import DensityMap
from .preparation import occupied_above, suggested_level

FEWEST_POINTS = 8  # of which a flow can be told
_TIMES_NEIGHBOURS = 10.0  # no density that a microscope resolves rises so steeply from one voxel to the next
_WITHIN_A_VOXEL = 0.9  # voxels: on the map's own grid none beside it, and on another it still lies within
_TIMES_DEEPER = 2.0  # below the background than above it
_MUCH_OF_THE_BOX = 0.5
_BACKGROUND = 0.1  # of the maximum
_LOW_PERCENTILE = 5
_AT_THE_FACES = 0.05  # of the mass, in the outermost two sections of an axis at each end
_FACE = 2  # voxels
_AXES = "zyx"


def doubts_about(density_map: DensityMap, level: float) -> list[str]:
    """Sentences on what speaks against a map at a level; none as a rule.

    Raises:
        InputError: see `above_level`.
    """
    occupied = occupied_above(density_map, level)
    low, background = (
        float(v) for v in np.percentile(density_map.density.flatten(), (_LOW_PERCENTILE, 50), overwrite_input=True)
    )
    inverted = list(_inverted(density_map, background))
    if inverted:  # what is above the level is not the molecule
        return inverted
    return [
        *hot_voxel(density_map, density_map.density[occupied]),
        *_background(density_map, low),
        *_share_of_the_box(density_map, level, occupied),
        *_flat(density_map, level, occupied),
        *_cut_by_the_box(density_map, occupied),
    ]


def check_points(density_map: DensityMap, level: float) -> None:
    """
    Raises:
        InputError: the level keeps fewer voxels than a flow can be told of.
    """
    n_points = sum(int(np.count_nonzero((section >= level) & (section > 0))) for section in density_map.density)
    if n_points < FEWEST_POINTS:
        voxels = "1 voxel" if n_points == 1 else f"{n_points} voxels"
        raise InputError(f"Level {level:g} keeps {voxels} of {density_map.name}, too few to train on. Lower it.")


def _inverted(density_map: DensityMap, background: float) -> Iterator[str]:
    low, high = float(density_map.density.min()), float(density_map.density.max())
    if low < 0 and background - low > _TIMES_DEEPER * (high - background):
        yield (
            f"{density_map.name} looks inverted: its values run from {low:.4g} to {high:.4g} about {background:.2g}: "
            f"what is strong lies below zero. If so, multiply it by -1 first (in ChimeraX: volume scale #1 factor -1)."
        )


def hot_voxel(density_map: DensityMap, kept: NDArray[np.float32]) -> Iterator[str]:
    """The doubt that nearly all density is in one voxel; `kept` is what is above the level, of any shape."""
    z, y, x = np.unravel_index(int(np.argmax(density_map.density)), density_map.grid_shape)
    near = density_map.density[tuple(slice(max(0, i - 1), i + 2) for i in (z, y, x))]
    highest, next_to_it = float(near.max()), float(np.sort(near, axis=None)[-2])
    if highest > _TIMES_NEIGHBOURS * max(next_to_it, 0):
        share = highest / float(kept.sum(dtype=np.float64))
        place = density_map.origin + np.array([z, y, x]) * density_map.voxel_size
        centre = ",".join(f"{along:.5g}" for along in place[::-1])
        radius = _WITHIN_A_VOXEL * min(density_map.voxel_size)
        yield (
            f"Voxel {x}, {y}, {z} of {density_map.name} is hot: it is {highest:.4g} and none beside it more than "
            f"{next_to_it:.4g}, and it holds {share:.1%} of the density above the level. Set it to what is round it "
            f"first, else training sees little more than it (in ChimeraX: volume erase #1 center {centre} "
            f"radius {radius:.3g} value {float(np.median(near)):.3g})."
        )


def _background(density_map: DensityMap, low: float) -> Iterator[str]:
    if low > _BACKGROUND * float(density_map.density.max()):
        yield (
            f"The background of {density_map.name} is not zero: {100 - _LOW_PERCENTILE} % of its voxels are above "
            f"{low:.4g}. Density counts from zero, so that the molecule would hardly stand out. Take the background "
            f"off first (in ChimeraX: volume scale #1 shift {-low:.4g})."
        )


def _share_of_the_box(density_map: DensityMap, level: float, occupied: NDArray[np.bool_]) -> Iterator[str]:
    share = np.count_nonzero(occupied) / occupied.size
    if share > _MUCH_OF_THE_BOX:
        yield (
            f"Level {level:g} keeps {share:.0%} of the box of {density_map.name}, more than a molecule fills as a "
            f"rule. Raise it to the contour level that you would show (in ChimeraX: volume #1 level "
            f"{suggested_level(density_map):.3g}, which keeps the highest 1 %)."
        )


def _flat(density_map: DensityMap, level: float, occupied: NDArray[np.bool_]) -> Iterator[str]:
    n_kept = int(np.count_nonzero(occupied))
    for axis, letter in enumerate(_AXES):
        there = np.flatnonzero(occupied.any(axis=tuple(k for k in range(3) if k != axis)))
        if n_kept >= FEWEST_POINTS and there[-1] == there[0]:
            yield (
                f"All that level {level:g} keeps of {density_map.name} lies in one section along {letter}: a plane, "
                f"not a molecule. Look at the map before training on it."
            )


def _cut_by_the_box(density_map: DensityMap, occupied: NDArray[np.bool_]) -> Iterator[str]:
    voxels, parts = connected_components(occupied)
    masses = np.bincount(parts, weights=density_map.density[tuple(voxels.T)].astype(np.float64))
    largest = voxels[parts == np.argmax(masses)] if len(masses) else voxels  # noise lies at the faces too
    total = float(masses.max(initial=0.0))
    densities = density_map.density[tuple(largest.T)]
    for axis, letter in enumerate(_AXES):
        sections = np.bincount(largest[:, axis], weights=densities, minlength=occupied.shape[axis])
        if total <= 0 or len(sections) <= 4 * _FACE:
            continue
        share = float(sections[:_FACE].sum() + sections[-_FACE:].sum()) / total
        if share > _AT_THE_FACES:
            yield (
                f"The molecule of {density_map.name} is cut by the box: {share:.0%} of what hangs together above the "
                f"level lies in the outermost {_FACE} sections at the ends of {letter}. What enters or leaves there "
                f"has no partner in the other map. Use a larger box, or mask both maps to a part that stays inside."
            )
