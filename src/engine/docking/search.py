"""Docking of a neighbourhood of one map into another over all turns and all shifts.

A neighbourhood is what lies round a centre under a round soft mask w.  Since the mask looks the same however it is
turned, the local correlation of a turned neighbourhood T with what lies round a place x of the other map B,

    ρ(R, x) = Σ w (T_R - <T_R>)(B_x - <B_x>) / √(Σ w (T_R - <T_R>)² · Σ w (B_x - <B_x>)²),   <·> under w,

is the product of two vectors, each made ready once: of every turn, and of every place.  All turns and shifts are one
product of two matrices, over the places within the molecule only, which is several times less work than Fourier
transforms of the whole box take (Roseman, Ultramicroscopy 94 (2003) 225, has those).
Lengths are in voxels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..adam import Adam
from ..flow.rotations import angles_between, of_vectors
from ..maps.sampling import sample
from .motions import Motions, all_turns

_EDGE = 0.15  # of the radius, standard deviation of the mask's slope
_POSES_LOOKED_AT = 400  # of each neighbourhood, best first, before those alike are dropped
_DISTINCT_SHIFT, _DISTINCT_TURN = 5.0, math.radians(20)  # Å
_STEPS, _TURN_RATE, _SHIFT_RATE = 40, 0.06, 0.15  # radians, voxels
_FAINT = 1e-3
_NEAR = 25.0  # Å: of poses that explain as much, the one that moves less may be the right one
_MOST_AXES = 160
_PLACES_AT_ONCE = 512  # whose products with all turns stay in the cache


def offsets_within(radius: float, like: Tensor) -> Tensor:
    """Whole-numbered offsets (m, 3) no longer than a radius."""
    axis = torch.arange(-math.floor(radius), math.floor(radius) + 1, dtype=like.dtype, device=like.device)
    offsets = torch.cartesian_prod(axis, axis, axis)
    return offsets[offsets.square().sum(1) <= radius**2 + 1e-4]


class Mask:
    """A ball with a soft rim: offsets from its middle, (m, 3) voxels, and weights of sum 1, (m,)."""

    def __init__(self, radius: float, like: Tensor) -> None:
        self.offsets = offsets_within(radius * (1 + 4 * _EDGE), like)
        weights = torch.sigmoid((radius - self.offsets.norm(dim=1)) / (_EDGE * radius / 1.7))
        self.offsets = self.offsets[weights > _FAINT]
        self.weights = weights[weights > _FAINT] / weights[weights > _FAINT].sum()

    def ready(self, values: Tensor) -> Tensor:
        """Neighbourhoods (…, m) without their mean, of length 1 under the weights: their products are ρ."""
        values = values - (values * self.weights).sum(-1, keepdim=True)
        values = values * self.weights.sqrt()
        return values / values.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def correlation(mask: Mask, initial: Tensor, target: Tensor, motions: Motions) -> Tensor:
    """ρ of the neighbourhood of each motion's centre, (k,); differentiable in the motions."""
    before = motions.centres[:, None] + mask.offsets
    a, b = sample(initial, before), sample(target, motions.moved(before))
    return (mask.ready(a) * mask.ready(b)).sum(-1)


def dock(
    initial: Tensor,
    target: Tensor,
    centres: Tensor,
    places: Tensor,
    mask: Mask,
    n_turns: int,
    n_best: tuple[int, int],
    voxel: float,
) -> tuple[Motions, Tensor]:
    """The best distinct poses of each neighbourhood among all turns and places.

    Args:
        initial, target: (nz, ny, nx).
        centres: (k, 3), of the neighbourhoods, in the initial.
        places: (p, 3), where a centre may come to in the target.
        mask: of the neighbourhoods.
        n_turns: how many rotations; 1200 lie about 15° apart.
        n_best: how many poses of each: of all, and of those whose centre moves little; some may be both.
        voxel: Å.
    Returns:
        motions; ρ of each, (n,).
    """
    turns = torch.cat((torch.eye(3).to(initial)[None], all_turns(n_turns - 1, initial)))
    parts = places.split(_PLACES_AT_ONCE)
    around = torch.cat([mask.ready(sample(target, part[:, None] + mask.offsets)) for part in parts])  # (p, m)
    basis = _main_axes(around)
    around = around @ basis
    found, scores = [], []
    offsets = mask.offsets @ turns  # (r, m, 3): a neighbourhood turned by R has at o what lay at Rᵀo
    for centre in centres:
        turned = mask.ready(sample(initial, centre + offsets)) @ basis  # (r, m)
        values, turn, place = _best_poses(turned, around)
        shifts = places[place] - centre
        order = values.argsort(descending=True, stable=True)[:_POSES_LOOKED_AT]
        kept = order[_distinct(turns[turn[order]], shifts[order], n_best[0], voxel)]
        near = torch.nonzero(shifts.norm(dim=1) * voxel < _NEAR)[:, 0]
        near = near[values[near].argsort(descending=True, stable=True)[:_POSES_LOOKED_AT]]
        kept = torch.cat((kept, near[_distinct(turns[turn[near]], shifts[near], n_best[1], voxel)])).unique()
        found.append(Motions(turns[turn[kept]], centre.expand(len(kept), 3), shifts[kept]))
        scores.append(values[kept])
    return Motions.joined(found), torch.cat(scores)


