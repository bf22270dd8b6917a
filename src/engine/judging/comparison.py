"""The numbers that tell a good morph from a bad one, taken from a flow at any moment of its training.

Points are those of training without binning: the voxels of the initial map that are above its level, each with its
density.  They are carried to t = 1 and deposited; that is the generated map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..docking.partners import Part, without
from ..errors import InputError
from ..flow.deformation import deformation
from ..flow.price import overall_strain
from ..flow.velocity import Field
from ..maps.bounding_box import bounding_box
from ..maps.density_map import DensityMap, grid_text, same_grid
from ..maps.deposit import deposit
from ..maps.fsc import correlation, fourier_shell_correlation, resolution_at
from ..maps.preparation import occupied_above
from ..transport.distance import TransportDistance
from .equal_terms import ROUND, Density, on_equal_terms
from .measures import Measures

_POINTS_AT_ONCE = 1 << 18
_FSC_THRESHOLD = 0.5  # against another map

Box = tuple[slice, slice, slice]


class Measured(NamedTuple):
    """The measures, and what they were taken from."""

    measures: Measures
    frequencies: NDArray[np.float64]  # (n_shells,), 1/Å
    fsc: NDArray[np.float64]  # (n_shells,), of generated and target
    generated: NDArray[np.float32]  # (nz, ny, nx), in units of the initial map
    displacement: NDArray[np.float64]  # (n, 3), Å, for each point: see `Comparison.support`
    volume_change: NDArray[np.float64]  # (n,)
    strain: NDArray[np.float64]  # (n,)


class Comparison:
    """Measures flows from one initial map to one target.

    Args:
        initial, target: on one grid.
        initial_level, target_level: as in training.
        device: where to compute, and where the fields are.
        validation: another map of the target's state on that grid, as it comes, say of higher resolution.
        held_out: (nz, ny, nx), voxels that training does not see.
        without_partner: parts that training leaves out, and the measures with it: of the initial they are carried, but
            have no weight.
    Attributes:
        support: (n, 3), voxel (z, y, x) of each point.
        weights: (n,), its density; 0 in a part that has no partner.
        without_partner: as given.
        device: as given.
    Raises:
        InputError: the maps are on different grids, or nothing is left of one above its level.
    """

    def __init__(
        self,
        initial: DensityMap,
        target: DensityMap,
        initial_level: float,
        target_level: float,
        device: torch.device,
        validation: DensityMap | None = None,
        held_out: NDArray[np.bool_] | None = None,
        without_partner: Sequence[Part] = (),
    ) -> None:
        for other in (target, *([] if validation is None else [validation])):
            if not same_grid(initial, other):
                raise InputError(
                    f"The maps must share a grid: {initial.name} is {grid_text(initial)}, {other.name} is "
                    f"{grid_text(other)}. Resample one of them first."
                )
        if held_out is not None and held_out.shape != initial.grid_shape:
            raise InputError(f"The held-out voxels must be on the grid of {initial.name}, {grid_text(initial)}.")
        self._validation, self._held_out = validation, held_out
        self._grid_shape, self._size = initial.grid_shape, initial.voxel_size
        self.support = _voxels(occupied_above(initial, initial_level))
        self.device = device
        self._places = torch.from_numpy(self.support).to(device).float()  # exact
        self._angstroms = torch.tensor(self._size, device=device)  # of a voxel
        self._maps = {"initial": (initial, initial_level), "target": (target, target_level)}
        self.leave_out(without_partner)

    def leave_out(self, parts: Sequence[Part]) -> None:
        """From now on measure without these parts, see `without_partner`."""
        self.without_partner = tuple(parts)
        at = tuple(self.support.T)
        initial, target = (without(self._maps[of][0], self.without_partner, of) for of in ("initial", "target"))
        counts = occupied_above(initial, self._maps["initial"][1])[at]
        self.weights = np.where(counts, initial.density[at], np.float32(0))
        self._masses = torch.from_numpy(self.weights).to(self.device)
        occupied = occupied_above(target, self._maps["target"][1])
        self._target_box = bounding_box(occupied, 0)
        wanted = _voxels(occupied)
        self._distance = TransportDistance(
            torch.from_numpy(wanted).to(self.device).float() * self._angstroms,
            torch.from_numpy(target.density[tuple(wanted.T)]).to(self.device),
            max(self._size),
        )
        self._distance.include(self._places * self._angstroms)

    def on_equal_terms(self, generated: NDArray[np.float32]) -> tuple[Box, Density, Density]:
        """A generated map, (nz, ny, nx), and the target, see `on_equal_terms`; the part is one of the whole box."""
        own = bounding_box(generated != 0, 0) if generated.any() else self._target_box
        box = _round_both(own, self._target_box, self._grid_shape)
        part, a, b = on_equal_terms(generated[box], self._target_in(box), self._size)
        z, y, x = (slice(o.start + p.start, o.start + p.stop) for o, p in zip(box, part))
        return (z, y, x), a, b

    def _target_in(self, box: Box) -> NDArray[np.float32]:
        """The target above its level, without what has no partner, in a part of the box."""
        density_map, level = self._maps["target"]
        density = density_map.density[box]
        kept = np.where(density < level, np.float32(0), density)
        for part in self.without_partner:
            if part.of == "target":
                kept[part.voxels[box]] = 0
        return kept

    @torch.no_grad()
    def measure(self, field: Field, step: int, seconds: float, loss: float) -> Measured:
        """Take all measures of a flow.

        Args:
            field: what the flow follows; it takes positions in units of the longest box side.
            step, seconds, loss: passed on.
        """
        side = max(self._grid_shape)  # voxels
        moved, change = deformation(field, (self._places + 0.5) / side, self._size)
        volume_change, stretch, strain = (values.numpy() for values in change[1:])
        mean_strain = overall_strain(change.strain, torch.from_numpy(self.weights).to(change.strain))
        del change  # the gradients of all points
        carried = self._places + moved * side
        box, generated = self._deposited(carried)
        target = self._target_in(box)
        total = float(self.weights.sum(dtype=np.float64))
        outside = 1 - float(generated.sum(dtype=np.float64)) / total
        part, *alike = on_equal_terms(generated, target, self._size)
        alike_by, on_held_out = correlation(*alike), self._on_held_out(box, part, *alike)
        del alike  # what follows takes as much memory
        frequencies, fsc = fourier_shell_correlation(generated, target, self._size, self._grid_shape)
        del target
        whole = np.zeros(self._grid_shape, np.float32)
        whole[box] = generated
        measures = Measures(
            step=step,
            seconds=seconds,
            loss=loss,
            correlation=alike_by,
            resolution=resolution_at(frequencies, fsc, _FSC_THRESHOLD),
            transport_distance=self._distance.to(carried * self._angstroms, self._masses),
            mass_outside=outside if outside > 1e-6 else 0.0,  # float32 sums differ by less
            volume_change_low=self._percentile(volume_change, 1),
            volume_change_high=self._percentile(volume_change, 99),
            largest_stretch=self._percentile(stretch, 99.9),
            folded=self._mean(volume_change <= 0),
            strain=mean_strain,
            held_out=on_held_out,
            validation=self._resolution_with_validation(whole),
        )
        displacement = moved.cpu().double().numpy() * (side * np.array(self._size))
        return Measured(measures, frequencies, fsc, whole, displacement, volume_change, strain)

    def _deposited(self, carried: torch.Tensor) -> tuple[Box, NDArray[np.float32]]:
        """The generated map, (n, 3) voxels, in a part of the box that holds it and the target, with room round both."""
        inside = carried.nan_to_num(0).clamp(-1, max(self._grid_shape)).floor().long()
        lowest, highest = inside.amin(0).clamp(min=0).tolist(), inside.amax(0).tolist()
        own = [slice(a, min(b + 2, n)) for a, b, n in zip(lowest, highest, self._grid_shape)]
        nz, ny, nx = (max(0, along.stop - along.start) for along in own)
        if nz * ny * nx == 0:  # all have left the box
            box = _round_both(self._target_box, self._target_box, self._grid_shape)
            return box, np.zeros([along.stop - along.start for along in box], np.float32)
        corner = torch.tensor(lowest).to(carried)  # places less whole numbers keep all their digits
        density = torch.zeros((nz, ny, nx), device=carried.device)
        for points, masses in zip(carried.split(_POINTS_AT_ONCE), self._masses.split(_POINTS_AT_ONCE)):
            density += deposit(points - corner, masses, (nz, ny, nx))
        box = _round_both(own, self._target_box, self._grid_shape)
        generated = np.zeros([along.stop - along.start for along in box], np.float32)
        generated[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(own, box))] = density.cpu().numpy()
        return box, generated

    def _on_held_out(self, box: Box, part: Box, generated: np.ndarray, target: np.ndarray) -> float:
        """Of maps in a part of the box of the whole."""
        if self._held_out is None or not self._held_out.any():
            return math.nan
        own = self._held_out[box][part]
        return correlation(generated[own], target[own])

    def _resolution_with_validation(self, generated: np.ndarray) -> float:
        if self._validation is None:
            return math.nan
        frequencies, fsc = fourier_shell_correlation(generated, self._validation.density, self._size)
        return resolution_at(frequencies, fsc, _FSC_THRESHOLD)

    def _mean(self, values: np.ndarray) -> float:
        return float(np.average(values, weights=self.weights.astype(np.float64)))

    def _percentile(self, values: np.ndarray, percent: float) -> float:
        """The value that this share of the mass does not exceed; not a number where one of them is not."""
        if np.isnan(values).any():
            return math.nan
        order = np.argsort(values)
        below = np.cumsum(self.weights[order], dtype=np.float64)
        return float(values[order][np.searchsorted(below, percent / 100 * below[-1])])


def _round_both(a: Sequence[slice], b: Sequence[slice], grid_shape: tuple[int, int, int]) -> Box:
    """The smallest box round two, with room for what filters spread."""
    z, y, x = (
        slice(max(0, min(one.start, other.start) - ROUND), min(n, max(one.stop, other.stop) + ROUND))
        for one, other, n in zip(a, b, grid_shape)
    )
    return z, y, x


def _voxels(occupied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n, 3), those that are (z, y, x)."""
    voxels: NDArray[np.int64] = np.argwhere(occupied)
    return voxels
