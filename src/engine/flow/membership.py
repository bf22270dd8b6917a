"""How much of a point's motion is that of each domain, and the sum over domains that follows from it.

    w_k(x) = softmax_k(-|x - c_k|² / 2s²)

The weights fall so fast that a point hears of few domains.  Where neither points nor centres change any more, these few
are found once: a step then costs next to nothing, however many domains there are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_LEAST = 1e-5  # weights below it are left out; of a motion by 50 Å they are less than a thousandth of an Å
_AT_ONCE = 1 << 21  # points · centres looked through at a time


def weights_of(points: Tensor, centres: Tensor, spread: Tensor) -> Tensor:
    """w, (n, 3) and (k, 3) → (n, k); rows sum to 1."""
    # |x - c|² = |x|² - 2 x·c + |c|²: the first is the same for all domains, and softmax does not see it.
    middle = centres.detach().mean(0)
    centred = centres - middle
    scaled = centred / spread**2
    closeness = torch.addmm(-(centred * scaled).sum(1) / 2, points - middle, scaled.T)
    return torch.softmax(closeness, dim=1)


class Membership:
    """w of points (n, 3) and centres (k, 3) that both stay as they are."""

    def __init__(self, points: Tensor, centres: Tensor, spread: Tensor) -> None:
        rows, domains, weights = [], [], []
        first = 0
        with torch.no_grad():
            for part in points.split(max(1, _AT_ONCE // len(centres))):
                all_weights = weights_of(part, centres, spread)
                row, domain = torch.nonzero(all_weights > _LEAST).unbind(1)
                rows.append(row + first)
                domains.append(domain)
                weights.append(all_weights[row, domain])
                first += len(part)
            row, domain, weight = torch.cat(rows), torch.cat(domains), torch.cat(weights)
            total = torch.zeros(len(points), dtype=weight.dtype, device=weight.device).index_add_(0, row, weight)
            weight = weight / total[row]
            order = domain.argsort(stable=True)
            self.lists = domain.int(), _offsets(row, len(points)), weight
            self._back = row[order].int(), _offsets(domain, len(centres)), weight[order]

    def blended(self, of_domains: Tensor) -> Tensor:
        """Σ_k w_k(x) y_k, (k, m) → (n, m); differentiable."""
        return _Blend.apply(of_domains, self.lists, self._back)


Lists = tuple[Tensor, Tensor, Tensor]  # of each sum in turn: the rows, where its own begin (int32), their weights


class _Blend(torch.autograd.Function):
    """Both ways are sums over few rows each, in a fixed order, so that the same seed gives the same bits."""

    @staticmethod
    def forward(ctx: Any, of_domains: Tensor, of_points: Lists, back: Lists) -> Tensor:
        ctx.back = back
        return _summed(of_domains, of_points)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _summed(gradients[0], ctx.back), None, None


def _summed(values: Tensor, lists: Lists) -> Tensor:
    rows, offsets, weights = lists
    return embedding_bag(rows, values.contiguous(), offsets, mode="sum", per_sample_weights=weights)


def _offsets(owners: Tensor, n: int) -> Tensor:
    """Where the entries of 0, 1, …, n - 1 begin once they are in order, (n,)."""
    counts = torch.bincount(owners, minlength=n)
    return (counts.cumsum(0) - counts).int()
