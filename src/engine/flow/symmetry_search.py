"""Finding the point group of maps: a proposal, made of axes that hold in all of them at full detail."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError, named
from .rotations import to_vectors
from .symmetry import Symmetry, generators, group_in_frame, standard_rotations
from .symmetry_axes import Axis, Coarse, across_by_half_a_turn, find_axes
from .symmetry_evidence import Evidence, Frame, LookedAt, controls_of, fitted

_DIRECTIONS = 10  # looked at closely, at most
_SAME = math.cos(math.radians(10))  # two directions of one axis
_NEARLY = math.cos(math.radians(18))  # less than two axes of any group are apart, if one's order divides the other's
_LEAST_ALIKE = 0.7  # correlation of a map with its turned self where the user says what its symmetry is
_ANGLE_OFF = 0.1  # of the cosine of the angle between two axes
_FROM_CENTRE = 0.2  # of the radius: how far from the centre of mass an axis may pass
_HOPELESS = 0.8  # of the difference at other angles, before the fine fit


class Found(NamedTuple):
    """A group, and how well the maps keep it."""

    symmetry: Symmetry
    alike: tuple[float, ...]  # correlation of each map with its turned self, at the detail of domains

    def text(self) -> str:
        """As in "C3 about z (0.99 in both)"."""
        numbers = [f"{value:.2f}" for value in self.alike]
        said = f"{numbers[0]} in both" if len(numbers) == 2 and len(set(numbers)) == 1 else " and ".join(numbers)
        return f"{self.symmetry.name} about {self.symmetry.axis_text()} ({said})"


def find_symmetry(
    name: str, densities: Sequence[NDArray[np.float32]], levels: Sequence[float] | None = None
) -> Found | None:
    """A symmetry that all the densities have, about any axis through any point.

    Args:
        name: C3, D7, O …, or auto for the largest group that holds in all of them.
        densities: (nz, ny, nx) each, on one grid, as they come: what is below the level tells the noise.
        levels: of each, 0 if left out.
    Returns:
        None where there is none (auto), or where the group is C1.
    Raises:
        InputError: the densities have not the symmetry that was named, or there is none of that name.
    """
    if name != "auto" and len(standard_rotations(name)) == 1:
        return None
    maps = [LookedAt(density, level) for density, level in zip(densities, levels or [0.0] * len(densities))]
    centre = torch.stack([each.centre for each in maps]).mean(0)
    radius = max(each.radius for each in maps)
    coarse = [each.coarse(centre, radius) for each in maps]
    axes = find_axes(coarse)
    group: tuple[str, Frame] | None
    if name == "auto":
        group = _largest(_by_direction(axes), coarse[0], centre, maps)
    else:
        group = _named(name.upper(), axes, coarse[0], centre, maps, densities[0].shape)
    if group is None:
        return None
    frame = group[1]
    symmetry = group_in_frame(group[0], (frame.centre + 0.5) / max(densities[0].shape), frame.axes)
    return Found(symmetry.to(torch.zeros(1)), tuple(_alike(*group, each) for each in maps))


def _largest(
    axes: list[list[Axis]], coarse: Coarse, centre: Tensor, maps: Sequence[LookedAt]
) -> tuple[str, Frame] | None:
    """The group of the highest order that holds in all maps."""
    cyclic: list[tuple[int, tuple[str, Frame]]] = []
    for of_direction in axes:
        for axis in of_direction:  # from the highest order down
            if any(n % axis.order == 0 and _nearly_along(axis, found) for n, (_, found) in cyclic):
                break
            group = _held(f"C{axis.order}", Frame(_frame_along(axis.direction), centre), maps)
            if group is not None:
                cyclic.append((axis.order, group))
                break
    cyclic.sort(key=lambda each: -each[0])
    if not cyclic:
        return None
    for name, frame in _of_several_axes(cyclic):
        group = _held(name, frame, maps)
        if group is not None:
            return group
    order, best = cyclic[0]
    for n, (_, frame) in cyclic:
        if 2 * n <= order:
            break
        across = across_by_half_a_turn(coarse, frame.axes[:, 0])
        group = _held(f"D{n}", Frame(_frame_along(frame.axes[:, 0], across), centre), maps)
        if group is not None:
            return group
    return best


def _named(
    name: str, axes: list[Axis], coarse: Coarse, centre: Tensor, maps: Sequence[LookedAt], shape: tuple[int, ...]
) -> tuple[str, Frame]:
    """Where the maps keep a group best, about an axis of the box or one that is found."""
    main = _order(generators(name)[0])
    sides = torch.tensor(shape, dtype=torch.float64)
    directions = [*torch.eye(3, dtype=torch.float64), *(axis.direction for axis in axes if main % axis.order == 0)]
    frames = [
        Frame(_frame_along(direction, across), middle)
        for direction in directions
        for across in (None, across_by_half_a_turn(coarse, direction))
        for middle in (centre, (sides - 1) / 2, sides / 2)
    ]
    if name in _OF_SEVERAL:
        found = [(axis.order, (f"C{axis.order}", Frame(_frame_along(axis.direction), centre))) for axis in axes]
        frames = [Frame(torch.eye(3, dtype=torch.float64), middle) for middle in (centre, (sides - 1) / 2, sides / 2)]
        frames += [frame for word, frame in _of_several_axes(found) if word == name]
    frames.sort(key=lambda frame: -min(_alike(name, frame, each, 0) for each in maps))
    within = _FROM_CENTRE * max(each.radius for each in maps)  # else a part of the map takes the axis to itself
    fits = [fitted(name, frame, maps) for frame in frames[:3]]
    fits = [fit for fit in fits if torch.linalg.cross(fit.centre - centre, fit.axes[:, 0]).norm() < within]
    best = max([frames[0], *fits], key=lambda frame: min(_alike(name, frame, each) for each in maps))
    alike = min(_alike(name, best, each) for each in maps)
    if alike < _LEAST_ALIKE:
        raise InputError(
            f"The maps are not {name}: turned so about any axis they correlate with themselves by {alike:.2f} at best. "
            f"Leave {named('symmetry')} out, or name another."
        )
    return name, best


def _held(name: str, frame: Frame, maps: Sequence[LookedAt]) -> tuple[str, Frame] | None:
    """The group in its best place, if it holds there in all maps."""
    turning = generators(name)
    controls = controls_of(turning)

    def every(frame: Frame, detail: int, passes: Callable[[Evidence], bool]) -> bool:
        axes = frame.axes
        return all(
            passes(each.evidence(axes @ rotation @ axes.T, axes @ others @ axes.T, frame.centre, detail))
            for rotation, others in zip(turning, controls)
            for each in maps
        )

    frame = fitted(name, frame, maps, (0, 1))
    if not every(frame, 1, lambda seen: seen.different < _HOPELESS):
        return None
    frame = fitted(name, frame, maps, (2,))
    return (name, frame) if every(frame, 2, lambda seen: seen.holds) else None


_OF_SEVERAL = ("I", "O", "T")


def _of_several_axes(found: Sequence[tuple[int, tuple[str, Frame]]]) -> Iterator[tuple[str, Frame]]:
    """The groups I, O and T, laid so that two of their axes fall on two that were found."""
    high = [(order, frame) for order, (_, frame) in found if order > 2][:4]
    for name in _OF_SEVERAL:
        own = _axes_of(standard_rotations(name))
        for (n, first), (m, second) in itertools.combinations(high, 2):
            a, b = first.axes[:, 0], second.axes[:, 0]
            if abs(float(a @ b)) > _SAME:
                continue
            b = b if float(a @ b) > 0 else -b
            fits = [
                (abs(float(c @ d) - float(a @ b)), c, d)
                for (k, c), (j, d) in itertools.product(own, own)
                if k % n == 0 and j % m == 0 and float(c @ d) > 0
            ]
            if fits:
                off, c, d = min(fits, key=lambda fit: fit[0])
                if off < _ANGLE_OFF:
                    axes = _frame_along(a, b) @ _frame_along(c, d).T
                    yield name, Frame(axes, (first.centre + second.centre) / 2)


def _axes_of(rotations: Tensor) -> list[tuple[int, Tensor]]:
    """Each axis of a group, in both directions, with its order."""
    found: list[tuple[int, Tensor]] = []
    for rotation in rotations[1:]:
        axis = torch.nn.functional.normalize(to_vectors(rotation), dim=0)
        for direction in (axis, -axis):
            same = [k for k, (_, other) in enumerate(found) if float(other @ direction) > 1 - 1e-6]
            order = _order(rotation)
            if not same:
                found.append((order, direction))
            elif order > found[same[0]][0]:
                found[same[0]] = order, direction
    return found


def _nearly_along(axis: Axis, frame: Frame) -> bool:
    """Whether a fit would end at that frame's main axis again."""
    return abs(float(axis.direction @ frame.axes[:, 0])) > _NEARLY


