"""A rigid motion as a turn about an axis and a shift along it (Chasles' theorem).

Positions are right-handed: those that are given as (x, y, z) get an axis about which the turn is counter-clockwise to
who looks against it.  Angle and axis from the parts of a rotation matrix: Rodrigues' formula read backwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_STILL = 0.5  # degrees; below, an axis is not told from noise
_NEARLY_HALF = 1e-3  # radians from half a turn, where the skew part vanishes


class Screw(NamedTuple):
    """Of x → R x + t."""

    angle: float  # degrees, 0 to 180
    axis: Array  # (3,), unit vector
    point: Array  # (3,), Å, of the axis
    shift: float  # Å, along the axis; all of the motion where there is no turn to speak of

    def distances(self, positions: Array) -> Array:
        """(n,), Å, of positions (n, 3) from the axis."""
        away = positions - self.point
        return np.asarray(np.linalg.norm(away - np.outer(away @ self.axis, self.axis), axis=1))


def screw_of(rotation: Array, translation: Array, near: Array) -> Screw:
    """The motion x → rotation x + translation, its axis given at the point nearest to `near`, (3,)."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    angle = math.atan2(float(np.linalg.norm(skew)), float(np.trace(rotation)) - 1)
    moved = rotation @ near + translation - near
    if math.degrees(angle) < _STILL:
        length = float(np.linalg.norm(moved))
        return Screw(math.degrees(angle), moved / length if length > 0 else np.array([1.0, 0, 0]), near, length)
    if math.pi - angle > _NEARLY_HALF:
        axis = skew / np.linalg.norm(skew)
    else:  # the axis is what the rotation leaves alone
        values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
        axis = vectors[:, values.argmax()]
    shift = float(axis @ moved)
    across = moved - shift * axis
    point = near + (across + np.cross(axis, across) / math.tan(angle / 2)) / 2
    return Screw(math.degrees(angle), axis, point, shift)
