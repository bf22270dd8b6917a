"""How much of a motion is that of the whole map as one rigid body.

The turn and shift that take the points nearest to where they end, in the least squares of the mass: Kabsch, Acta
Cryst. A32 (1976) 922, with the sign of Umeyama, IEEE PAMI 13 (1991) 376.  Motions are told in the frame in which the
two maps were laid on each other: a target that was fitted badly moves as a whole.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MOST_TURN = 20.0  # degrees
_MOST_SHIFT = 1 / 3  # of the size
_MOST_OF_IT = 0.8  # of the motion: a domain that is most of the molecule takes the whole along too

Array = NDArray[np.float64]


class WholeMotion(NamedTuple):
    """Of the whole map as one body."""

    turn: float  # degrees
    shift: float  # Å, of the centre of mass
    share: float  # of the mean squared displacement, that it explains
    size: float  # Å, diameter of a ball with the same radius of gyration

    @property
    def is_large(self) -> bool:
        """Whether it looks as if one map had not been fitted to the other."""
        return self.share > _MOST_OF_IT and (self.turn > _MOST_TURN or self.shift > _MOST_SHIFT * self.size)

    def text(self) -> str:
        return (
            f"As a whole the map turns by {self.turn:.0f}° and shifts by {self.shift:.1f} Å, which is {self.share:.0%} "
            f"of the motion (of its mean square)."
        )


def whole_motion(start: Array, displacement: Array, weights: NDArray[np.float32]) -> WholeMotion:
    """
    Args:
        start, displacement: (n, 3), Å.
        weights: (n,), not all zero.
    """
    share = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    end = start + displacement
    middles = share @ start, share @ end
    before, after = start - middles[0], end - middles[1]
    u, _, vt = np.linalg.svd((share[:, None] * after).T @ before)
    sign = np.sign(np.linalg.det(u @ vt))
    rotation = u @ np.diag([1.0, 1.0, sign]) @ vt
    left = float(share @ ((before @ rotation.T - after) ** 2).sum(1))
    whole = float(share @ (displacement**2).sum(1))
    turn = math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(rotation)) - 1) / 2))))
    size = 2 * math.sqrt(5 / 3 * float(share @ (before**2).sum(1)))
    return WholeMotion(turn, float(np.linalg.norm(middles[1] - middles[0])), 1 - left / whole if whole else 0.0, size)
