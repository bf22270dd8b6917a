"""Whole domains turned otherwise at the places where they have come to.

What lies round a single centre may look alike from several sides; a whole domain seldom does.  With all others where
they are, all turns about the domain's centre are looked through by the product of the domain with what the others leave
of the target, the best distinct ones are moved uphill in it, and one takes the place of the present pose if the whole
then correlates better with the target.  The product alone does not tell turns that look nearly alike: a bundle of
helices went from its right turn to a wrong one by it.
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
_GAIN = 0.001  # of the domain's share of the mass: correlation by which another turn must be better


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
        others = deposit(ends, weights[rest], (nz, ny, nx))
        better = _best_turn(pair.target, others, points[own], weights[own], motions.chosen([k]), turns)
        motions = Motions.joined([motions.chosen(list(range(k))), better, motions.chosen(range(k + 1, motions.count))])
    return motions


def _best_turn(
    target: Tensor, others: Tensor, points: Tensor, weights: Tensor, motion: Motions, turns: Tensor
) -> Motions:
    """The motion of one domain, or that with which it and the others explain the target better."""
    left = target - others
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
    rotations, places = _uphill(
        left, points - centre, weights, turns[kept] @ present.rotations[0], centre + present.shifts
    )
    # The present pose as it was too: uphill is also where the deposit of a turned grid is least smeared.
    rotations, places = torch.cat((present.rotations, rotations)), torch.cat((centre + present.shifts, places))
    nz, ny, nx = target.shape
    ends = (points - centre) @ rotations.transpose(1, 2) + places[:, None]  # (r, n, 3)
    wholes = (others + deposit(there, weights, (nz, ny, nx)) for there in ends)  # one at a time
    found = torch.stack([(whole * target).sum() / whole.norm() for whole in wholes]) / target.norm()
    best = int(found.argmax())
    share = weights.sum() / (weights.sum() + others.sum())
    if float(found[best] - found[:2].max()) <= _GAIN * float(share):
        return motion
    return Motions(rotations[best][None], centre[None], places[best][None] - centre)


def _uphill(left: Tensor, arms: Tensor, weights: Tensor, rotations: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations and places of the centre after Adam's steps; the present place is `ends`, (1, 3)."""
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
        return of_vectors(turn) @ rotations, ends + shift