def _order(rotation: Tensor) -> int:
    angle = float(to_vectors(rotation).norm())
    return max(1, round(2 * math.pi / angle)) if angle > 1e-6 else 1


def _by_direction(axes: list[Axis]) -> list[list[Axis]]:
    """Gathered by direction, the likeliest directions first; in each the orders from the highest down."""
    gathered: list[list[Axis]] = []
    for axis in sorted(axes, key=lambda axis: -axis.share):
        near = [each for each in gathered if abs(float(each[0].direction @ axis.direction)) > _SAME]
        if near:
            near[0].append(axis)
        else:
            gathered.append([axis])
    return [sorted(each, key=lambda axis: -axis.order) for each in gathered[:_DIRECTIONS]]


def _frame_along(axis: Tensor, across: Tensor | None = None) -> Tensor:
    """A right-handed frame whose first axis is the one given, its second as near to `across` as can be; (3, 3)."""
    if across is None:
        across = torch.eye(3, dtype=torch.float64)[axis.abs().argmin()]
    first = torch.nn.functional.normalize(axis, dim=0)
    second = torch.nn.functional.normalize(across - (across @ first) * first, dim=0)
    return torch.stack((first, second, torch.linalg.cross(first, second)), 1)


def _alike(name: str, frame: Frame, density: LookedAt, detail: int = 1) -> float:
    """The least correlation of a map with an image of itself."""
    rotations = frame.axes @ standard_rotations(name)[1:] @ frame.axes.T
    return float(density.correlations(detail, rotations, frame.centre).min())
