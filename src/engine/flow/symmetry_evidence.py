"""Whether a map keeps a group of rotations at full detail, and where exactly its axes lie.

What counts is the difference between the map and its turned self, as a share of that at other angles about the same
axis, noise taken off.  A share does not care what is the same all round, a belt or a membrane, which makes every angle
correlate.  The map must keep the group everywhere: one domain of many that has moved is nothing to the whole, and all
to the place where it was.  Positions are voxels (z, y, x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..maps.gaussian_blur import gaussian_blur
from .symmetry import generators, rotation_by, turn_of
from .symmetry_axes import sample_at

_FINEST_BLUR = 0.8  # voxels: what interpolation then loses is next to nothing
_BLURS = (1 / 8, 1 / 16)  # of the molecule's radius: for finding, and for the motions of domains
_OUTLINE = 0.25  # of a blurred map's highest value: what is above is the molecule
_N_POINTS, _N_POINTS_TO_FIT = 20000, 2500
_CONTROLS = (0.21, 0.37, 0.45, 0.63, 0.71)  # of the angle from one image to the next; no fraction that a larger group has
_BLOCK = 0.25  # side of a block, of the molecule's radius
_LEAST_IN_BLOCK = 0.4  # of the mean number of points in a block
_LEAST_CONTROL = 0.3  # of the mean, for blocks that look the same at any angle
_NOISE_IN_MOLECULE = 1.3  # times the noise outside, which is the least there is

MOST_DIFFERENT = 0.12  # of the difference at other angles
MOST_DIFFERENT_SOMEWHERE = 0.5
LEAST_FEATURES = 0.01  # difference at other angles, of the density's variance


class Frame(NamedTuple):
    """Where a group lies."""

    axes: Tensor  # (3, 3) float64, as `group_in_frame`
    centre: Tensor  # (3,) float64, voxels


class Evidence(NamedTuple):
    """For one map and one rotation."""

    different: float  # at full detail, share of the difference at other angles; 0 as good as can be, 1 no symmetry
    somewhere: float  # the same in the block where it is largest, at the detail of domains
    features: float  # the difference at other angles, in units of the variance

    @property
    def holds(self) -> bool:
        return (
            self.features > LEAST_FEATURES
            and self.different < MOST_DIFFERENT
            and self.somewhere < MOST_DIFFERENT_SOMEWHERE
        )


class LookedAt:
    """A map at several degrees of detail.

    Args:
        density: (nz, ny, nx), with its noise.
        level: below which nothing is of the molecule.
    Attributes:
        centre: (3,) float64 of the molecule.
        radius: voxels.
        outline: (nz, ny, nx), what is above the level, blurred.
        details: the density round the molecule, blurred from much to little.
    """

    def __init__(self, density: NDArray[np.float32], level: float = 0.0) -> None:
        whole = torch.from_numpy(density)
        kept = torch.where((whole > 0) & (whole >= level), whole, torch.zeros(()))
        outline = gaussian_blur(kept, min(3.0, max(1.0, max(density.shape) / 50)))
        inside = outline > _OUTLINE * outline.max()
        places = torch.nonzero(inside).double()
        weights = outline[inside].double()
        self.centre = (weights[:, None] * places).sum(0) / weights.sum()
        self._points = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:_N_POINTS]]
        self.radius = max(2.0, float((self._points - self.centre).norm(dim=1).quantile(0.98)))
        low = (places.amin(0).long() - 2).clamp(min=0)
        high = places.amax(0).long() + 3
        part = tuple(slice(int(a), int(b)) for a, b in zip(low, high))
        self._corner = low.double()
        self.details, self._noise = [], []
        for blur in (*(max(_FINEST_BLUR, share * self.radius) for share in _BLURS), _FINEST_BLUR):
            blurred = gaussian_blur(whole, blur)
            self.details.append(blurred[part])
            self._noise.append(_variance_outside(blurred, inside))
        self.outline = outline

    def at(self, detail: int, points: Tensor) -> Tensor:
        """The density at positions, (n, 3) → (n,)."""
        return sample_at(self.details[detail], points - self._corner)

    def differences(self, detail: int, rotations: Tensor, centre: Tensor, n_points: int = _N_POINTS) -> Tensor:
        """The turned map less the map, at points of the molecule; (g, n)."""
        points = self._points[:n_points]
        turned = torch.einsum("gij,nj->gni", rotations, points - centre) + centre
        values = self.at(detail, turned.reshape(-1, 3)).reshape(len(rotations), -1)
        return values - self.at(detail, points)

    def correlations(self, detail: int, rotations: Tensor, centre: Tensor) -> Tensor:
        """Of the map with its turned self, about zero, over the molecule; (g,)."""
        density = self.at(detail, self._points).double()
        turned = density + self.differences(detail, rotations, centre)
        return turned @ density / (turned.norm(dim=1) * density.norm()).clamp(min=1e-30)

    def evidence(self, rotation: Tensor, order: int, centre: Tensor, detail: int = 2) -> Evidence:
        """For a rotation by 1/order of a turn."""
        turn = turn_of(rotation)
        steps = [(round(i * order / len(_CONTROLS)) + share) for i, share in enumerate(_CONTROLS)]
        both = torch.stack([rotation, *(rotation_by(turn * step) for step in steps)])
        squares = self.differences(detail, both, centre).double().square()
        noise = 2 * _NOISE_IN_MOLECULE * self._noise[detail]
        own, other = float(squares[0].mean()), float(squares[1:].mean())
        different = max(0.0, own - noise) / max(other - noise, 1e-3 * other, 1e-30)
        variance = 2 * float(self.at(detail, self._points).double().var())
        features = (other - noise) / max(variance - noise, 1e-30)
        somewhere = self._worst(self.differences(1, both, centre).double().square())
        return Evidence(different, somewhere, features)

    def _worst(self, squares: Tensor) -> float:
        """The largest share that a block of the molecule has."""
        cells = (self._points / max(4.0, _BLOCK * self.radius)).long()
        block = torch.unique(cells, dim=0, return_inverse=True)[1]
        n = int(block.max()) + 1
        counts = torch.bincount(block, minlength=n).double()
        noise = 2 * _NOISE_IN_MOLECULE * self._noise[1]
        own, other = (
            (torch.zeros(n, dtype=torch.float64).index_add_(0, block, values) / counts - noise).clamp(min=0)
            for values in (squares[0], squares[1:].mean(0))
        )
        other = other.clamp(min=max(_LEAST_CONTROL * float(other.mean()), 1e-30))
        return float((own / other)[counts > _LEAST_IN_BLOCK * counts.mean()].max())


def fitted(name: str, frame: Frame, maps: Sequence[LookedAt], details: Sequence[int] = (0, 1, 2)) -> Frame:
    """The frame in which the maps differ least from their images: Gauss-Newton, from coarse to fine."""
    rotations = generators(name)
    radius = max(each.radius for each in maps)
    for detail in details:
        for _ in range(_ROUNDS[detail]):
            step = torch.cat((torch.full((3,), _PROBE / radius), torch.full((3,), _PROBE))).double()
            tried = [frame, *(_moved(frame, change) for change in torch.diag(step))]
            residuals = torch.stack([_residuals(each, rotations, maps, detail) for each in tried])
            slopes = (residuals[1:] - residuals[0]) / _PROBE  # (6, n), per voxel at the molecule's rim
            normal = slopes @ slopes.T
            damped = normal + _DAMPING * normal.diagonal().mean().clamp(min=1e-12) * torch.eye(6, dtype=torch.float64)
            change = -torch.linalg.solve(damped, slopes @ residuals[0])
            change *= min(1.0, _LONGEST_STEP * radius / max(float(change.norm()), 1e-12))
            frame = _moved(frame, change * step / _PROBE)
            if float(change.norm()) < _SMALL:
                break
    return frame


_ROUNDS = (6, 4, 4)
_PROBE = 0.25  # voxels
_DAMPING = 1e-3
_LONGEST_STEP = 0.12  # of the radius
_SMALL = 0.02  # voxels


def _residuals(frame: Frame, rotations: Tensor, maps: Sequence[LookedAt], detail: int) -> Tensor:
    turned = frame.axes @ rotations @ frame.axes.T
    parts = []
    for each in maps:
        parts.append(each.differences(detail, turned, frame.centre, _N_POINTS_TO_FIT).ravel() / each.details[detail].std())
    return torch.cat(parts).double()


def _moved(frame: Frame, change: Tensor) -> Frame:
    """(6,): a turn in radians, a shift in voxels."""
    return Frame(rotation_by(change[:3]) @ frame.axes, frame.centre + change[3:])


def _variance_outside(blurred: Tensor, inside: Tensor) -> float:
    """Of the noise round the molecule: from the median, which what else there is hardly moves; 0 where it is empty."""
    outside = blurred[~inside]
    if len(outside) < 100:
        return 0.0
    outside = outside[:: max(1, len(outside) // 200_000)]
    return float((1.4826 * (outside - outside.median()).abs().median()) ** 2)
