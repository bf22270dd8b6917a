"""A part that is to stay where it is: the motion of everything else is then told relative to it.

Motion depends on the frame in which two maps were laid on each other.  At each time the part's points are taken back to
where they started by one turn and shift, in the least squares of their mass: Kabsch, Acta Cryst. A32 (1976) 922; and
all else is moved along.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..docking.motions import best_motion
from ..errors import InputError, named
from ..maps.density_map import DensityMap
from ..maps.preparation import above_level


class StillPart:
    """Points of a map that are to stay; remembers what was last taken out.

    Args:
        density_map: the map that is carried.
        level: map units.
        mask: (nz, ny, nx), from 0 to 1: how much of each voxel belongs to the part.
        name: of the mask, for messages.
        device: where to compute.
    Attributes:
        points: (n, 3), at t = 0, units of the longest box side.
        turn: degrees, and
        shift: Å, of the part's middle: what was taken out last.
    Raises:
        InputError: nothing of the map above the level lies in the part.
    """

    def __init__(
        self, density_map: DensityMap, level: float, mask: NDArray[np.float32], name: str, device: torch.device
    ) -> None:
        weights = above_level(density_map, level) * mask
        support = np.argwhere(weights > 0)
        if len(support) < 3:
            raise InputError(
                f"Nothing of {density_map.name} above level {level:g} lies in {name} ({named('relative_to')}): give a "
                f"part of the molecule, fitted to the map."
            )
        side = max(density_map.grid_shape)
        self.points = torch.from_numpy((support + 0.5) / side).float().to(device)
        self._weights = torch.from_numpy(weights[tuple(support.T)]).to(self.points)
        self._length = side * max(density_map.voxel_size)  # Å
        self.turn, self.shift = 0.0, 0.0

    def taken_out(self, points: Tensor, moved: Tensor, own: Tensor) -> Tensor:
        """How far points (n, 3) have gone relative to the part, (n, 3).

        Args:
            points: where they started.
            moved: how far they have gone, (n, 3).
            own: how far the part's points have.
        """
        if not own.any():
            return moved
        start, end = self.points.cpu(), (self.points + own).cpu()  # Apple's GPUs have no float64
        found = best_motion(start[None], end[None], self._weights.cpu()[None])
        rotation, centre, shift = (part[0].to(points) for part in (found.rotations, found.centres, found.shifts))
        self.turn = math.degrees(math.acos(min(1.0, max(-1.0, (float(rotation.trace()) - 1) / 2))))
        self.shift = float(shift.norm()) * self._length
        # x → Rᵀ (x - c - s) + c undoes the part's motion; as a difference, which keeps digits.
        away = points - centre
        return (moved - shift) @ rotation + away @ rotation - away

    def text(self, name: str) -> str:
        """What is said of it."""
        return (
            f"Relative to {name}, which turned by {self.turn:.1f}° and shifted by {self.shift:.1f} Å to the end: that "
            f"is taken out of every frame."
        )
