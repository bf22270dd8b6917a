"""What a deformation costs when flows are compared: one rule for starts and for checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the programs' help reads the price, and shall not wait for PyTorch
    from torch import Tensor

TOLERABLE_STRAIN = 0.27  # see `overall_strain`
_MOST_THAT_COUNTS = 0.5
_PRICE_OF_STRAIN = 0.1  # correlation


def overall_strain(strain: Tensor, weights: Tensor) -> float:
    """The root mean square of the strain, where no point counts for more than a half.

    Where two domains part, what lies between them has to stretch by any amount, however right the motion is.  So it is
    not how much strain there is but how widely it is spread that tells a wrong flow.  Where a strain is not a number,
    this is none either.

    Args:
        strain: (n,), see `deformation`.
        weights: (n,), mass.
    """
    capped = strain.clamp(max=_MOST_THAT_COUNTS)
    return float((weights * capped**2).sum().div(weights.sum()).sqrt())


def price(strain: float, folded: float) -> float:
    """What is taken off a correlation for how the flow deforms what it carries; see `best_checkpoint`."""
    return _PRICE_OF_STRAIN * max(0.0, strain - TOLERABLE_STRAIN) + folded
