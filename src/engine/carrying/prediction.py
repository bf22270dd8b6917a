"""The pseudo-trajectory: a map, or points of space such as atoms, carried along a trained flow or back along it.

Forwards, a trajectory starts from what lies on the initial map's side.  Backwards (`inverse`), it starts at time 0 from
what lies on the target's side, and ends at time 1 where the flow would have brought it from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError, named
from ..flow.chain import displacements, inverse_displacement
from ..flow.velocity import Field
from ..maps.density_map import DensityMap
from ..maps.deposit import deposit
from ..maps.preparation import above_level
from ..options.choices import N_EULER_STEPS
from .still_part import StillPart

CLOSE_ENOUGH = 0.05  # Å; a place from which the flow leads so near to a point is where that point comes from

_POINTS_AT_ONCE = 1 << 20
_CPU = torch.device("cpu")


class Frame(NamedTuple):
    number: int  # its place in the series, from 0
    time: float  # from 0 to 1
    density_map: DensityMap  # on the grid of the map that was carried
    mass_outside: float  # share of the mass that has left the box
    residual: float  # Å; no distance that the inverse flow left is larger, 0 forwards
    mass_unsolved: float  # share of the mass that it left farther off than CLOSE_ENOUGH


def even_times(n_frames: int) -> list[float]:
    """n_frames times from 0 to 1.

    Raises:
        InputError: fewer than two.
    """
    if n_frames < 2:
        raise InputError(f"A trajectory needs 2 frames or more, not {n_frames}.")
    return [i / (n_frames - 1) for i in range(n_frames)]


def predict(
    density_map: DensityMap,
    field: Field | Sequence[Field],
    device: torch.device,
    level: float = 0.0,
    times: Sequence[float] = tuple(even_times(11)),
    *,
    reverse: bool = False,
    inverse: bool = False,
    n_steps: int = N_EULER_STEPS,
    integrator: str | None = None,
    still: StillPart | None = None,
) -> Iterator[Frame]:
    """Carry a map along the flow and yield it at the given times, one frame in memory at a time.

    Every voxel above zero and not below the level is carried with its own density, so the frame at time 0 is the map
    itself above that level.

    Args:
        density_map: the map to carry, as a rule the initial map of the training, or its target for the inverse.
        field: the trained field, or those of several legs, over which the times then run, see `legs`.
        device: where to compute.
        level: map units.
        times: from 0 to 1, ascending.
        reverse: number the frames from the last time to the first.
        inverse: carry a map that lies on the target's side back to the initial's.
        n_steps, integrator: as in `flow.displacements`.
        still: a part of the map relative to which it moves.
    Yields:
        The frames, in ascending order of time; in descending order for the inverse, which is how they come about.
    Raises:
        InputError: the times are no such times, or nothing is left above the level.
    """
    check_times(times)
    density = above_level(density_map, level)
    support = np.argwhere(density > 0)
    if len(support) == 0:
        raise InputError(f"Nothing is left of {density_map.name} above level {level:g}. Lower the level.")
    weights = torch.from_numpy(density[tuple(support.T)]).to(device)
    places = torch.from_numpy(support.astype(np.float32)).to(device)  # exact: frame 0 is the map itself
    way = _way(field, device, n_steps, integrator, still)
    return _frames(density_map, places, weights, way, list(times), reverse, inverse)


def carry(
    positions: NDArray[np.floating[Any]],
    density_map: DensityMap,
    field: Field | Sequence[Field],
    times: Sequence[float] = (1.0,),
    *,
    device: torch.device = _CPU,
    n_steps: int = N_EULER_STEPS,
    integrator: str | None = None,
    still: StillPart | None = None,
) -> NDArray[np.float64]:
    """Where the flow takes points of space, such as atoms: each its own way, not one interpolated between voxels.

    Args:
        positions: (n, 3), Å, ordered (z, y, x), in the frame of the map.
        density_map: the map that the field was trained on; of it only the grid is used.
        field: the trained field, or those of several legs.
        times: from 0 to 1, ascending.
        device: where to compute.
        n_steps, integrator: as in `flow.displacements`.
        still: a part of the map relative to which they move.
    Returns:
        (len(times), n, 3), Å.
    Raises:
        InputError: the times are no such times, or the flow leads to what is no number.
    """
    return _carried(positions, density_map, _way(field, device, n_steps, integrator, still), times, device, False)[0]


def carry_back(
    positions: NDArray[np.floating[Any]],
    density_map: DensityMap,
    field: Field | Sequence[Field],
    times: Sequence[float] = (1.0,),
    *,
    device: torch.device = _CPU,
    n_steps: int = N_EULER_STEPS,
    integrator: str | None = None,
    still: StillPart | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the inverse flow takes points that lie on the target's side; arguments and errors as for `carry`.

    Returns:
        (len(times), n, 3), Å, at time 0 the positions themselves; (n,), Å, how far from each position the flow ends
        that starts from its place at time 1.
    """
    return _carried(positions, density_map, _way(field, device, n_steps, integrator, still), times, device, True)


