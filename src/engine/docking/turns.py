"""Whole domains turned otherwise at the places where they have come to.

What lies round a single centre may look alike from several sides; a whole domain seldom does.  With all others where
they are, |B - Σ D|² is least where the product of the domain with what the others leave of the target is largest, since
|D|² stays about the same.  All turns about the domain's centre are looked through, the best distinct ones are moved
uphill, and one that ends higher than the present pose takes its place.
Lengths are in coarse voxels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..adam import Adam
from ..flow.rotations import angles_between, of_vectors
from ..maps.deposit import deposit
from ..maps.sampling import sample
from .coarse import CoarsePair
from .motions import Motions, all_turns

_TURNS = 1200  # 15° apart
_TRIED = 6  # of each domain
_DISTINCT = math.radians(25)
_STEPS, _TURN_RATE, _SHIFT_RATE, _LAST_RATE = 40, 0.05, 0.15, 0.05  # radians, voxels; the last as a share of the first
_MOST_POINTS = 1500  # of a domain, while turns are looked through
_GAIN = 0.001  # of the product, by which another turn must be better


def turned_otherwise(pair: CoarsePair, points: Tensor, weights: Tensor, domain: Tensor, motions: Motions) -> Motions:
    """The motions, those replaced for which another turn explains more.

    Args:
        points: (n, 3), of the initial.
        weights: (n,).
        domain: (n,), motion that each point follows; every motion has points.
        motions: k of them.
    """
    nz, ny, nx = pair.target.shape
    turns = torch.cat((torch.eye(3).to(points)[None], all_turns(_TURNS - 1, points)))
    for k in range(motions.count):
        own = domain == k
        rest = torch.nonzero(~own)[:, 0]
        ends = motions.moved(points[rest])[domain[rest], torch.arange(len(rest), device=rest.device)]
        left = pair.target - deposit(ends, weights[rest], (nz, ny, nx))
        better = _best_turn(left, points[own], weights[own], motions.chosen([k]), turns)
        motions = Motions.joined([motions.chosen(list(range(k))), better, motions.chosen(range(k + 1, motions.count))])
    return motions


def _best_turn(left: Tensor, points: Tensor, weights: Tensor, motion: Motions, turns: Tensor) -> Motions:
    """The motion of one domain, or that which explains more of what the others leave."""
    centre = (points * weights[:, None]).sum(0) / weights.sum()
    present = motion.about(centre[None])
    few = slice(None, None, -(-len(points) // _MOST_POINTS))
    arms = points[few] - centre
    # The present turn comes first, then all turns of it; where each takes the domain, the centre staying.
    ends = (turns @ present.rotations[0]) @ arms.T  # (r, 3, m)
    ends = ends.transpose(1, 2) + (centre + present.shifts[0])
    products = torch.cat([(sample(left, part) * weights[few]).sum(1) for part in ends.split(64)])
    kept = [0]
    for i in products.argsort(descending=True).tolist():
        if len(kept) > _TRIED:
            break
        if bool((angles_between(turns[kept], turns[i]) > _DISTINCT).all()):
            kept.append(i)
    rotations, shifts, found = _uphill(
        left, points - centre, weights, turns[kept] @ present.rotations[0], centre + present.shifts
    )
    best = int(found.argmax())
    if best == 0 or float(found[best]) < (1 + _GAIN) * float(found[0]):
        return motion
    return Motions(rotations[best][None], centre[None], shifts[best][None] - centre)


def _uphill(
    left: Tensor, arms: Tensor, weights: Tensor, rotations: Tensor, ends: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations, places of the centre and products after Adam's steps; the present place is `ends`, (1, 3)."""
    turn = torch.zeros(len(rotations), 3).to(arms).requires_grad_()
    shift = torch.zeros(len(rotations), 3).to(arms).requires_grad_()
    optimiser = Adam(([turn], _TURN_RATE), ([shift], _SHIFT_RATE))

    def product() -> Tensor:
        turned = (of_vectors(turn) @ rotations) @ arms.T  # (k, 3, m)
        return (sample(left, turned.transpose(1, 2) + (ends + shift)[:, None]) * weights).sum(1)

    for step in range(_STEPS):
        optimiser.scale_rates(_LAST_RATE ** (step / _STEPS))
        optimiser.zero_grad()
        (-product().sum() / weights.sum()).backward()
        optimiser.step()
    with torch.no_grad():
        return of_vectors(turn) @ rotations, ends + shift, product()
