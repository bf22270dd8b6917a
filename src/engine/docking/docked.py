"""Domains of a map that move as rigid bodies to become another map, however far: docked, then named.

    1. What lies round many centres of the initial is docked into the target over all turns and shifts: `search`.
    2. Supervoxels choose among the poses found: `energy`, `labelling`.
    3. The motions chosen are improved together, `poses`; what nothing explains is docked into what is left of the
       target; supervoxels choose again.

Single poses are not to be trusted, right ones having no better scores than wrong ones where two parts look alike.  That
the target is explained once, and by few motions, tells them apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..ranks import ALONE, Ranks
from .coarse import CoarsePair
from .energy import Energy, Labels
from .labelling import Labelling, beginnings, best_labellings, settle
from .motions import Motions
from .pieces import Pieces, cut, points_above
from .poses import settle_poses
from .search import Mask, dock, refine
from .turns import turned_otherwise

_MOLECULE = 0.2  # of the maximum: voxels that pieces are made of, and where they may go
RIM = 0.08  # of the maximum: voxels that supervoxels are made of
_PIECE = 4500.0  # Å³ a centre; with the ball below, neighbouring ones overlap
_FEWEST_PIECES, _MOST_PIECES = 12, 96  # most: above 300 kDa they lie farther apart
_BALL = 10.0  # Å, radius of what is docked: 40 residues or so
_TURNS = 1200  # 15° apart
_POSES = (4, 2)  # of each piece: the best, and the best of those near
_LEAST_RHO = 0.3
_ALIKE = 1.5  # Å: motions that nowhere in a piece differ by more are one
_REACH = 60.0  # Å from its piece that a motion is open to supervoxels
SUPERVOXEL = 1500.0  # Å³: a flow of many small domains is slow to train and ends farther off
_FEWEST_SUPERVOXELS, _MOST_SUPERVOXELS = 20, 300
_ROUNDS = 3
_FEW_BEGINNINGS = 2  # where another set of supervoxels is explained already
_UNEXPLAINED = 0.55  # 1 - ρ above which a supervoxel counts as not explained
_POSE_STEPS = 60


class Poses(NamedTuple):
    """Where pieces of the initial fit the target.

    Attributes:
        motions: n of them.
        scores: (n,), ρ of each, see `search`.
    """

    motions: Motions
    scores: Tensor


@dataclasses.dataclass(frozen=True)
class DockedDomains:
    """Rigid domains and what they explain.  Lengths are in voxels of `pair`.

    Attributes:
        pair: the maps as docking saw them.
        motions: of the domains.
        supervoxels: of the initial.
        labels: (n,), domain of each supervoxel.
        energy: see `energy`.
        correlation: of the whole with the target, both as docking saw them.
    """

    pair: CoarsePair
    motions: Motions
    supervoxels: Pieces
    labels: Labels
    energy: float
    correlation: float

    @property
    def n_domains(self) -> int:
        return self.motions.count

    def moved(self, positions: Tensor) -> Tensor:
        """Where positions (n, 3), in voxels of `pair`, come to with the domain of the nearest supervoxel."""
        nearest = torch.cdist(positions, self.supervoxels.centres).argmin(1)
        domain = torch.from_numpy(self.labels).to(nearest.device)[nearest]
        return self.motions.moved(positions)[domain, torch.arange(len(positions), device=domain.device)]


def supervoxels_of(pair: CoarsePair, seed: int = 0) -> Pieces:
    """The small pieces of the initial that choose among motions."""
    n = min(_MOST_SUPERVOXELS, max(_FEWEST_SUPERVOXELS, round(volume_of(pair) / SUPERVOXEL)))
    return cut(*points_above(pair.initial, RIM), n, seed)


def dock_domains(
    pair: CoarsePair, seed: int = 0, n_cuts: int = 1, poses: Sequence[Poses] | None = None
) -> list[DockedDomains]:
    """Find the domains and their motions, for several sets of supervoxels; the lowest energy first.

    A supervoxel that lies across a border cannot follow both sides, so that it matters how the molecule is cut.

    Args:
        pair: both maps, see `coarse_pair`.
        seed: of whatever is left to chance.
        n_cuts: how many sets of supervoxels.
        poses: what `search_poses` has found on each rank, in their order; by default all is searched here.
    """
    candidates = unlike_poses(pair, poses or [search_poses(pair, seed)])
    found: list[DockedDomains] = []
    for k in range(n_cuts):
        found.append(_explained(pair, supervoxels_of(pair, seed + k), candidates, seed, found[:1]))
    return sorted(found, key=lambda each: each.energy)


def search_poses(pair: CoarsePair, seed: int = 0, ranks: Ranks = ALONE) -> Poses:
    """The poses of what lies round a rank's share of many centres of the initial; given on the CPU."""
    n_pieces = min(_MOST_PIECES, max(_FEWEST_PIECES, round(volume_of(pair) / _PIECE)))
    centres = cut(*points_above(pair.initial, _MOLECULE), n_pieces, seed).centres
    own = centres.tensor_split(ranks.n)[ranks.number]  # where ranks are many, some have none
    if len(own) == 0:
        return Poses(Motions.identity(torch.zeros(1)).chosen([]), torch.zeros(0))
    places, _ = points_above(pair.target, _MOLECULE * float(pair.target.max()))
    ball = Mask(_BALL / pair.voxel, pair.initial)
    motions, _ = dock(pair.initial, pair.target, own, places, ball, _TURNS, _POSES, pair.voxel)
    motions, rho = refine(pair.initial, pair.target, motions, ball)
    return Poses(motions.to(rho.cpu()), rho.cpu())


