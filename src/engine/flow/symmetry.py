"""Point groups Cn, Dn, T, O and I: naming them, and what they do to points.

Rotations act on (z, y, x) about a centre; lengths are in units of the longest box side.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .rotations import of_vectors, to_vectors

_LARGEST_ORDER = 60
_ALONG = 2.0  # degrees within which an axis is said to be one of the box's


class Symmetry(NamedTuple):
    """A group of rotations about a centre."""

    name: str
    rotations: Tensor  # (g, 3, 3), acting on (z, y, x) columns, the first one the identity
    centre: Tensor  # (3,)

    @property
    def order(self) -> int:
        return len(self.rotations)

    def axis(self) -> Tensor:
        """The direction of the main axis, (3,)."""
        return torch.nn.functional.normalize(to_vectors(self.rotations[1]), dim=0)

    def axis_text(self) -> str:
        """The main axis in words: "z", or its direction "(0.12, 0.30, 0.95)" in the order x, y, z."""
        axis = self.axis().double()
        along = int(axis.abs().argmax())
        if float(axis.abs()[along]) > math.cos(math.radians(_ALONG)):
            return "zyx"[along]
        x, y, z = (round(float(length), 2) + 0.0 for length in (axis * axis[along].sign()).flip(0))  # + 0.0 makes -0 0
        return f"({x:.2f}, {y:.2f}, {z:.2f})"

    def images(self, points: Tensor) -> Tensor:
        """The points turned by each rotation; (n, 3) → (g, n, 3)."""
        return torch.einsum("gij,nj->gni", self.rotations, points - self.centre) + self.centre

    def to(self, like: Tensor) -> Symmetry:
        """With tensors of the device and type of `like`."""
        return Symmetry(self.name, self.rotations.to(like), self.centre.to(like))


def point_group(name: str, centre: Tensor, axis: int = 0) -> Symmetry:
    """The group C1, C2 …, D2, D3 …, T, O or I along the axes of the box.

    Args:
        name: C or D and the order of the main axis, or T, O or I.
        centre: (3,), a point of the axis; where there are several axes that where they meet.
        axis: along which the main axis lies: 0 for z, 1 for y, 2 for x.  The second axis of Dn is the next of z, y, x
            and z again; T, O and I have two-fold axes along all three (O: four-fold).
    Raises:
        InputError: another name, or an order above 60.
    """
    return group_in_frame(name, centre, torch.eye(3, dtype=torch.float64).roll(axis, 0))


def group_in_frame(name: str, centre: Tensor, frame: Tensor) -> Symmetry:
    """The same about any axes.

    Args:
        frame: (3, 3) a rotation, whose columns are the directions (z, y, x) that the group's first, second and third
            axis get: the main axis of Cn, Dn is the first one, a two-fold axis of Dn the second one.
    Raises:
        InputError: as `point_group`.
    """
    return Symmetry(name.upper(), frame @ standard_rotations(name) @ frame.T, centre)


def standard_rotations(name: str) -> Tensor:
    """(g, 3, 3) float64, with the main axis along the first direction; the identity comes first.

    Raises:
        InputError: as `point_group`.
    """
    return _closed(generators(name))


def generators(name: str) -> Tensor:
    """(1 or 2, 3, 3), rotations that make the group: one about the main axis first.

    Raises:
        InputError: as `point_group`.
    """
    word = name.upper()
    cycle = torch.eye(3, dtype=torch.float64).roll(1, 0)  # three-fold, about the diagonal
    if word in ("T", "O"):
        return torch.stack((about_first_axis(math.pi if word == "T" else math.pi / 2), cycle))
    if word == "I":  # a five-fold axis goes through (0, 1, φ), see Coxeter, Regular Polytopes, 3.7
        golden = (1 + math.sqrt(5)) / 2
        along = torch.tensor([0.0, 1.0, golden], dtype=torch.float64)
        return torch.stack((of_vectors(2 * math.pi / 5 * along / along.norm()), cycle))
    match = re.fullmatch(r"([CD])(\d+)", word)
    n = int(match.group(2)) if match else 0
    if not match or not 1 <= n <= _LARGEST_ORDER or (match.group(1) == "D" and n < 2):
        raise InputError(
            f"Unknown symmetry {name!r}: wanted is C1 to C{_LARGEST_ORDER}, D2 to D{_LARGEST_ORDER}, T, O, I, or auto."
        )
    main = about_first_axis(2 * math.pi / n)
    flip = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))
    return torch.stack((main, flip)) if match.group(1) == "D" else main[None]


def about_first_axis(angle: float) -> Tensor:
    """(3, 3), by an angle in radians."""
    return of_vectors(torch.tensor([angle, 0.0, 0.0], dtype=torch.float64))


def _closed(made_of: Tensor) -> Tensor:
    """All products, breadth first: the identity, then the generators."""
    found = torch.eye(3, dtype=torch.float64)[None]
    while True:
        products = (made_of[:, None] @ found[None]).reshape(-1, 3, 3)
        more = _distinct(torch.cat((found, products)))
        if len(more) == len(found):
            return found
        found = more


def _distinct(rotations: Tensor) -> Tensor:
    """Each once, in the order in which they first come."""
    apart = torch.cdist(rotations.reshape(-1, 9), rotations.reshape(-1, 9))
    earlier = torch.ones_like(apart, dtype=torch.bool).tril(-1)
    return rotations[~((apart < 1e-4) & earlier).any(1)]
