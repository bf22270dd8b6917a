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
from ..maps.preparation import bin_density
from ..maps.sampling import sample
from .rotations import of_vectors, to_vectors
from .symmetry import generators
from .symmetry_axes import Coarse, coarse_copy

_FINEST_BLUR = 0.8  # voxels: what interpolation then loses is next to nothing
_VOXELS_OF_BLUR = 4  # for one standard deviation, at least, where voxels are taken together
_BLURS = (1 / 8, 1 / 16)  # of the molecule's radius: for finding, and for the motions of domains
_OUTLINE = 0.25  # of a blurred map's highest value: what is above is the molecule
_N_POINTS, _N_POINTS_TO_FIT = 12000, 1500
_ROUNDS = (5, 3, 3)  # of Gauss-Newton, at each detail
_PROBE = 0.25  # voxels, for the slopes
_DAMPING = 1e-3
_LONGEST_STEP = 0.12  # of the radius
_SMALL = 0.05  # voxels
_ACROSS = 1e-3
# Of the angle from one image to the next; no fraction that a larger group has.
_CONTROLS = (0.21, 0.37, 0.45, 0.63, 0.71)
_BLOCK = 0.25  # side of a block, of the molecule's radius
_LEAST_IN_BLOCK = 0.4  # of the mean number of points in a block
_LEAST_CONTROL = 0.3  # of the mean, for blocks that look the same at any angle
_LARGEST_SIDE = 80  # voxels; of larger boxes the outline is found on binned ones
_SLAB = 64  # voxels
_FEWEST_OUTSIDE = 100  # voxels from which the noise is taken
_NOISE_IN_MOLECULE = 1.3  # times the noise outside, which is the least there is
_NOISE_IN_BLOCK = 2.0  # by chance one of many blocks has more than the mean

MOST_DIFFERENT = 0.15  # of the difference at other angles
MOST_DIFFERENT_SOMEWHERE = 0.4
LEAST_FEATURES = 0.02  # difference at other angles, of the density's variance


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
        details: the density round the molecule, blurred from much to little.
        spreads: standard deviation of each.
    """

    def __init__(self, density: NDArray[np.float32], level: float = 0.0) -> None:
        whole = torch.from_numpy(density)
        self._binned = max(1, max(density.shape) // _LARGEST_SIDE)
        small = bin_density(np.where((density > 0) & (density >= level), density, np.float32(0)), self._binned)
        self._outline = gaussian_blur(torch.from_numpy(small), min(3.0, max(1.0, max(small.shape) / 50)))
        inside = self._outline > _OUTLINE * self._outline.max()
        voxels = torch.nonzero(inside)
        weights = self._outline[inside].double()
        places = self._binned * (voxels + 0.5) - 0.5
        self.centre = (weights[:, None] * places).sum(0) / weights.sum()
        some = torch.randperm(len(voxels), generator=torch.Generator().manual_seed(0))[:_N_POINTS]
        # Voxels of the map itself, one in each of the outline's: at full detail their values need no interpolation.
        self._points = (self._binned * voxels[some] + self._binned // 2).double()
        self.radius = max(2.0, float((self._points - self.centre).norm(dim=1).quantile(0.98)))
        cells = (self._points / max(4.0, _BLOCK * self.radius)).long()
        self._block = torch.unique(cells @ torch.tensor([1 << 40, 1 << 20, 1]), return_inverse=True)[1]
        blurs = [*(max(_FINEST_BLUR, share * self.radius) for share in _BLURS), _FINEST_BLUR]
        reach = math.ceil(3 * blurs[0])
        self._corner = (places.amin(0).long() - reach).clamp(min=0).double()
        first, last = self._corner.long().tolist(), (places.amax(0).long() + reach + 1).tolist()
        part = density[tuple(slice(a, b) for a, b in zip(first, last))]
        self._bins = [max(1, int(blur / _VOXELS_OF_BLUR)) for blur in blurs]  # of each detail
        self.details = [
            gaussian_blur(torch.from_numpy(bin_density(part, binned)), blur / binned)
            for blur, binned in zip(blurs, self._bins)
        ]
        self.spreads = [float(each.std()) for each in self.details]
        self._noise = self._noise_outside(whole, inside, blurs)

    def _noise_outside(self, whole: Tensor, inside: Tensor, blurs: Sequence[float]) -> list[float]:
        """Variance round the molecule at each detail, from a slab of the box at its height."""
        first = max(0, int(self.centre[0]) - _SLAB // 2)
        slab = whole[first : first + _SLAB]
        own = [torch.arange(n) // self._binned for n in whole.shape]
        outside = ~inside[own[0][first : first + _SLAB]][:, own[1]][:, :, own[2]]
        if _variance(slab[outside]) == 0:
            return [0.0] * len(blurs)
        return [_variance(gaussian_blur(slab, blur)[outside]) for blur in blurs]

    def coarse(self, centre: Tensor, radius: float) -> Coarse:
        """As `coarse_copy`; about another centre and for another radius than the map's own, in voxels."""
        return coarse_copy(self._outline, (centre + 0.5) / self._binned - 0.5, radius / self._binned)

    def at(self, detail: int, points: Tensor) -> Tensor:
        """The density at positions, (n, 3) → (n,)."""
        places = (points - self._corner + 0.5) / self._bins[detail] - 0.5
        return sample(self.details[detail], places)

    def differences(self, detail: int, rotations: Tensor, centre: Tensor, n_points: int = _N_POINTS) -> Tensor:
        """The turned map less the map, at points of the molecule; (g, 3, 3) about (3,) or (g, 3) → (g, n)."""
        points = self._points[:n_points]
        about = centre.reshape(-1, 1, 3)
        turned = (points - about) @ rotations.mT + about
        values = self.at(detail, turned.reshape(-1, 3)).reshape(len(rotations), -1)
        return values - self.at(detail, points)

    def correlations(self, detail: int, rotations: Tensor, centre: Tensor) -> Tensor:
        """Of the map with its turned self, about zero: <a, b>/|a|², as turning keeps |a|; (g,)."""
        density = self.at(detail, self._points).double()
        turned = density + self.differences(detail, rotations, centre)
        return turned @ density / (density @ density).clamp(min=1e-30)

    def evidence(self, rotation: Tensor, controls: Tensor, centre: Tensor, detail: int = 2) -> Evidence:
        """For a rotation of a group, and others like it that are in no group to which it belongs; (3, 3), (n, 3, 3)."""
        both = torch.cat((rotation[None], controls))
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
        counts = torch.bincount(self._block).double()
        noise = 2 * _NOISE_IN_BLOCK * self._noise[1]
        own, other = (
            (torch.zeros_like(counts).index_add_(0, self._block, values) / counts - noise).clamp(min=0)
            for values in (squares[0], squares[1:].mean(0))
        )
        other = other.clamp(min=max(_LEAST_CONTROL * float(other.mean()), 1e-30))
        return float((own / other)[counts > _LEAST_IN_BLOCK * counts.mean()].max())


