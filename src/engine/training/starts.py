"""Which flows recipe auto begins with, and in which order."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..flow.symmetry import Symmetry
from ..options.training import TrainingOptions

_CUTS, _CUTS_OF_LARGE = 4, 2  # sets of supervoxels that are docked: one of them may have its borders right
_LARGE = 140_000.0  # Å³: 100 kDa and more
_NEARLY_ALL, _MOST = 0.95, 0.9  # scores above which no network is tried, no trained domains
_DOMAINS = (12, 24)
_DOMAINS_OF_A_UNIT = (4, 8)  # where there is a symmetry


class Start(NamedTuple):
    """A flow to begin with."""

    flow: str
    n_domains: int | None = None
    symmetry: str | None = None  # that it keeps
    number: int | None = None  # of the docked ones
    unless: float = math.inf  # the best score so far, above which it is not tried

    def __str__(self) -> str:
        text = self.flow if self.n_domains is None else f"{self.n_domains} domains"
        if self.flow == "docked":
            text = "docked domains"
        if self.number is not None:
            text += f", cut {self.number + 1}"
        return text if self.symmetry is None else f"{text} in {self.symmetry}"


def starts_of(
    options: TrainingOptions, symmetry: Symmetry | None, volume: float, has_segments: bool = False
) -> list[Start]:
    """Docked domains, a network, trained domains; free, and those that keep a symmetry.

    Where a symmetry is told there are no free ones; where it is proposed, both.  A symmetric network costs as many
    times more as the group has rotations, so it is there only if it is asked for.

    Args:
        volume: Å³, of the molecule as docking sees it.
        has_segments: the user says which parts move as one; these are docked, free of any symmetry.
    """
    told = symmetry is not None and options.symmetry != "auto"
    names = [None] * (not told) + ([symmetry.name] if symmetry else [])
    if options.flow == "network":
        return [Start("network", symmetry=name) for name in names]
    n_cuts = _CUTS if volume < _LARGE else _CUTS_OF_LARGE
    docked = [Start("docked", symmetry=name, number=k) for name in names for k in range(1 if name else n_cuts)]
    if has_segments:
        docked = [Start("docked")]
    networks = [Start("network", unless=_NEARLY_ALL)] * (not told and options.flow == "auto")
    trained = []
    for name in reversed(names):
        of_group = [n * symmetry.order for n in _DOMAINS_OF_A_UNIT] if symmetry and name else _DOMAINS
        sizes = [options.n_domains] if options.n_domains else of_group
        trained += [Start("domains", n, name, unless=_MOST) for n in sizes]
    return docked + networks + trained