def unlike_poses(pair: CoarsePair, poses: Sequence[Poses]) -> Motions:
    """The good ones of all ranks' poses, the best first, without those that are like a better one."""
    rho = torch.cat([each.scores for each in poses])
    order = rho.argsort(descending=True, stable=True)
    motions = Motions.joined([each.motions for each in poses]).chosen(order[rho[order] > _LEAST_RHO])
    return _unlike(motions.to(pair.initial), pair.voxel)


def at_detail(docked: DockedDomains, fine: CoarsePair) -> DockedDomains:
    """The same domains with their poses as finer maps have them, turned otherwise where these tell it.

    Energy and correlation stay those of the maps in which they were docked.
    """
    ratio = docked.pair.ratio / fine.ratio
    points, weights = points_above(fine.initial, RIM)
    nearest = torch.cdist(points / ratio, docked.supervoxels.centres).argmin(1)
    domain = torch.from_numpy(docked.labels).to(nearest.device)[nearest]
    names, domain = domain.unique(return_inverse=True)
    motions = docked.motions.chosen(names).scaled(ratio)
    motions = turned_otherwise(fine, points, weights, domain, motions)
    motions, _ = settle_poses(fine, points, weights, domain, motions, _POSE_STEPS)
    labels = torch.searchsorted(names, torch.from_numpy(docked.labels).to(names)).clamp(max=len(names) - 1)
    return dataclasses.replace(docked, motions=motions.scaled(1 / ratio), labels=labels.cpu().numpy())


def _explained(
    pair: CoarsePair, supervoxels: Pieces, candidates: Motions, seed: int, before: Sequence[DockedDomains]
) -> DockedDomains:
    """The explanation of lowest energy for one set of supervoxels; begun with what was found for other sets, if any."""
    known = [docked.motions for docked in before]
    energy = _energy_of(pair, supervoxels, Motions.joined([*known, candidates]), sum(each.count for each in known))
    starts = beginnings(energy, seed)
    if before:
        starts = starts[:_FEW_BEGINNINGS]
        first = 1  # the label of a motion, the first being not to move
        for docked in before:
            nearest = torch.cdist(supervoxels.centres, docked.supervoxels.centres).argmin(1).cpu().numpy()
            starts.append(docked.labels[nearest] + first)
            first += docked.n_domains
    best = best_labellings(energy, starts)[0]
    for turn in range(_ROUNDS):
        labels, motions, _ = _improved(energy, best)
        others = [motions]
        if turn < _ROUNDS - 1:
            others.append(candidates)
        if turn == 0:
            others.append(_left_over(energy, best))
        energy = _energy_of(pair, supervoxels, Motions.joined(others), n_sure=motions.count)
        best = settle(energy, labels + 1)
    labels, motions, correlation = _improved(energy, best)
    return DockedDomains(pair, motions, supervoxels, labels, best.energy, correlation)


def volume_of(pair: CoarsePair) -> float:
    """Å³ of the molecule, about 1.4 for each dalton; it hangs on no level."""
    return len(points_above(pair.initial, _MOLECULE)[0]) * pair.voxel**3


def _unlike(motions: Motions, voxel: float) -> Motions:
    """Without those that take their piece where an earlier one would take it."""
    corners = torch.cat((torch.zeros(1, 3), torch.eye(3), -torch.eye(3))).to(motions.shifts) * (_BALL / voxel)
    pieces = motions.centres[:, None] + corners
    ends = motions.moved(pieces)
    kept: list[int] = []
    for k in range(motions.count):
        if kept:
            earlier = motions.chosen(kept).moved(pieces[k])
            if bool(((earlier - ends[k]).norm(dim=2).amax(1) * voxel < _ALIKE).any()):
                continue
        kept.append(k)
    return motions.chosen(kept)


def _energy_of(pair: CoarsePair, supervoxels: Pieces, motions: Motions, n_sure: int = 0) -> Energy:
    """With the identity before all motions; the first `n_sure` of these are open to every supervoxel."""
    candidates = Motions.joined([Motions.identity(pair.initial), motions])
    reach = torch.full((candidates.count,), _REACH).to(pair.initial)
    reach[: n_sure + 1] = float("inf")
    return Energy(pair, supervoxels, candidates, reach)


def _improved(energy: Energy, found: Labelling) -> tuple[Labels, Motions, float]:
    """Only the motions that are used, their poses improved, and which of them each supervoxel has."""
    used, labels = np.unique(found.labels, return_inverse=True)
    pieces = energy.supervoxels
    domain = torch.from_numpy(labels).to(pieces.owner.device)[pieces.owner]
    motions = energy.candidates.chosen(used.tolist())
    motions, value = settle_poses(energy.pair, pieces.points, pieces.weights, domain, motions, _POSE_STEPS)
    return labels, motions, value


def _left_over(energy: Energy, found: Labelling) -> Motions:
    """Poses, in what is left of the target, of what lies round the supervoxels that are not explained."""
    misfit = energy.misfit[np.arange(energy.n), found.labels]
    bad = torch.from_numpy(np.flatnonzero(misfit > _UNEXPLAINED))
    pair, pieces = energy.pair, energy.supervoxels
    left = energy.residual_map(found.labels).clamp(min=0)
    places, _ = points_above(left, _MOLECULE * float(pair.target.max()))
    if len(bad) == 0 or len(places) == 0:
        return Motions.identity(pair.initial).chosen([])
    ball = Mask(_BALL / pair.voxel, pair.initial)
    centres = pieces.centres[bad.to(pieces.centres.device)]
    motions, _ = dock(pair.initial, left, centres, places, ball, _TURNS, _POSES, pair.voxel)
    return refine(pair.initial, left, motions, ball)[0]
