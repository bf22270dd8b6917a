"""Recipe auto's docked starts: both maps docked in several cuts, and the flows that begin from what was found."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
import torch
from numpy.typing import NDArray

from ..docking.coarse import BLUR, VOXEL, CoarsePair, coarse_pair
from ..docking.docked import DockedDomains, Poses, at_detail, dock_domains, search_poses, volume_of
from ..docking.field import domain_field, symmetric_field
from ..docking.partners import Part, parts_without_partner, without
from ..docking.wholes import dock_segments
from ..flow.domains import DomainField
from ..flow.symmetry import Symmetry
from ..maps.density_map import DensityMap
from ..maps.segments import Segments
from ..options.training import TrainingOptions
from ..ranks import Ranks
from .starts import Start

_FINE_VOXEL = 2.0  # Å, at least, where docked domains are put in place at the target's own detail

Maps = tuple[DensityMap, DensityMap]


class DockedStarts(NamedTuple):
    """What docking has found."""

    fields: list[DomainField]  # of the docked starts in turn
    parts: list[Part]  # that have no partner, see `without_parts`
    note: str  # for the user


@dataclasses.dataclass(frozen=True)
class Docking:
    """How two maps, initial and target on one grid, are docked; see `AutoTraining` for the rest."""

    maps: Maps
    options: TrainingOptions
    target_blur: float
    device: torch.device
    held_out: Optional[NDArray[np.bool_]]
    segments: Optional[Segments]

    @property
    def volume(self) -> float:
        """Å³, of the molecule as docking sees it."""
        return volume_of(self._coarse)

    def search(self, ranks: Ranks) -> Poses:
        """A rank's share of what takes longest."""
        return search_poses(self._coarse, self.options.seed, ranks)

    def run(self, starts: Sequence[Start], symmetry: Symmetry | None, poses: Sequence[Poses]) -> DockedStarts:
        """Dock, once more where parts without partner are left out; it takes seconds to minutes and changes nothing.

        Args:
            poses: what `search` has found on each rank, in their order; the second time all is searched here.
        """
        begun_docked = list(itertools.takewhile(lambda begun: begun.flow == "docked", starts))
        n_cuts = max(1, sum(begun.number is not None and not begun.symmetry for begun in begun_docked))
        docking, found = self, self._found(n_cuts, poses)
        if parts := parts_without_partner(found[0], self.maps[0]):
            docking = dataclasses.replace(self, maps=without_parts(self.maps, parts))
            found = docking._found(n_cuts)
        fine = docking._pair(0.0, _FINE_VOXEL)
        found = [at_detail(each, fine) for each in found]
        of_each = ", ".join(str(each.n_domains) for each in found)
        how = f"in {len(found)} cuts of the molecule" if self.segments is None else "of the segments given"
        fields = [self._field(begun, found, symmetry) for begun in begun_docked]
        return DockedStarts(fields, parts, f"Docked domains: {of_each}, {how}.")

    def _field(self, begun: Start, found: Sequence[DockedDomains], symmetry: Symmetry | None) -> DomainField:
        shape = self.maps[0].grid_shape
        if begun.symmetry is None:
            return domain_field(found[begun.number or 0], shape)
        assert symmetry is not None
        return symmetric_field(found, symmetry, shape, self.options.seed)

    def _found(self, n_cuts: int, poses: Sequence[Poses] | None = None) -> list[DockedDomains]:
        if self.segments is not None:
            return [dock_segments(self._coarse, self.segments, self.options.seed, poses)]
        return dock_domains(self._coarse, self.options.seed, n_cuts, poses)

    @functools.cached_property
    def _coarse(self) -> CoarsePair:
        """It is small and wanted several times, and large maps take seconds to look at."""
        return self._pair()

    def _pair(self, blur: float = BLUR, voxel: float = VOXEL) -> CoarsePair:
        device = torch.device("cpu") if self.device.type == "mps" else self.device
        levels = self.options.initial_level, self.options.target_level
        return coarse_pair(*self.maps, levels, self.target_blur, device, blur, voxel, self.held_out)


def without_parts(maps: Maps, parts: Sequence[Part]) -> Maps:
    """Both maps without what has no partner: it would be driven away, and draw what is beside it along."""
    return without(maps[0], parts, "initial"), without(maps[1], parts, "target")
