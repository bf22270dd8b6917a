"""Parts that have no partner in the other map: a domain that one of them lacks, a ligand, a second copy.

Where docked domains take the initial map, its density and the target's are compared, both as docking sees them.  A part
that comes to where the target has next to nothing, or a domain that comes to where others explain the target already,
has no partner if nothing else of the target is left over for it either; and so has a part of the target to which
nothing comes.  What is left over on both sides alike is a motion that docking has not found, and no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..maps.components import connected_components
from ..maps.density_map import DensityMap, place_text
from ..maps.deposit import deposit
from ..maps.gaussian_blur import gaussian_blur
from ..maps.sampling import sample
from .coarse import CoarsePair
from .docked import RIM, DockedDomains
from .pieces import points_above

_SMOOTH = 0.7  # coarse voxels, over which the deposit's grain is evened out
_NOTHING = 0.2  # of the density that is looked for
_EXPLAINED = 0.6  # of the target's density, by the other domains
_MOST_OF_A_DOMAIN = 0.7  # of its mass
_LEAST_SHARE = 0.04  # of the mass, that a part must have
_TIMES_OTHER = 3.0  # the share that the other map has left over

Mask = NDArray[np.bool_]


class Part(NamedTuple):
    """What has no partner in the other map."""

    of: str  # "initial" or "target"
    share: float  # of that map's mass
    centre: tuple[float, float, float]  # (z, y, x), Å, of its mass, in the maps' frame
    voxels: Mask  # (nz, ny, nx), on the maps' grid

    def state(self) -> dict[str, Any]:
        """For a file of PyTorch's."""
        packed = torch.from_numpy(np.packbits(self.voxels))
        return {**self._asdict(), "voxels": packed, "shape": list(self.voxels.shape)}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Part:
        """What `state` has given."""
        shape = state["shape"]
        bits = np.unpackbits(state["voxels"].cpu().numpy(), count=int(np.prod(shape)))
        return cls(state["of"], state["share"], tuple(state["centre"]), bits.astype(bool).reshape(shape))


def parts_without_partner(docked: DockedDomains, initial: DensityMap) -> list[Part]:
    """None as a rule; the largest first.

    Args:
        docked: the initial map into the target.
        initial: the map as it came, for its grid.
    """
    pair = docked.pair
    points, weights = points_above(pair.initial, RIM)
    ends = docked.moved(points)
    generated = gaussian_blur(deposit(ends, weights, _shape(pair)), _SMOOTH)
    target = gaussian_blur(pair.target, _SMOOTH)
    there, needed = sample(target, ends), sample(generated, ends)
    scale = _median(there / needed.clamp(min=1e-6 * float(needed.max())), weights)
    if not scale > 0:
        return []
    lonely: NDArray[np.bool_] = np.zeros(_shape(pair), dtype=bool)
    alone = (there < _NOTHING * scale * needed) | _superfluous(docked, points, ends, weights, target / scale)
    lonely[tuple(points.round().long()[alone].T.cpu().numpy())] = True
    unexplained = (target > RIM * target.max()) & (scale * generated < _NOTHING * target)
    masses = pair.initial.cpu().numpy(), target.cpu().numpy()
    left = [_share(lonely, masses[0]), _share(unexplained.cpu().numpy(), masses[1])]
    parts = []
    if left[0] > _TIMES_OTHER * left[1]:
        parts += _parts("initial", lonely, masses[0], pair.ratio, initial)
    if left[1] > _TIMES_OTHER * left[0]:
        parts += _parts("target", unexplained.cpu().numpy(), masses[1], pair.ratio, initial)
    return sorted(parts, key=lambda part: -part.share)


def _superfluous(docked: DockedDomains, points: Tensor, ends: Tensor, weights: Tensor, target: Tensor) -> Tensor:
    """Which points (n,) belong to a domain that has come to lie where the others explain the target already."""
    nearest = torch.cdist(points, docked.supervoxels.centres).argmin(1)
    domain = torch.from_numpy(docked.labels).to(nearest.device)[nearest]
    found = torch.zeros_like(domain, dtype=torch.bool)
    for number in domain.unique():
        own = domain == number
        others = gaussian_blur(deposit(ends[~own], weights[~own], _shape(docked.pair)), _SMOOTH)
        explained = sample(others, ends[own]) > _EXPLAINED * sample(target, ends[own])
        if float((weights[own] * explained).sum()) > _MOST_OF_A_DOMAIN * float(weights[own].sum()):
            found |= own
    return found


def partner_text(part: Part, initial: str, target: str) -> str:
    """A sentence for the user.

    Args:
        initial, target: names of the maps.
    """
    whose, other = (initial, target) if part.of == "initial" else (target, initial)
    what = (
        "It moves with its neighbours, and nothing is known of a motion of its own."
        if part.of == "initial"
        else "Nothing moves there, and what it is the morph does not say."
    )
    where = place_text(_rounded(part.centre))
    return (
        f"A part of {whose} round {where} with {part.share:.0%} of its density has no partner in {other} and is left "
        f"out of training. {what}"
    )


def _rounded(place: tuple[float, float, float]) -> tuple[float, float, float]:
    z, y, x = (float(round(length)) for length in place)
    return z, y, x


def map_of_parts(parts: Sequence[Part], grid: DensityMap) -> DensityMap:
    """1 in the parts of the initial map, -1 in those of the target that lie elsewhere, else 0."""
    values = np.zeros(grid.grid_shape, np.float32)
    for of, value in (("target", -1), ("initial", 1)):
        for part in parts:
            if part.of == of:
                values[part.voxels] = value
    return grid.with_density(values)


def without(density_map: DensityMap, parts: Sequence[Part], of: str) -> DensityMap:
    """The map with its parts that have no partner set to zero."""
    own = [part.voxels for part in parts if part.of == of]
    if not own:
        return density_map
    return density_map.with_density(np.where(np.any(own, axis=0), np.float32(0), density_map.density))


def _parts(of: str, voxels: Mask, mass: NDArray[np.float32], ratio: float, initial: DensityMap) -> list[Part]:
    places, numbers = connected_components(voxels)
    total = float(mass.sum(dtype=np.float64))
    # Each voxel of the maps is as the coarse one nearest to it.
    nearest = [
        np.minimum(np.rint(np.arange(n) / ratio).astype(np.int64), m - 1)
        for n, m in zip(initial.grid_shape, voxels.shape)
    ]
    found = []
    for number in range(int(numbers.max(initial=-1)) + 1):
        own = places[numbers == number]
        weights = mass[tuple(own.T)].astype(np.float64)
        if weights.sum() < _LEAST_SHARE * total:
            continue
        alone: Mask = np.zeros(voxels.shape, dtype=bool)
        alone[tuple(own.T)] = True
        middle = np.average(own, axis=0, weights=weights) * ratio * initial.voxel_size + initial.origin
        z, y, x = (float(place) for place in middle)
        found.append(Part(of, float(weights.sum() / total), (z, y, x), alone[np.ix_(*nearest)]))
    return found


def _share(voxels: Mask, mass: NDArray[np.float32]) -> float:
    return float(mass[voxels].sum(dtype=np.float64) / mass.sum(dtype=np.float64))


def _median(values: Tensor, weights: Tensor) -> float:
    order = values.argsort()
    below = weights[order].cumsum(0)
    return float(values[order][torch.searchsorted(below, below[-1:] / 2)][0])


def _shape(pair: CoarsePair) -> tuple[int, int, int]:
    nz, ny, nx = pair.initial.shape
    return nz, ny, nx
