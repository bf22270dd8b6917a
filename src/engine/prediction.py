"""The pseudo-trajectory: a map carried along a trained flow, in its own units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .density_map import DensityMap
from .deposit import deposit
from .errors import InputError
from .flow import displacements
from .preparation import above_level
from .velocity import VelocityField

_POINTS_AT_ONCE = 1 << 20


class Frame(NamedTuple):
    number: int  # its place in the series, from 0
    time: float  # from 0 to 1
    density_map: DensityMap  # on the grid of the map that was carried
    mass_outside: float  # share of the mass that has left the box


def predict(
    density_map: DensityMap,
    velocity: VelocityField,
    device: torch.device,
    level: float = 0.0,
    n_frames: int = 11,
    reverse: bool = False,
) -> Iterator[Frame]:
    """Carry a map along the flow and yield it at n_frames times, ascending from 0 to 1.

    Every voxel above zero and not below the level is carried with its own density, so the frame at time 0 is the map
    itself above that level.

    Args:
        density_map: the map to carry, as a rule the initial map of the training.
        velocity: the trained field.
        device: where to compute.
        level: map units.
        n_frames: 2 or more.
        reverse: number the frames from time 1 to 0.
    Raises:
        InputError: fewer than two frames, or nothing is left above the level.
    """
    if n_frames < 2:
        raise InputError(f"A trajectory needs 2 frames or more, not {n_frames}.")
    density = above_level(density_map, level)
    support = np.argwhere(density > 0)
    if len(support) == 0:
        raise InputError(f"Nothing is left of {density_map.name} above level {level:g}. Lower the level.")
    return _frames(density_map, density, support, velocity.to(device), device, n_frames, reverse)


@torch.no_grad()
def carry(
    positions: NDArray[np.floating[Any]],
    density_map: DensityMap,
    velocity: VelocityField,
    times: Sequence[float] = (1.0,),
) -> NDArray[np.float64]:
    """Where the flow takes points of space, such as atoms.

    Args:
        positions: (n, 3), Å, ordered (z, y, x), in the frame of the map.
        density_map: the map that the field was trained on; of it only the grid is used.
        velocity: the trained field.
        times: from 0 to 1, ascending.
    Returns:
        (len(times), n, 3), Å.
    """
    size, origin = np.array(density_map.voxel_size), np.array(density_map.origin)
    side = max(density_map.grid_shape)
    device = next(velocity.parameters()).device
    points = torch.from_numpy(((positions - origin) / size + 0.5) / side).float().to(device)
    moves = displacements(velocity, points, list(times))
    return np.stack([positions + moved.cpu().double().numpy() * (side * size) for moved in moves])


def _frames(
    density_map: DensityMap,
    density: NDArray[np.float32],
    support: NDArray[np.int64],
    velocity: VelocityField,
    device: torch.device,
    n_frames: int,
    reverse: bool,
) -> Iterator[Frame]:
    voxel = 1 / max(density_map.grid_shape)
    weights = torch.from_numpy(density[tuple(support.T)]).to(device)
    total = float(weights.sum(dtype=torch.float32 if device.type == "mps" else torch.float64))
    places = torch.from_numpy(support).to(device).float()  # exact: the frame at time 0 is the map itself
    times = [i / (n_frames - 1) for i in range(n_frames)]
    for i, moved in enumerate(displacements(velocity, (places + 0.5) * voxel, times)):
        carried = torch.zeros(density_map.grid_shape, device=device)
        for start in range(0, len(places), _POINTS_AT_ONCE):
            part = slice(start, start + _POINTS_AT_ONCE)
            carried += deposit(places[part] + moved[part] / voxel, weights[part], density_map.grid_shape)
        result = carried.cpu().numpy()
        outside = 1 - float(result.sum(dtype=np.float64)) / total
        number = n_frames - 1 - i if reverse else i
        yield Frame(number, times[i], density_map.with_density(result), outside if outside > 1e-6 else 0.0)
