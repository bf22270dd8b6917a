"""What a deformation costs when flows are compared: one rule for starts and for checkpoints."""

from __future__ import annotations

TOLERABLE_STRAIN = 0.3  # of dx(1)/dx(0), root mean square; a smooth flow between rigid domains has it
_PRICE_OF_STRAIN = 0.1  # correlation


def price(strain: float, folded: float) -> float:
    """What is taken off a correlation for how the flow deforms what it carries; see `best_checkpoint`."""
    return _PRICE_OF_STRAIN * max(0.0, strain - TOLERABLE_STRAIN) + folded
