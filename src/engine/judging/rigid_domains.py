"""The parts of a molecule that a flow moves as rigid bodies, and how each turns and shifts against the largest.

The answer that DynDom gives for two structures (Hayward & Berendsen, Proteins 30 (1998) 144), here for a flow between
two maps.  The molecule is cut into small pieces; neighbouring pieces, then groups of pieces, are joined as long as one
rigid motion takes the smaller of two to within a tolerance of where the flow takes it, those first that lose least
(Ward, J. Am. Stat. Assoc. 58 (1963) 236).  What a rigid motion leaves over follows from sums that add up when groups
are joined (Kabsch, Acta Cryst. A34 (1978) 827), so no point is looked at twice.  At last the points of pieces at a
border go each to the domain whose motion is theirs.  The tolerance was chosen on flows of simulated maps at 3 to 5 Å:
with 2 Å, domains of adenylate kinase and calmodulin that are one in the structures come out as several.

Positions are (x, y, z) in Å, right-handed, so that axes say in which sense a domain turns; voxels are (z, y, x).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .screws import Array, Screw, screw_of

TOLERANCE = 2.8  # Å, root mean square, by which joining may take the smaller of two groups off its way
_LEAST_SHARE = 0.05  # of the mass; a smaller group goes with the neighbour whose motion fits it best
_PIECE = 1000.0  # Å³
_FEWEST_PIECES, _MOST_PIECES = 20, 800
_ROUNDS = 10  # of k-means
_AT_ONCE = 1 << 20  # distances
_FOR_CENTRES = 50_000  # points suffice to place the centres of pieces
_ROUNDS_AT_BORDERS = 3
_NEIGHBOURS = 5.0  # Å; a map above its level has gaps between helices
_HINGE = 5.5  # Å from the axis: Hayward & Lee, J. Mol. Graph. Model. 21 (2002) 181, call such an axis a hinge

Labels = NDArray[np.int64]
Pairs = list[NDArray[np.int32]]  # (m, 2) each; together they are many, so that one part is looked at at a time


class RigidDomain(NamedTuple):
    """One domain.

    Attributes:
        share: of the mass.
        centre: (3,), Å, before it moves.
        rotation, translation: (3, 3) and (3,), Å: it takes x to rotation x + translation.
        misfit: Å, root mean square distance of the flow from that.
        screw: its motion as the largest domain sees it; of that domain itself, its motion in the map's frame.
        border: (m, 3), Å, middles between its points and neighbours of theirs in the largest domain.
        hinge: (3,), Å, the middle of the border within 5.5 Å of the axis; None where the axis passes elsewhere.
    """

    share: float
    centre: Array
    rotation: Array
    translation: Array
    misfit: float
    screw: Screw
    border: Array
    hinge: Array | None


class RigidDomains(NamedTuple):
    """The domains, the largest first, and which each point belongs to, (n,), from 0."""

    domains: list[RigidDomain]
    labels: Labels


def rigid_domains(
    support: NDArray[np.int64],
    displacement: Array,
    weights: NDArray[np.floating],
    voxel_size: tuple[float, float, float],
    origin: tuple[float, float, float],
    tolerance: float = TOLERANCE,
) -> RigidDomains:
    """Find the domains of a flow.

    Args:
        support: (n, 3), voxel (z, y, x) of each point, no two the same.
        displacement: (n, 3), z, y, x, Å, how the flow moves them.
        weights: (n,), their mass.
        voxel_size, origin: (z, y, x), Å.
        tolerance: Å, see above.
    """
    positions = (support * np.array(voxel_size) + np.array(origin))[:, ::-1]
    ends = positions + displacement[:, ::-1]
    mass = np.asarray(weights, np.float64)
    volume = len(support) * math.prod(voxel_size)
    n_pieces = min(len(support), max(_FEWEST_PIECES, min(_MOST_PIECES, round(volume / _PIECE))))
    piece = _pieces(positions, n_pieces)
    pairs = _neighbours(support, voxel_size)
    groups = [_Sums.of(positions[at], ends[at], mass[at]) for at in _members(piece, n_pieces)]
    group_of = _joined(groups, _touching(piece, pairs, n_pieces), tolerance)
    labels = _by_mass(group_of[piece], mass)
    for _ in range(_ROUNDS_AT_BORDERS):
        labels = _by_mass(_settled(labels, piece, pairs, positions, ends, mass), mass)
        # Two of one motion may have been kept apart by a piece astride a border, which has now been divided.
        n = int(labels.max()) + 1
        groups = [_Sums.of(positions[at], ends[at], mass[at]) for at in _members(labels, n)]
        labels = _by_mass(_joined(groups, _touching(labels, pairs, n), tolerance)[labels], mass)
    return RigidDomains(_described(labels, pairs, positions, ends, mass), labels)


class _Sums(NamedTuple):
    """All that a rigid fit of a group needs: mass, first moments before and after, second moments."""

    mass: float
    before: Array  # (3,)
    after: Array  # (3,)
    cross: Array  # (3, 3), Σ m after beforeᵀ
    squares: float  # Σ m (|before|² + |after|²)

    @classmethod
    def of(cls, before: Array, after: Array, mass: Array) -> _Sums:
        squares = float((mass * ((before**2).sum(1) + (after**2).sum(1))).sum())
        return cls(float(mass.sum()), mass @ before, mass @ after, (after * mass[:, None]).T @ before, squares)

    def plus(self, other: _Sums) -> _Sums:
        mass, squares = self.mass + other.mass, self.squares + other.squares
        return _Sums(mass, self.before + other.before, self.after + other.after, self.cross + other.cross, squares)

    def fit(self) -> tuple[Array, Array, float]:
        """Rotation and translation of the best rigid motion, and Σ m |what it leaves|²."""
        total = max(self.mass, 1e-30)
        before, after = self.before / total, self.after / total
        u, singular, vt = np.linalg.svd(self.cross - total * np.outer(after, before))
        sign = np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0
        rotation = u @ np.diag([1.0, 1.0, sign]) @ vt
        spread = self.squares - total * (before @ before + after @ after)
        left = spread - 2 * (singular[0] + singular[1] + sign * singular[2])
        return rotation, after - rotation @ before, max(0.0, float(left))

    def left_of(self, other: _Sums) -> float:
        """What the best motion of this group leaves of another, Σ m |…|²."""
        rotation, translation, _ = self.fit()
        # |after|² + |R before + t|² - 2 after·(R before + t), summed
        carried = float(np.sum(other.cross * rotation)) + other.after @ translation
        shift = 2 * (rotation @ other.before) @ translation + other.mass * float(translation @ translation)
        return float(other.squares + shift - 2 * carried)


# Pieces


def _pieces(positions: Array, n_pieces: int) -> Labels:
    """Which piece each point belongs to: farthest points first, then k-means."""
    every = max(1, min(len(positions) // _FOR_CENTRES, len(positions) // n_pieces))
    some = positions[::every]
    centres = some[:1]
    distances = ((some - centres) ** 2).sum(1)
    while len(centres) < n_pieces:
        centres = np.vstack((centres, some[distances.argmax()]))
        distances = np.minimum(distances, ((some - centres[-1]) ** 2).sum(1))
    for _ in range(_ROUNDS):
        owner = _nearest(some, centres)
        counts = np.bincount(owner, minlength=n_pieces)
        sums = np.stack([np.bincount(owner, some[:, axis], n_pieces) for axis in range(3)], axis=1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return _nearest(positions, centres)


def _nearest(positions: Array, centres: Array) -> Labels:
    at_once = max(1, _AT_ONCE // len(centres))
    squares = (centres**2).sum(1)
    parts = [
        (squares - 2 * positions[i : i + at_once] @ centres.T).argmin(1) for i in range(0, len(positions), at_once)
    ]
    nearest: Labels = np.concatenate(parts)
    return nearest


def _members(piece: Labels, n_pieces: int) -> list[Labels]:
    order = np.argsort(piece, kind="stable")
    return np.split(order, np.cumsum(np.bincount(piece, minlength=n_pieces))[:-1])


def _neighbours(support: NDArray[np.int64], voxel_size: tuple[float, float, float]) -> Pairs:
    """Points that lie within a few Å of each other along one of the axes, a part for each axis and distance."""
    low = support.min(0)
    grid = np.full(support.max(0) - low + 1, -1, np.int32)
    grid[tuple((support - low).T)] = np.arange(len(support))
    pairs: Pairs = []
    for axis, size in enumerate(voxel_size):
        n, lines = grid.shape[axis], np.moveaxis(grid, axis, 0)
        for reach in range(1, min(n, max(2, round(_NEIGHBOURS / size) + 1))):
            a, b = lines[: n - reach], lines[reach:]
            both = (a >= 0) & (b >= 0)
            pairs.append(np.stack((a[both], b[both]), axis=1))
    return pairs


def _touching(labels: Labels, pairs: Pairs, n: int) -> NDArray[np.bool_]:
    """(n, n): whether two labels have points that are neighbours."""
    touching = np.zeros((n, n), bool)
    for part in pairs:
        touching[tuple(labels[part].T)] = True
    return touching | touching.T


# Domains


def _joined(groups: list[_Sums], touching: NDArray[np.bool_], tolerance: float) -> Labels:
    """Which group each piece ends in: pairs of touching groups are joined, those first that lose least by it."""
    owner = np.arange(len(groups))
    sums = {k: group for k, group in enumerate(groups) if group.mass > 0}
    touches = {k: {int(j) for j in np.flatnonzero(touching[k]) if int(j) in sums and j != k} for k in sums}
    total = sum(group.mass for group in sums.values())
    own = {k: group.fit()[2] for k, group in sums.items()}
    losses: dict[tuple[int, int], float] = {}  # of pairs that may be joined

    def look_at(a: int, b: int) -> None:
        loss = max(0.0, sums[a].plus(sums[b]).fit()[2] - own[a] - own[b])
        if loss <= tolerance**2 * min(sums[a].mass, sums[b].mass):
            losses[min(a, b), max(a, b)] = loss

    def join(a: int, b: int) -> None:
        owner[owner == b] = a
        for other in touches[a] | touches[b]:
            losses.pop((min(a, other), max(a, other)), None)
            losses.pop((min(b, other), max(b, other)), None)
        touches[a] = (touches[a] | touches.pop(b)) - {a, b}
        sums[a] = sums[a].plus(sums.pop(b))
        own[a] = sums[a].fit()[2]
        for other in touches[a]:
            touches[other] = (touches[other] - {b}) | {a}
            look_at(a, other)

    for a, b in itertools.combinations(sums, 2):
        if b in touches[a]:
            look_at(a, b)
    while losses:
        join(*min(losses, key=lambda pair: (losses[pair], pair)))
    while len(sums) > 1:
        small = min(sums, key=lambda k: (sums[k].mass, k))
        if sums[small].mass >= _LEAST_SHARE * total:
            break
        others = touches[small] or set(sums) - {small}
        join(min(others, key=lambda k: (sums[k].left_of(sums[small]), k)), small)
    return owner


def _by_mass(labels: Labels, mass: Array) -> Labels:
    """The same labels from 0 on without gaps, the heaviest first."""
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(-1)  # numpy 2.0 had another shape
    order = np.argsort(-np.bincount(labels, mass), kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[labels]


def _settled(labels: Labels, piece: Labels, pairs: Pairs, before: Array, after: Array, mass: Array) -> Labels:
    """The labels with the points of pieces at a border given to the domain there whose motion is theirs.

    What a motion leaves of a point is taken in the mean with its neighbours: near an axis two motions differ little,
    and single points would be scattered.
    """
    n, n_domains, n_pieces = len(labels), int(labels.max()) + 1, int(piece.max()) + 1
    there = np.zeros((n_pieces, n_domains), bool)
    there[piece, labels] = True
    for part in pairs:
        a, b = part[labels[part[:, 0]] != labels[part[:, 1]]].T
        there[piece[a], labels[b]] = True
        there[piece[b], labels[a]] = True
    open_to = there[piece]  # (n, n_domains)
    left = np.full((n, n_domains), np.inf)
    for k in range(n_domains):
        own = labels == k
        rotation, translation, _ = _Sums.of(before[own], after[own], mass[own]).fit()
        squares = ((before @ rotation.T + translation - after) ** 2).sum(1)
        sums = squares.copy()
        for a, b in (part.T for part in pairs):
            sums += np.bincount(a, squares[b], n)
            sums += np.bincount(b, squares[a], n)
        left[:, k] = np.where(open_to[:, k], sums, np.inf)  # each of a point's sums has the same number of neighbours
    return np.asarray(left.argmin(1), np.int64)


def _described(labels: Labels, pairs: Pairs, before: Array, after: Array, mass: Array) -> list[RigidDomain]:
    domains: list[RigidDomain] = []
    for k in range(int(labels.max()) + 1):
        own = labels == k
        group = _Sums.of(before[own], after[own], mass[own])
        rotation, translation, left = group.fit()
        centre = group.before / group.mass
        seen = (rotation, translation)
        border = np.empty((0, 3))
        if domains:  # as the largest sees it: its own motion undone afterwards
            first = domains[0]
            seen = (first.rotation.T @ rotation, first.rotation.T @ (translation - first.translation))
            near = [part[(np.sort(labels[part], axis=1) == (0, k)).all(1)] for part in pairs]
            a, b = np.concatenate(near).T if near else np.empty((2, 0), np.int32)
            border = (before[a] + before[b]) / 2
        screw = screw_of(*seen, centre)
        close = border[screw.distances(border) <= _HINGE]
        hinge = close.mean(0) if len(close) else None
        if hinge is not None:
            screw = screw_of(*seen, hinge)  # the same axis, given where people look for it
        misfit = math.sqrt(left / group.mass)
        share = group.mass / float(mass.sum())
        domains.append(RigidDomain(share, centre, rotation, translation, misfit, screw, border, hinge))
    return domains
