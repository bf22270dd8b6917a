"""Point groups Cn and Dn: naming them, and finding them in a map.

Rotations act on (z, y, x) about a centre; lengths are in units of the longest box side.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError, named
from ..maps.deposit import deposit
from ..maps.gaussian_blur import gaussian_blur
from ..maps.preparation import bin_density

_LARGEST_ORDER = 60
_ORDERS_LOOKED_FOR = (12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
_ALIKE = 0.95  # correlation of a map with its turned self above which it counts as symmetric
_LEAST_ALIKE = 0.7  # the same where the user says that it is
_SMOOTH = 1.0  # voxels, standard deviation of the blur before they are compared
_SIDE_LOOKED_AT = 32  # voxels a side that a map is binned to before looking


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
        rotation = self.rotations[1]
        if torch.allclose(rotation, rotation.T, atol=1e-6):  # by 180 degrees: (R + 1)/2 is the projection on the axis
            projection = (rotation + torch.eye(3).to(rotation)) / 2
            return torch.nn.functional.normalize(projection[:, projection.diagonal().argmax()], dim=0)
        difference = rotation - rotation.T
        return torch.nn.functional.normalize(torch.stack((difference[2, 1], difference[0, 2], difference[1, 0])), dim=0)

    def images(self, points: Tensor) -> Tensor:
        """The points turned by each rotation; (n, 3) → (g, n, 3)."""
        return torch.einsum("gij,nj->gni", self.rotations, points - self.centre) + self.centre

    def to(self, like: Tensor) -> Symmetry:
        """With tensors of the device and type of `like`."""
        return Symmetry(self.name, self.rotations.to(like), self.centre.to(like))


def point_group(name: str, centre: Tensor, axis: int = 0) -> Symmetry:
    """The group C1, C2 … or D2, D3 …

    Args:
        name: C or D and the order of the main axis.
        centre: (3,), a point of the axis; for Dn that where the axes meet.
        axis: along which the main axis lies: 0 for z, 1 for y, 2 for x.  The second axis of Dn is the next of z, y, x
            and z again.
    Raises:
        InputError: another name, or an order above 60.
    """
    match = re.fullmatch(r"([CD])(\d+)", name.upper())
    n = int(match.group(2)) if match else 0
    if not match or not 1 <= n <= _LARGEST_ORDER or (match.group(1) == "D" and n < 2):
        raise InputError(
            f"Unknown symmetry {name!r}: wanted is C1 to C{_LARGEST_ORDER}, D2 to D{_LARGEST_ORDER}, or auto."
        )
    main = [_rotation(axis, 2 * math.pi * k / n) for k in range(n)]
    if match.group(1) == "D":
        across = _rotation((axis + 1) % 3, math.pi)
        main += [rotation @ across for rotation in main]
    return Symmetry(name.upper(), torch.stack(main), centre)


def find_symmetry(name: str, *densities: NDArray[np.float32]) -> Symmetry | None:
    """A symmetry that all the densities have, about an axis of the box.

    The axis goes through the box's middle, where reconstructions have it, or else through the centre of mass of the
    first density.

    Args:
        name: C3, D7 …, or auto for the highest Cn or Dn that there is.
        densities: (nz, ny, nx) each, on one grid, empty outside the molecule.
    Returns:
        None where there is none (auto), or where the group is C1.
    Raises:
        InputError: the densities have not the symmetry that was named, or there is none of that name.
    """
    side = max(densities[0].shape)
    small = [_Small.of(density, max(1, side // _SIDE_LOOKED_AT)) for density in densities]
    middle = torch.tensor(densities[0].shape, dtype=torch.float64) / (2 * side)
    half = torch.full((3,), 0.5 / side, dtype=torch.float64)  # where voxel n/2 is the middle
    mass_centre = (small[0].points * small[0].weights[:, None]).sum(0) / small[0].weights.sum()
    axes = list(itertools.product(range(3), (middle, middle + half, mass_centre)))

    def best(group: str) -> tuple[float, Symmetry]:
        found = [point_group(group, centre, axis) for axis, centre in axes]
        likeness = [min(each.likeness(symmetry) for each in small) for symmetry in found]
        k = int(np.argmax(likeness))
        return likeness[k], found[k].to(torch.zeros(1))

    if name != "auto":
        likeness, symmetry = best(name)
        if likeness < _LEAST_ALIKE:
            raise InputError(
                f"The maps are not {name.upper()}: turned so about the axes of the box they correlate with themselves "
                f"by {likeness:.2f} at best. Leave {named('symmetry')} out, or turn the maps first."
            )
        return symmetry if symmetry.order > 1 else None
    for n in _ORDERS_LOOKED_FOR:
        if best(f"C{n}")[0] > _ALIKE:
            return next(symmetry for likeness, symmetry in map(best, (f"D{n}", f"C{n}")) if likeness > _ALIKE)
    return None


def _rotation(axis: int, angle: float) -> Tensor:
    """By an angle (radians) about one of z, y, x; (3, 3)."""
    i, j = [k for k in range(3) if k != axis]
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[i, i] = rotation[j, j] = math.cos(angle)
    rotation[i, j], rotation[j, i] = -math.sin(angle), math.sin(angle)
    return rotation


class _Small(NamedTuple):
    """A binned density and its points, in units of the box's longest side."""

    shape: tuple[int, int, int]
    voxel: float
    points: Tensor  # (n, 3)
    weights: Tensor  # (n,)

    @classmethod
    def of(cls, density: NDArray[np.float32], bin_size: int) -> _Small:
        voxel = bin_size / max(density.shape)
        density = bin_density(density, bin_size)
        support = np.argwhere(density > 0)
        nz, ny, nx = density.shape
        points = (torch.from_numpy(support) + 0.5) * voxel
        return cls((nz, ny, nx), voxel, points, torch.from_numpy(density[tuple(support.T)]).double())

    def likeness(self, symmetry: Symmetry) -> float:
        """The least correlation of the density with an image of itself; 1 for C1."""
        own, *others = (self._deposited(image) for image in symmetry.images(self.points))
        return min((float((other * own).sum() / (other.norm() * own.norm())) for other in others), default=1.0)

    def _deposited(self, points: Tensor) -> Tensor:
        return gaussian_blur(deposit(points / self.voxel - 0.5, self.weights, self.shape), _SMOOTH)
