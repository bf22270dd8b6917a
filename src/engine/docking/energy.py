"""What a choice of motions costs: every supervoxel of the initial map takes one of the candidate motions.

    E = Σ_s (1 - ρ_s)                                 how ill what lies round s fits where its motion takes it
      + ½ a |B - Σ_s D_s|² / <|A_s|²>                 the target explained once: D_s is supervoxel s deposited there
      + b Σ_s <min(|m_s - m_t| / c, 1)>               neighbours t move alike: where their motions take the middle
      + h · number of motions used                    few rigid motions suffice
      + f Σ_s min(|m_s - s| / 30 Å, 1)                of two that explain as much, the smaller motion

with the means over supervoxels and over eight neighbours.  Fitting of several models at once with a price for each:
Isack & Boykov, IJCV 97 (2012) 123; Delong, Osokin, Isack & Boykov, IJCV 96 (2012) 1.
Lengths are in coarse voxels but where Å are named.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..maps.sampling import sample
from .coarse import CoarsePair
from .motions import Motions
from .pieces import Pieces
from .search import offsets_within

EXPLAIN, SMOOTH, LABEL, FAR = 0.7, 0.35, 1.0, 0.05  # a, b, h, f
_WAY = 30.0  # Å
_CUT = 6.0  # Å, c: motions that differ by more are no more alike than any others
_PATCH = 9.0  # Å, radius of what lies round a supervoxel
_OUTSIDE = 0.1  # of the maximum: what counts for ρ as a part of the molecule
_FAINT = 1e-3  # how much what is outside counts
_N_NEIGHBOURS = 8
_PADDING = 2  # voxels round the grid, which hold what leaves it

Labels = NDArray[np.int64]
Array = NDArray[np.float32]


class Energy:
    """E for given candidates.

    Args:
        pair: both maps.
        supervoxels: of the initial.
        candidates: the first is not to move.
        reach: (k,), Å: how far from its centre a candidate is open to supervoxels.
    """

    def __init__(self, pair: CoarsePair, supervoxels: Pieces, candidates: Motions, reach: Tensor) -> None:
        self.candidates, self.pair, self.supervoxels = candidates, pair, supervoxels
        self.reach = reach
        centres = supervoxels.centres
        self.n_labels, self.n = candidates.count, len(centres)
        near = torch.cdist(centres, candidates.centres) * pair.voxel < reach
        near[:, 0] |= ~near.any(1)
        self.open: NDArray[np.bool_] = near.cpu().numpy()  # (n, k)
        ways = (candidates.moved(centres) - centres).norm(dim=2).T * pair.voxel  # (n, k)
        self.misfit = (self._misfits(near) + FAR * (ways / _WAY).clamp(max=1)).cpu().numpy()  # (n, k)
        self.shape = tuple(side + 2 * _PADDING for side in pair.target.shape)
        self.empty = np.pad(pair.target.cpu().numpy(), _PADDING).ravel().astype(np.float32)
        self._place_all()
        self._join_neighbours()

    def _misfits(self, near: Tensor) -> Tensor:
        """1 - ρ of each supervoxel under each motion that is open to it, else infinite."""
        pair, centres = self.pair, self.supervoxels.centres
        around = centres[:, None] + offsets_within(_PATCH / pair.voxel, pair.initial)
        a = sample(pair.initial, around)  # (n, m)
        weights = (a > _OUTSIDE).to(a) + _FAINT
        weights = weights / weights.sum(1, keepdim=True)
        a = a - (weights * a).sum(1, keepdim=True)
        length = (weights * a * a).sum(1).sqrt()
        misfit = torch.full(near.shape, float("inf"), dtype=a.dtype, device=a.device)
        for j in range(self.n_labels):
            rows = torch.nonzero(near[:, j])[:, 0]
            if len(rows) == 0:
                continue
            moved = self.candidates.chosen([j]).moved(around[rows].reshape(-1, 3))
            b = sample(pair.target, moved.reshape(len(rows), -1, 3))
            w = weights[rows]
            b = b - (w * b).sum(1, keepdim=True)
            spread = (w * b * b).sum(1).sqrt() * length[rows]
            misfit[rows, j] = 1 - (w * a[rows] * b).sum(1) / spread.clamp(min=1e-6)
        return misfit

    def _place_all(self) -> None:
        """For each supervoxel and each motion open to it: the voxels its points are deposited on, and their shares."""
        points, weights, owner = (x.cpu() for x in self.supervoxels[1:])
        moved = self.candidates
        cpu = Motions(moved.rotations.cpu(), moved.centres.cpu(), moved.shifts.cpu())
        sides = np.array(self.shape)
        corners = np.array(list(itertools.product((0, 1), repeat=3)))
        strides = np.array([sides[1] * sides[2], sides[2], 1])
        own = np.empty(self.n)
        self.labels: list[Labels] = []
        self.voxels: list[NDArray[np.int64]] = []  # of each supervoxel (labels, points · 8)
        self.shares: list[Array] = []
        self.squares: list[NDArray[np.float64]] = []  # |D|², (labels,)
        grid = np.zeros(int(np.prod(sides)), np.float32)
        for s in range(self.n):
            rows = torch.nonzero(owner == s)[:, 0]
            labels = np.flatnonzero(self.open[s])
            places = cpu.chosen(labels.tolist()).moved(points[rows]).numpy() + _PADDING  # (l, n, 3)
            places = np.clip(places, 0, sides - 1.001)
            lower = np.floor(places).astype(np.int64)
            fraction = (places - lower)[:, :, None]
            share = np.where(corners, fraction, 1 - fraction).prod(-1) * weights[rows].numpy()[:, None]  # (l, n, 8)
            voxels = ((lower[:, :, None] + corners) @ strides).reshape(len(labels), -1)
            shares = share.reshape(len(labels), -1).astype(np.float32)
            squares = np.empty(len(labels))
            for j in range(len(labels)):
                np.add.at(grid, voxels[j], shares[j])
                squares[j] = shares[j] @ grid[voxels[j]]
                grid[voxels[j]] = 0
            own[s] = float(weights[rows].square().sum())
            self.labels.append(labels)
            self.voxels.append(voxels)
            self.shares.append(shares)
            self.squares.append(squares)
        self.scale = EXPLAIN / (2 * own.mean())
        self.row = np.full((self.n, self.n_labels), -1)
        for s, labels in enumerate(self.labels):
            self.row[s, labels] = np.arange(len(labels))

    def _join_neighbours(self) -> None:
        centres = self.supervoxels.centres.cpu()
        n_neighbours = min(_N_NEIGHBOURS, self.n - 1)
        distances = torch.cdist(centres, centres).fill_diagonal_(float("inf"))
        nearest = distances.topk(n_neighbours, largest=False).indices
        joined = torch.zeros_like(distances, dtype=torch.bool).scatter_(1, nearest, True)
        joined = joined | joined.T
        self.neighbours = [np.flatnonzero(row) for row in joined.numpy()]
        # How far from each other two motions take the middle between neighbours: on demand, from what takes it where.
        moves = self.candidates
        rotations = moves.rotations.cpu().numpy()
        shifts = (moves.shifts + moves.centres - (moves.rotations @ moves.centres[..., None])[..., 0]).cpu().numpy()
        x = centres.numpy()
        self._first = np.cumsum([0, *map(len, self.neighbours)])  # of each supervoxel's pairs with its neighbours
        self._source = np.repeat(np.arange(self.n), np.diff(self._first))
        self._other = np.concatenate(self.neighbours)
        middles = (x[self._source] + x[self._other]) / 2
        self._ends = (np.einsum("kij,nj->nki", rotations, middles) + shifts).astype(np.float32)  # (pairs, k, 3)
        self._tear = 2 * SMOOTH / n_neighbours
        self._per_cut = self.pair.voxel / _CUT

    def tears(self, s: int, labels: Labels, of_all: Labels) -> NDArray[np.float64]:
        """b min(..) of supervoxel s with all its neighbours, for each label that it might have."""
        pairs = slice(self._first[s], self._first[s + 1])
        ends = self._ends[pairs]
        theirs = ends[np.arange(len(ends)), of_all[self._other[pairs]]]
        apart = np.sqrt(((ends[:, labels] - theirs[:, None]) ** 2).sum(-1)) * self._per_cut
        return self._tear * np.minimum(apart, 1).sum(0)

    def _torn(self, labels: Labels) -> float:
        """b Σ min(..) over all pairs of neighbours."""
        pairs = np.arange(len(self._source))
        ways = self._ends[pairs, labels[self._source]] - self._ends[pairs, labels[self._other]]
        apart = np.sqrt(np.square(ways).sum(-1)) * self._per_cut
        return float(self._tear * np.minimum(apart, 1).sum(dtype=np.float64) / 2)

    def residual(self, labels: Labels) -> Array:
        """B - Σ D, flat on the padded grid."""
        left = self.empty.copy()
        for s, label in enumerate(labels):
            row = self.row[s, label]
            np.subtract.at(left, self.voxels[s][row], self.shares[s][row])
        return left

    def residual_map(self, labels: Labels) -> Tensor:
        """B - Σ D on the pair's grid."""
        inner = tuple(slice(_PADDING, -_PADDING) for _ in range(3))
        left = self.residual(labels).reshape(self.shape)[inner]
        return torch.from_numpy(np.ascontiguousarray(left)).to(self.pair.target)

    def of(self, labels: Labels, left: Array | None = None) -> float:
        """E of a labelling; `left` is its residual where that is known."""
        left = self.residual(labels) if left is None else left
        fit = float(self.misfit[np.arange(self.n), labels].sum())
        explained = self.scale * float(np.square(left, dtype=np.float64).sum())
        return fit + self._torn(labels) + explained + LABEL * len(np.unique(labels))
