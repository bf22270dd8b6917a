"""Neighbouring domains that move nearly alike are tied: what noise and chance would pull apart.

Each domain and each of the eight nearest to it cost d² / (d² + s²), d being how far their screws, at the velocities of
t = 0, disagree at the place m in the middle between them,

    d = v_i(m) - v_j(m),   v_i(m) = u_i + ω_i × (m - c_i),

and s one ångström (the measure of Geman & McClure, Bull. Int. Stat. Inst. 52 (1987) 5).  A little disagreement is drawn
together; a border between domains, where motions differ by far more, costs what it costs and is left where it is.  So a
rigid domain of many centres stays one, its parts do not follow the noise, and what lies beside a border does not drift
across it.  In the derivative the place m stays where it is, and a centre counts as a part of its screw.

How much the mean over all pairs costs beside the correlation hangs on the noise, as the weight of a prior does.  Maps
are low-passed until their noise is a tenth of their height, see conditioning.py; the wider the Gaussian for that, the
fewer places are left in which noise is independent, as the volume under it: it costs at most 0.02 σ³, σ in Å.  Clean
maps have no noise, but not every detail of theirs is to be followed either: σ is never less than 1.2 Å, which was
chosen on simulated pairs, see docs/accuracy.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding

from .domains import CombinedField, DomainField, LayeredField
from .velocity import Field

_NEIGHBOURS = 8  # of each centre
_ALIKE = 1.0  # Å, s
_NARROWEST = 1.2  # Å, σ
_STIFFNESS = 0.02  # correlation for each Å³, if no domain moves as its neighbours do


class Ties(NamedTuple):
    """How firmly neighbours are tied.

    Attributes:
        low_pass: Å, standard deviation of the Gaussians that take the noise off both maps, one after the other; 0 of
            clean ones.
        side: Å, of the longest box side.
    """

    low_pass: float
    side: float

    def between(self, field: Field) -> Callable[[], Tensor] | None:
        """What the domains of this field cost, told anew whenever it is called; None of a field without domains.

        In units of correlation; scalar, differentiable in the motions.  Of layers of domains, each by itself.
        Neighbours are found once where the centres are held.
        """
        layers = [(each, None if each.centres.requires_grad else _neighbours(each)) for each in _layers_of(field)]
        stiffness = _STIFFNESS * max(self.low_pass, _NARROWEST) ** 3
        if not layers:
            return None
        return lambda: stiffness * torch.stack([self._of_layer(*each) for each in layers]).sum()

    def _of_layer(self, field: DomainField, near: Tensor | None) -> Tensor:
        screws = torch.stack(field.of_all(), dim=1)  # (n, 3, 3)
        near = _neighbours(field) if near is None else near
        ours, theirs = screws[:, None], embedding(near, screws.flatten(1)).unflatten(2, (3, 3))  # (n, k, 3, 3)
        middle = (ours[:, :, 0] + theirs[:, :, 0]).detach() / 2
        ways = _velocity(ours, middle) - _velocity(theirs, middle)
        squares = (ways * (self.side / _ALIKE)).square().sum(2)
        return (squares / (1 + squares)).sum() / max(1, near.numel())


def _velocity(screws: Tensor, places: Tensor) -> Tensor:
    """Of screws (…, 3, 3), each a centre, a turn and the centre's velocity, at places (…, 3)."""
    centres, turns, velocities = screws.unbind(-2)
    return velocities + torch.linalg.cross(turns.expand_as(places), places - centres)


@torch.no_grad()
def _neighbours(field: DomainField) -> Tensor:
    """Of each domain the nearest others, (n, at most 8)."""
    centres = field.of_all()[0]
    apart = torch.cdist(centres, centres).fill_diagonal_(float("inf"))
    return apart.topk(min(_NEIGHBOURS, len(centres) - 1), largest=False).indices


def _layers_of(field: Field) -> list[DomainField]:
    if isinstance(field, LayeredField):
        return [field.large, field.small]
    if isinstance(field, CombinedField):
        field = field.domains
    return [field] if isinstance(field, DomainField) else []
