"""Segments that the user names, each docked as a whole.

What moves as one is known, so that only motions are to be chosen: those that leave least of the target unexplained,
|B - Σ D|².  One segment after the other takes the pose that explains most of what the others leave, from several
beginnings, since the one that comes first may take the place of another.
Lengths are in coarse voxels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..maps.deposit import deposit
from ..maps.sampling import sample
from ..maps.segments import Segments
from .coarse import CoarsePair
from .docked import RIM, SUPERVOXEL, DockedDomains, Poses, search_poses, unlike_poses
from .motions import Motions
from .pieces import Pieces, cut, points_above
from .poses import settle_poses
from .turns import turned_otherwise

_BEGINNINGS, _SWEEPS, _POSE_STEPS = 6, 10, 60
_POINTS_AT_ONCE = 2000


def dock_segments(
    pair: CoarsePair, segments: Segments, seed: int = 0, poses: Sequence[Poses] | None = None
) -> DockedDomains:
    """As `dock_domains`, but the user says what moves as one.

    Args:
        pair: both maps.
        segments: of the initial; a voxel goes with the nearest place.
        seed: of whatever is left to chance.
        poses: as for `dock_domains`.
    """
    points, weights = points_above(pair.initial, RIM)
    places = torch.from_numpy(segments.places).to(points) / pair.ratio
    owner = torch.from_numpy(segments.labels).to(points.device)[_nearest(points, places)]
    names, owner = owner.unique(return_inverse=True)  # a segment may hold no density
    candidates = Motions.joined([Motions.identity(points), unlike_poses(pair, poses or [search_poses(pair, seed)])])
    chosen = _chosen(pair, points, weights, owner, candidates, np.random.default_rng(seed))
    motions = turned_otherwise(pair, points, weights, owner, candidates.chosen(chosen))
    motions, correlation = settle_poses(pair, points, weights, owner, motions, _POSE_STEPS)
    centres, labels = [], []  # many centres draw the borders of a segment
    for k in range(len(names)):
        own = owner == k
        n = max(1, round(int(own.sum()) * pair.voxel**3 / SUPERVOXEL))
        centres.append(cut(points[own], weights[own], n, seed).centres)
        labels.append(np.full(len(centres[-1]), k))
    supervoxels = Pieces(torch.cat(centres), points, weights, _nearest(points, torch.cat(centres)))
    return DockedDomains(pair, motions, supervoxels, np.concatenate(labels), 0.0, correlation)


def _chosen(
    pair: CoarsePair, points: Tensor, weights: Tensor, owner: Tensor, candidates: Motions, rng: np.random.Generator
) -> list[int]:
    """Which candidate each segment takes."""
    n = int(owner.max()) + 1
    nz, ny, nx = pair.target.shape
    rows = [torch.nonzero(owner == k)[:, 0] for k in range(n)]
    ends = [candidates.moved(points[own]) for own in rows]  # (motions, m, 3)

    def density(k: int, label: int) -> Tensor:
        return deposit(ends[k][label], weights[rows[k]], (nz, ny, nx))

    best, found = float("inf"), [0] * n
    for beginning in range(_BEGINNINGS):
        labels = [0] * n
        placed = [density(k, 0) if beginning == 0 else torch.zeros_like(pair.target) for k in range(n)]
        for _ in range(_SWEEPS):
            before = list(labels)
            for k in rng.permutation(n):
                left = pair.target - (sum(placed) - placed[k])
                products = (sample(left, ends[k]) * weights[rows[k]]).sum(1)
                labels[k] = int(products.argmax())
                placed[k] = density(k, labels[k])
            if labels == before:
                break
        unexplained = float((pair.target - sum(placed)).square().sum())
        if unexplained < best:
            best, found = unexplained, labels
    return found


def _nearest(points: Tensor, places: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, places).argmin(1) for part in points.split(_POINTS_AT_ONCE)])