def _best_poses(turned: Tensor, around: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each turn the place where it fits best, then for each place its best turn: ρ, turn, place, (r + p,) each.

    Args:
        turned: (r, m), made ready.
        around: (p, m), likewise.
    """
    turns, places = torch.arange(len(turned), device=around.device), torch.arange(len(around), device=around.device)
    best, at = turned.new_full((len(turned),), -math.inf), torch.zeros_like(turns)
    of_places: list[Tensor] = []
    turn_of_places: list[Tensor] = []
    for part, numbers in zip(around.split(_PLACES_AT_ONCE), places.split(_PLACES_AT_ONCE)):
        rho = part @ turned.T  # (part of p, r)
        of_place, of_turn = rho.max(1), rho.max(0)
        of_places.append(of_place.values)
        turn_of_places.append(of_place.indices)
        better = of_turn.values > best
        best, at = torch.where(better, of_turn.values, best), torch.where(better, numbers[of_turn.indices], at)
    return torch.cat((best, *of_places)), torch.cat((turns, *turn_of_places)), torch.cat((at, places))


def _main_axes(vectors: Tensor) -> Tensor:
    """An orthonormal basis of the few directions that hold next to all of what lies round the places, (m, few)."""
    if vectors.shape[1] <= _MOST_AXES:
        return torch.eye(vectors.shape[1]).to(vectors)
    axes = torch.linalg.eigh((vectors.T @ vectors).double().cpu())[1]
    return axes[:, -_MOST_AXES:].to(vectors)


def refine(
    initial: Tensor, target: Tensor, motions: Motions, mask: Mask, n_steps: int = _STEPS
) -> tuple[Motions, Tensor]:
    """Poses moved uphill in ρ by Adam's steps, each by itself, and ρ, (k,)."""
    turn = torch.zeros_like(motions.shifts, requires_grad=True)
    shift = torch.zeros_like(motions.shifts, requires_grad=True)
    optimiser = Adam(([turn], _TURN_RATE), ([shift], _SHIFT_RATE))
    before = motions.centres[:, None] + mask.offsets
    a = mask.ready(sample(initial, before))

    def now() -> Motions:
        return Motions(of_vectors(turn) @ motions.rotations, motions.centres, motions.shifts + shift)

    for step in range(n_steps):
        optimiser.scale_rates(0.05 ** (step / n_steps))
        optimiser.zero_grad()
        rho = (a * mask.ready(sample(target, now().moved(before)))).sum(-1)
        (-rho.sum()).backward()
        optimiser.step()
    with torch.no_grad():
        moved = now()
        rho = (a * mask.ready(sample(target, moved.moved(before)))).sum(-1)
    return Motions(moved.rotations.detach(), moved.centres, moved.shifts.detach()), rho


def _distinct(rotations: Tensor, shifts: Tensor, n_best: int, voxel: float) -> Tensor:
    """Indices of the first n of poses that differ from each other by 5 Å or 20°."""
    alive = torch.ones(len(shifts), dtype=torch.bool, device=shifts.device)
    kept: list[int] = []
    for i in range(len(shifts)):
        if len(kept) == n_best:
            break
        if not bool(alive[i]):
            continue
        kept.append(i)
        near = (shifts - shifts[i]).norm(dim=1) * voxel < _DISTINCT_SHIFT
        alive &= ~(near & (angles_between(rotations, rotations[i]) < _DISTINCT_TURN))
    return torch.tensor(kept, dtype=torch.long, device=shifts.device)