def check_times(times: Sequence[float]) -> None:
    """Raises InputError unless there are times, they ascend, and lie from 0 to 1."""
    inside = all(0 <= time <= 1 for time in times)
    if not times or not inside or any(b <= a for a, b in zip(times, times[1:])):
        said = ", ".join(f"{time:g}" for time in times) or "none"
        raise InputError(
            f"Times ({named('times')}) must ascend and lie from 0 to 1, such as 0,0.25,0.5,1; they are {said}."
        )


class _Way(NamedTuple):
    """What the points follow, and how."""

    fields: Sequence[Field]  # of the legs
    n_steps: int
    integrator: str | None
    still: StillPart | None

    def back(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return inverse_displacement(self.fields, points, self.n_steps, self.integrator)

    def moves(self, points: Tensor, times: Sequence[float], back: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """(index of the time, how far from `points`), given the inverse displacement where that is the way to go."""
        if self.still is None:
            yield from self._moves(points, times, back)
            return
        own_back = None if back is None else self.back(self.still.points)[0]
        of_part = self._moves(self.still.points, times, own_back)
        for (i, moved), (_, own) in zip(self._moves(points, times, back), of_part):
            yield i, self.still.taken_out(points, moved, own)

    def _moves(self, points: Tensor, times: Sequence[float], back: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        if back is None:
            yield from enumerate(displacements(self.fields, points, times, self.n_steps, self.integrator))
            return
        # The way back is the way there from where it starts: what passes through the point at the end.
        times_there = [1 - time for time in reversed(times)]
        moves = displacements(self.fields, points + back, times_there, self.n_steps, self.integrator)
        for i, moved in zip(reversed(range(len(times))), moves):
            yield i, back + moved if times[i] else torch.zeros_like(points)


def _way(
    field: Field | Sequence[Field],
    device: torch.device,
    n_steps: int,
    integrator: str | None,
    still: StillPart | None,
) -> _Way:
    fields = [field] if isinstance(field, Field) else list(field)
    return _Way([leg.to(device) for leg in fields], n_steps, integrator, still)


def _carried(
    positions: NDArray[np.floating[Any]],
    density_map: DensityMap,
    way: _Way,
    times: Sequence[float],
    device: torch.device,
    inverse: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    check_times(times)
    size, origin = np.array(density_map.voxel_size), np.array(density_map.origin)
    side = max(density_map.grid_shape)
    points = torch.from_numpy(((positions - origin) / size + 0.5) / side).float().to(device)
    back, residuals = way.back(points) if inverse else (None, points.new_zeros(len(points)))
    result = np.empty((len(times), *positions.shape))
    for i, moved in way.moves(points, times, back):
        result[i] = positions + moved.cpu().double().numpy() * (side * size)
    if not np.isfinite(result).all():
        raise InputError("The flow leads to places that are not numbers: its training had diverged. Use other weights.")
    return result, residuals.cpu().double().numpy() * (side * size.max())


def _frames(
    density_map: DensityMap,
    places: Tensor,
    weights: Tensor,
    way: _Way,
    times: list[float],
    reverse: bool,
    inverse: bool,
) -> Iterator[Frame]:
    voxel = 1 / max(density_map.grid_shape)
    exact = torch.float32 if places.device.type == "mps" else torch.float64
    total = float(weights.sum(dtype=exact))
    back, residual, unsolved = None, 0.0, 0.0
    if inverse:
        back, residuals = way.back((places + 0.5) * voxel)
        residuals = residuals / voxel * max(density_map.voxel_size)
        residual = float(residuals.max())
        unsolved = float(weights[~(residuals <= CLOSE_ENOUGH)].sum(dtype=exact)) / total
    for i, moved in way.moves((places + 0.5) * voxel, times, back):
        carried = torch.zeros(density_map.grid_shape, device=places.device)
        for start in range(0, len(places), _POINTS_AT_ONCE):
            part = slice(start, start + _POINTS_AT_ONCE)
            carried += deposit(places[part] + moved[part] / voxel, weights[part], density_map.grid_shape)
        del moved
        frame = density_map.with_density(carried.cpu().numpy())
        del carried
        outside = 1 - float(frame.density.sum(dtype=np.float64)) / total
        number = len(times) - 1 - i if reverse else i
        outside = outside if outside > 1e-6 else 0.0
        yield Frame(number, times[i], frame, outside, residual, unsolved)
        del frame
