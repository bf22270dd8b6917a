"""Which supervoxel follows which motion: labellings of low energy, from several beginnings.

One supervoxel at a time takes what costs least (iterated conditional modes: Besag, J. R. Stat. Soc. B 48 (1986) 259).
That alone stays where it began: a motion that is not used yet costs its price before it gains anything.  So whole
regions are offered a motion at once (expansion), and motions are taken away as long as the energy falls.  Where it ends
still depends on where it begins; the energy tells the right end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .energy import LABEL, Array, Energy, Labels

_SWEEPS = 12
_SHORT = 4  # sweeps while a proposal is tried
_PROPOSALS = 8  # motions offered in a round of expansion
_ROUNDS = 12
_SUBSETS, _SUBSET_SIZE = 6, 8  # random beginnings, motions of each, at most
_LEAST = 1e-6


class Labelling(NamedTuple):
    """A choice of motions and what it costs."""

    labels: Labels  # (n,)
    energy: float
    left: Array  # the residual


def improve(energy: Energy, labels: Labels) -> Labelling:
    """One supervoxel at a time, until none changes."""
    return _improved(energy, labels, energy.residual(labels), None, np.ones(energy.n, bool), _SWEEPS)


def _proposed(energy: Energy, before: Labelling, labels: Labels, allowed: NDArray[np.bool_]) -> Labelling:
    """Improved as far as a proposal to a settled labelling changes it: where it differs, and from there on.

    Args:
        allowed: (k,), motions that may be taken.
    """
    left, restless = before.left.copy(), np.zeros(energy.n, bool)
    for s in np.flatnonzero(labels != before.labels):
        was, now = energy.row[s, before.labels[s]], energy.row[s, labels[s]]
        np.add.at(left, energy.voxels[s][was], energy.shares[s][was])
        np.subtract.at(left, energy.voxels[s][now], energy.shares[s][now])
        restless[s] = True
        restless[energy.neighbours[s]] = True
    return _improved(energy, labels, left, allowed, restless, _SHORT)


def _improved(
    energy: Energy,
    labels: Labels,
    left: Array,
    allowed: NDArray[np.bool_] | None,
    restless: NDArray[np.bool_],
    sweeps: int,
) -> Labelling:
    """One supervoxel at a time, the restless ones first, until none changes; `left` and `restless` are used up.

    Whoever changes makes its neighbours restless.  The residual joins others too; so where all were restless all are
    tried once more at last.
    """
    labels = labels.copy()
    used = np.bincount(labels, minlength=energy.n_labels)
    of_all = bool(restless.all())
    everyone = True
    for sweep in range(sweeps):
        changed = False
        for s in np.random.default_rng(sweep).permutation(energy.n):
            if not restless[s]:
                continue
            restless[s] = False
            options = energy.labels[s]
            rows = np.arange(len(options))
            if allowed is not None:
                rows = np.flatnonzero(allowed[options] | (options == labels[s]))
                options = options[rows]
            if len(options) < 2:
                continue
            now = energy.row[s, labels[s]]
            np.add.at(left, energy.voxels[s][now], energy.shares[s][now])
            used[labels[s]] -= 1
            cost = _costs(energy, s, rows, left) + energy.tears(s, options, labels) + LABEL * (used[options] == 0)
            best = int(cost.argmin())
            if options[best] != labels[s]:
                changed = restless[s] = True
                restless[energy.neighbours[s]] = True
            labels[s] = options[best]
            used[labels[s]] += 1
            now = rows[best]
            np.subtract.at(left, energy.voxels[s][now], energy.shares[s][now])
        if not changed and (everyone or not of_all):
            break
        everyone = not changed
        if everyone:
            restless[:] = True
    return Labelling(labels, energy.of(labels, left), left)


def _costs(energy: Energy, s: int, rows: NDArray[np.int64], left: Array) -> NDArray[np.float64]:
    """Misfit and residual of supervoxel s for each of its motions, `left` being without it."""
    if len(rows) == len(energy.labels[s]):
        voxels, shares = energy.voxels[s], energy.shares[s]
    else:
        voxels, shares = energy.voxels[s][rows], energy.shares[s][rows]
    explained = np.einsum("lp,lp->l", left[voxels], shares)
    return energy.misfit[s, energy.labels[s][rows]] + energy.scale * (energy.squares[s][rows] - 2.0 * explained)


def expand(energy: Energy, start: Labelling) -> Labelling:
    """Offer motions to all supervoxels at once, those first that seem to gain most; keep what lowers the energy."""
    best = start
    for _ in range(_ROUNDS):
        gains = _gains(energy, best)
        hoped = np.minimum(gains, 0).sum(0)
        tried = [j for j in np.argsort(hoped, kind="stable")[:_PROPOSALS] if hoped[j] < -_LEAST]
        better = best
        for j in tried:
            allowed = np.zeros(energy.n_labels, bool)
            allowed[best.labels] = allowed[j] = True
            found = _proposed(energy, best, np.where(gains[:, j] < 0, j, best.labels), allowed)
            if found.energy < better.energy - _LEAST:
                better = found
        if better is best:
            return best
        best = better
    return best


def _gains(energy: Energy, start: Labelling) -> NDArray[np.float64]:
    """How much misfit and residual change if one supervoxel alone takes a motion, (n, k); infinite where it may not."""
    gains = np.full((energy.n, energy.n_labels), np.inf)
    for s in range(energy.n):
        now = energy.row[s, start.labels[s]]
        voxels, shares = energy.voxels[s], energy.shares[s]
        without = start.left.copy()
        np.add.at(without, voxels[now], shares[now])
        cost = _costs(energy, s, np.arange(len(energy.labels[s])), without)
        gains[s, energy.labels[s]] = cost - cost[now]
    return gains


def reduce(energy: Energy, start: Labelling) -> Labelling:
    """Take motions away as long as the energy falls."""
    best = start
    while True:
        better = best
        used = np.unique(best.labels)
        for gone in used if len(used) > 1 else ():
            allowed = np.zeros(energy.n_labels, bool)
            allowed[used] = True
            allowed[gone] = False
            if not energy.open[:, allowed].any(1).all():
                continue
            misfit = np.where(allowed & energy.open, energy.misfit, np.inf)
            labels = np.where(best.labels == gone, misfit.argmin(1), best.labels)
            found = _proposed(energy, best, labels, allowed)
            if found.energy < better.energy - _LEAST:
                better = found
        if better is best:
            return best
        best = better


def settle(energy: Energy, labels: Labels) -> Labelling:
    """Improved, expanded and reduced."""
    return reduce(energy, expand(energy, improve(energy, labels)))


def beginnings(energy: Energy, seed: int) -> list[Labels]:
    """Nothing moves; each takes what fits best; each what fits best of a few motions, chosen by chance."""
    rng = np.random.default_rng(seed)
    starts = [np.zeros(energy.n, np.int64), energy.misfit.argmin(1)]
    size = min(_SUBSET_SIZE, -(-energy.n_labels // 2))
    for _ in range(_SUBSETS):
        allowed = np.zeros(energy.n_labels, bool)
        allowed[rng.choice(energy.n_labels, size, replace=False)] = True
        allowed[0] = True
        starts.append(np.where(allowed & energy.open, energy.misfit, np.inf).argmin(1))
    return [np.where(energy.open[np.arange(energy.n), start], start, 0) for start in starts]


def best_labellings(energy: Energy, starts: Sequence[Labels]) -> list[Labelling]:
    """From each beginning, the lowest energy first."""
    return sorted((settle(energy, start) for start in starts), key=lambda found: found.energy)
