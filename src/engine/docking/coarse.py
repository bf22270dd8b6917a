"""Both maps as docking sees them: blurred to one resolution, on voxels of a few Å, of one mass.

Lengths inside the docking are in these coarse voxels: coarse voxel i lies where voxel i·ratio of the maps lies.  Voxels
count as cubes, as they do for a flow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..maps.bounding_box import bounding_box
from ..maps.density_map import DensityMap, voxel_side
from ..maps.gaussian_blur import gaussian_between
from ..maps.preparation import above_level

BLUR = 1.4  # Å, standard deviation: it takes a map of 3 Å to 7 Å, where a domain still has shape and loops have none
VOXEL = 3.0  # Å, which 7 Å of resolution need
_SLOPE = 4.0  # Å round what is above the level that is kept: the slopes of the surface
_LEAST_BLUR = 0.5  # fine voxels
_LEAST_SEEN = 0.2


class CoarsePair(NamedTuple):
    """Two maps on one grid; `initial` has the maximum 1, `target` the same sum."""

    initial: Tensor  # (nz, ny, nx)
    target: Tensor  # (nz, ny, nx)
    voxel: float  # Å
    ratio: float  # a coarse voxel in voxels of the maps

    def to_box(self, positions: Tensor, grid_shape: tuple[int, int, int]) -> Tensor:
        """Positions (…, 3) in units of the longest side of a box of so many voxels of the maps, as flows use them."""
        return (positions * self.ratio + 0.5) / max(grid_shape)

    def from_box(self, positions: Tensor, grid_shape: tuple[int, int, int]) -> Tensor:
        """What `to_box` turns round."""
        return (positions * max(grid_shape) - 0.5) / self.ratio


def coarse_pair(
    initial: DensityMap,
    target: DensityMap,
    levels: tuple[float, float],
    target_blur: float,
    device: torch.device,
    blur: float = BLUR,
    voxel: float = VOXEL,
    held_out: NDArray[np.bool_] | None = None,
) -> CoarsePair:
    """Blur and resample both maps.

    Args:
        initial, target: on one grid.
        levels: contour level of each; what lies more than 4 Å outside is not looked at.
        target_blur: Å, standard deviation of the Gaussian that makes the initial as coarse as the target.
        blur: Å, standard deviation of the Gaussian for the initial; the target's is less by `target_blur`.
        voxel: Å, side of a coarse voxel; not below that of the maps.
        held_out: (nz, ny, nx), voxels of the target that are not to be seen; what lies round them counts for them.
    Raises:
        InputError: nothing reaches a level.
    """
    side = voxel_side(initial.voxel_size)
    voxel = max(voxel, side)
    blur = max(blur, math.hypot(target_blur, _LEAST_BLUR * side))
    own_blur = math.sqrt(blur**2 - target_blur**2)
    reach = math.ceil(_SLOPE / side)
    a = _coarse(_surrounded(initial, levels[0], reach), blur / side, voxel / side, device)
    seen = None if held_out is None else ~held_out
    b = _coarse(_surrounded(target, levels[1], reach), own_blur / side, voxel / side, device, seen)
    a = a / a.max()
    return CoarsePair(a, b * (a.sum() / b.sum()), voxel, voxel / side)


def _surrounded(density_map: DensityMap, level: float, reach: int) -> NDArray[np.float32]:
    """The density above zero within so many voxels, along each axis, of what is above the level."""
    density, kept = density_map.density, above_level(density_map, level)
    occupied = kept > 0
    box = bounding_box(occupied, reach)
    near = occupied[box]
    del occupied
    for axis in range(3):
        wide = near.copy()
        for shift in range(1, reach + 1):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            wide[tuple(ahead)] |= near[tuple(behind)]
            wide[tuple(behind)] |= near[tuple(ahead)]
        near = wide
    near &= density[box] > 0
    np.copyto(kept[box], density[box], where=near)
    return kept


def _coarse(
    density: NDArray[np.float32],
    sigma: float,
    ratio: float,
    device: torch.device,
    seen: NDArray[np.bool_] | None = None,
) -> Tensor:
    """The density under a Gaussian round each coarse voxel; lengths in voxels.

    Where not all is seen, the mean of what is.
    """
    values = torch.from_numpy(density).to(device)
    if seen is None:
        return _under_gaussians(values, sigma, ratio)
    share = torch.from_numpy(seen.astype(np.float32)).to(device)
    return _under_gaussians(values * share, sigma, ratio) / _under_gaussians(share, sigma, ratio).clamp(min=_LEAST_SEEN)


def _under_gaussians(values: Tensor, sigma: float, ratio: float) -> Tensor:
    for n in values.shape:
        places = torch.arange(math.ceil(n / ratio), device=values.device, dtype=values.dtype) * ratio
        across = torch.arange(n, device=values.device, dtype=values.dtype)
        kernel = gaussian_between(across, places, 2 * sigma**2) / (math.sqrt(2 * math.pi) * sigma)
        values = torch.tensordot(values, kernel, dims=([0], [0]))  # the axis done goes last, so three make a round
    return values