def controls_of(turning: Tensor) -> Tensor:
    """Rotations to compare with those that make a group, (1 or 2, 3, 3) → (1 or 2, n, 3, 3).

    They turn by other angles about the same axis.  Half a turn across the main axis of Dn is compared with half turns
    about other directions across it: what a quarter does to a belt or a bundle would tell nothing.
    """
    main = to_vectors(turning[0])
    order = _order(turning[0])
    controls = [_others(main, order)]
    for rotation in turning[1:]:
        turn = to_vectors(rotation)
        if abs(float(turn @ main)) < _ACROSS and _order(rotation) == 2:
            about = _others(main / 2, 2 * order)
            controls.append(about @ rotation @ about.mT)
        else:
            controls.append(_others(turn, _order(rotation)))
    return torch.stack(controls)


def _others(turn: Tensor, order: int) -> Tensor:
    """Turns by angles that are no multiples of the one given, all the way round; (n, 3, 3)."""
    steps = [round(i * order / len(_CONTROLS)) + share for i, share in enumerate(_CONTROLS)]
    return torch.stack([of_vectors(turn * step) for step in steps])


def _order(rotation: Tensor) -> int:
    return round(2 * math.pi / float(to_vectors(rotation).norm()))


def fitted(name: str, frame: Frame, maps: Sequence[LookedAt], details: Sequence[int] = (0, 1, 2)) -> Frame:
    """The frame in which the maps differ least from their images: Gauss-Newton, from coarse to fine."""
    rotations, begun = generators(name), frame.centre
    radius = max(each.radius for each in maps)
    scale = torch.tensor([_PROBE / radius] * 3 + [_PROBE] * 3, dtype=torch.float64)
    probes = torch.diag(scale)
    for detail in details:
        for _ in range(_ROUNDS[detail]):
            tried = [frame, *(_moved(frame, change) for change in probes)]
            residuals = _residuals(tried, rotations, maps, detail)
            slopes = (residuals[1:] - residuals[0]) / _PROBE  # (6, n), per voxel at the molecule's rim
            normal = slopes @ slopes.T
            damped = normal + _DAMPING * normal.diagonal().mean().clamp(min=1e-12) * torch.eye(6, dtype=torch.float64)
            change = -torch.linalg.solve(damped, slopes @ residuals[0])
            change *= min(1.0, _LONGEST_STEP * radius / max(float(change.norm()), 1e-12))
            frame = _moved(frame, change * scale / _PROBE)
            if float(change.norm()) < _SMALL:
                break
    if len(rotations) == 1:  # any point of the axis will do: the one nearest to where it began
        axis = frame.axes[:, 0]
        return Frame(frame.axes, frame.centre + ((begun - frame.centre) @ axis) * axis)
    return frame


def _residuals(frames: Sequence[Frame], rotations: Tensor, maps: Sequence[LookedAt], detail: int) -> Tensor:
    """What the maps differ by from their images in each frame, in units of their own spread; (n_frames, n)."""
    axes, centres = torch.stack([frame.axes for frame in frames]), torch.stack([frame.centre for frame in frames])
    turned = axes[:, None] @ rotations @ axes.mT[:, None]  # (n_frames, n_generators, 3, 3)
    centres = centres[:, None].expand(turned.shape[:3])
    parts = []
    for each in maps:
        off = each.differences(detail, turned.flatten(0, 1), centres.flatten(0, 1), _N_POINTS_TO_FIT)
        parts.append(off.reshape(len(frames), -1) / each.spreads[detail])
    return torch.cat(parts, 1).double()


def _moved(frame: Frame, change: Tensor) -> Frame:
    """(6,): a turn in radians, a shift in voxels."""
    return Frame(of_vectors(change[:3]) @ frame.axes, frame.centre + change[3:])


def _variance(outside: Tensor) -> float:
    """Of the noise round the molecule: from the median, which what else there is hardly moves; 0 where it is empty."""
    if len(outside) < _FEWEST_OUTSIDE:
        return 0.0
    some = outside[:: max(1, len(outside) // 100_000)]
    return float((1.4826 * (some - some.median()).abs().median()) ** 2)
