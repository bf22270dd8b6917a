"""The nearest of many centres to each of many points.  Lengths are of any unit."""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 1 << 21  # distances taken at a time
_MANY = 64  # centres, from which on looking at those near pays
_CELL = 0.4  # side of a cell, of the mean distance between centres that fill the points' box
_SLACK = 1e-5  # of the box, for rounding


def to_nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each point, (n, 3), to the nearest centre, (k, 3), and which that is; both (n,).

    Points are gathered in cells: the nearest centre of a point is none that is farther from its cell's middle than the
    nearest one is, by more than the cell's diagonal.  That leaves a dozen of them or two.
    """
    if len(centres) < _MANY or points.device.type != "cpu":
        return _of_all(points, centres)
    low, high = points.amin(0), points.amax(0)
    volume = float((high - low).prod())
    if not 0 < volume < float("inf"):
        return _of_all(points, centres)
    side = _CELL * (volume / len(centres)) ** (1 / 3)
    index = ((points - low) / side).long()
    strides = torch.tensor([1 << 40, 1 << 20, 1])
    number, cell = torch.unique(index @ strides, return_inverse=True)
    index = number[:, None] // strides % (1 << 20)
    reach = side * 3**0.5 + _SLACK * float((high - low).max())
    near = _near((index + 0.5) * side + low, centres, reach)
    distances, chosen = [], []
    for part, own in zip(*(each.split(max(1, _AT_ONCE // near.shape[1])) for each in (points, cell))):
        few = near[own]  # (n, m)
        best = _distances(part[:, None], centres[few])[:, 0].min(1)
        distances.append(best.values)
        chosen.append(few.gather(1, best.indices[:, None])[:, 0])
    return torch.cat(distances), torch.cat(chosen)


def _of_all(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    parts = points.split(max(1, _AT_ONCE // len(centres)))
    nearest = [_distances(part, centres).min(1) for part in parts]
    return torch.cat([each.values for each in nearest]), torch.cat([each.indices for each in nearest])


def _near(places: Tensor, centres: Tensor, reach: float) -> Tensor:
    """Which centres are no farther from each place than the nearest one and `reach`, (c, m), some of them repeated."""
    rows, numbers, first = [], [], 0
    for part in places.split(max(1, _AT_ONCE // len(centres))):
        apart = _distances(part, centres)
        row, number = torch.nonzero(apart <= apart.amin(1, keepdim=True) + reach).unbind(1)
        rows.append(row + first)
        numbers.append(number)
        first += len(part)
    row, number = torch.cat(rows), torch.cat(numbers)
    counts = torch.bincount(row, minlength=len(places))
    begin = counts.cumsum(0) - counts
    table = number[begin][:, None].repeat(1, int(counts.max()))
    table[row, torch.arange(len(row)) - begin[row]] = number
    return table


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
