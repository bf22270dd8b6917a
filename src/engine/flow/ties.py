"""Neighbouring domains that move nearly alike are tied: what noise and chance would pull apart.

Each domain and each of the eight nearest to it cost d² / (d² + s²), d being how far their motions disagree in the
middle between them, at the velocities that they have at t = 0, and s one ångström (the measure of Geman & McClure,
Bull. Int. Stat. Inst. 52 (1987) 5).  A little disagreement is drawn together; a border between domains, where motions
differ by far more, costs what it costs and is left where it is.  So a rigid domain of many centres stays one, its
parts do not follow the noise, and what lies beside a border does not drift across it.

How much it costs beside the correlation hangs on the noise, as the weight of a prior does.  Maps are low-passed until
their noise is a tenth of their height, see conditioning.py; the wider the Gaussian for that, the fewer places are left
in which noise is independent, as the volume under it.  Clean maps have no noise, but no detail finer than their
resolution either: they count as if they had been low-passed to 5 Å.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .domains import CombinedField, DomainField, LayeredField
from .velocity import Field

_NEIGHBOURS = 8  # of each centre
_ALIKE = 1.0  # Å, s
_FINEST = 1.2  # Å, standard deviation
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

    def cost(self, field: Field) -> Tensor | None:
        """In units of correlation; scalar, differentiable in the motions.  None of a field without domains.

        Of layers of domains, each by itself.
        """
        layers = _layers_of(field)
        return sum(map(self._of_layer, layers[1:]), self._of_layer(layers[0])) if layers else None

    def _of_layer(self, field: DomainField) -> Tensor:
        centres, turns, shifts = field.of_all()
        centres = centres.detach()
        apart = torch.cdist(centres, centres).fill_diagonal_(float("inf"))
        near = apart.topk(min(_NEIGHBOURS, len(centres) - 1), largest=False).indices  # (n, k)
        middle = (centres[:, None] + centres[near]) / 2
        ways = torch.linalg.cross(turns[:, None] - turns[near], middle) + shifts[:, None] - shifts[near]
        squares = (ways * (self.side / _ALIKE)).square().sum(2)
        mean = (squares / (1 + squares)).sum() / max(1, near.numel())
        return _STIFFNESS * max(self.low_pass, _FINEST) ** 3 * mean


def _layers_of(field: Field) -> list[DomainField]:
    if isinstance(field, LayeredField):
        return [field.large, field.small]
    if isinstance(field, CombinedField):
        field = field.domains
    return [field] if isinstance(field, DomainField) else []
