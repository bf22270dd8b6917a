"""The flow dx/dt = v(x) by explicit steps, its derivative, and its inverse.

Positions are (n, 3), ordered (z, y, x), in units of the longest box side; time runs from 0 to 1.  Integrators: Euler's
steps as in CryoTRANS 1.0.0, the midpoint rule, the classical rule of Runge and Kutta; Hairer, Nørsett & Wanner,
Solving Ordinary Differential Equations I (1993), II.1.  Points that each follow one screw go their way in closed form.

The derivative of Euler's steps is written out by hand: going back through a step needs only what the layers put out in
it, so all steps share one accumulator for each weight, and where the outputs of all steps would take too much memory,
they are computed anew from the stored positions, which costs a third more time and next to no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..options.choices import N_EULER_STEPS
from .screws import Screws
from .velocity import SLOPE, Field, VelocityField, apply_layers

_KEPT_BYTES = 1 << 29  # layer outputs kept for the way back; beyond, they are recomputed
_POINTS_AT_ONCE = 1 << 16
_POINTS_AT_ONCE_ON_CPU = 1 << 13
_PARTS_KEPT = 2
_SAME_TIME = 1e-9


def displacement(
    velocity: Field,
    points: Tensor,
    n_steps: int = N_EULER_STEPS,
    keep_outputs: bool | None = None,
    sparing: bool = False,
) -> Tensor:
    """x(1) - x(0) of the points; differentiable in the points and in the field's parameters.

    The difference is what is summed, since in float32 it keeps digits that a position loses.

    Args:
        velocity: the field.
        points: (n, 3), positions at t = 0.
        n_steps: steps of the field's integrator.
        keep_outputs: of a network, hold every layer's output for the derivative (faster) or compute them twice (less
            memory); by default, hold them while they take less than half a gigabyte.
        sparing: as little memory as can be, whatever time it takes: few points at a time, and nothing held.
    Returns:
        (n, 3).
    """
    if not isinstance(velocity, VelocityField):
        return _follow_in_parts(velocity, points, n_steps, sparing)
    if keep_outputs is None:
        kept = n_steps * len(points) * velocity.width * (velocity.depth - 1) * points.element_size()
        keep_outputs = kept <= _KEPT_BYTES and not sparing
    # On a CPU all steps of a few points at a time: what a layer puts out then stays in the cache.
    few = points.device.type == "cpu" or sparing
    at_once = _POINTS_AT_ONCE_ON_CPU if few else max(1, len(points))
    parts = points.split(at_once)
    return torch.cat([_EulerFlow.apply(part, n_steps, keep_outputs, *velocity.parameters()) for part in parts])


def displacements(
    field: Field, points: Tensor, times: Sequence[float], n_steps: int = N_EULER_STEPS, integrator: str | None = None
) -> Iterator[Tensor]:
    """How far the points have gone at each of the times.

    A time between two steps is reached by a shorter step of the same integrator, and the steps go on from where they
    were, so any choice of times shows the same trajectory; with Euler steps it is made of straight lines.

    Args:
        field: what the points follow.
        points: (n, 3), positions at t = 0.
        times: from 0 to 1, in ascending order.
        n_steps: steps from 0 to 1.
        integrator: one of INTEGRATORS; by default the one that the field was trained with.
    Yields:
        (n, 3), x(t) - x(0) for each time.
    """
    integrator = integrator or field.integrator
    parts = [slice(i, i + _POINTS_AT_ONCE) for i in range(0, len(points), _POINTS_AT_ONCE)]
    with torch.no_grad():  # not round the whole, which would keep what was yielded until the next is there
        velocities = [field.at(points[part]) for part in parts]
    moved = torch.zeros_like(points)
    slope: Tensor | None = None  # the velocity at the last whole step, once it is known

    @torch.no_grad()
    def after(size: float) -> Tensor:
        nonlocal slope
        known = slope is not None
        slope = torch.empty_like(points) if slope is None else slope
        result = torch.empty_like(points)
        for part, velocity in zip(parts, velocities):
            place = points[part] + moved[part]
            if not known:
                slope[part] = velocity(place)
            result[part] = moved[part] + change_of_step(velocity, place, slope[part], size, integrator)
        return result

    step = 0
    for time in times:
        while step < n_steps and (step + 1) / n_steps <= time + _SAME_TIME:
            moved, slope, step = after(1 / n_steps), None, step + 1
        rest = time - step / n_steps
        yield after(rest) if abs(rest) > _SAME_TIME else moved


def follow(field: Field, points: Tensor, n_steps: int, integrator: str | None = None) -> Tensor:
    """x(1) - x(0) of the points, (n, 3); differentiable by whatever means PyTorch has, forward mode included."""
    velocity = field.at(points)
    integrator = integrator or field.integrator
    if integrator == "exact":
        n_steps = 1
    moved = torch.zeros_like(points)
    for _ in range(n_steps):
        place = points + moved
        moved = moved + change_of_step(velocity, place, velocity(place), 1 / n_steps, integrator)
    return moved


def _follow_in_parts(field: Field, points: Tensor, n_steps: int, sparing: bool) -> Tensor:
    """`follow`, what it needs for the way back being computed twice where there are many points, or to be sparing."""
    is_alone = not torch.is_grad_enabled()  # there is no way back
    few = sparing or (is_alone and points.device.type == "cpu")
    parts = points.split(len(points) if field.of_all_points else _POINTS_AT_ONCE_ON_CPU if few else _POINTS_AT_ONCE)
    if (len(parts) <= _PARTS_KEPT and not sparing) or is_alone:
        return torch.cat([follow(field, part, n_steps) for part in parts])
    return torch.cat([checkpoint(follow, field, part, n_steps, use_reentrant=False) for part in parts])


def change_of_step(
    velocity: Callable[[Tensor], Tensor], place: Tensor, slope: Tensor, size: float, integrator: str
) -> Tensor:
    """What a step of that size adds to `place`, (n, 3), where the velocity is `slope`; order 1, 2 and 4."""
    if integrator == "euler":
        return slope * size
    if integrator == "exact":
        assert isinstance(velocity, Screws)
        return velocity.way(slope, size)
    half = velocity(place + slope * (size / 2))
    if integrator == "midpoint":
        return half * size
    assert integrator == "rk4", integrator
    again = velocity(place + half * (size / 2))
    end = velocity(place + again * size)
    return (slope + 2 * half + 2 * again + end) * (size / 6)


class _EulerFlow(torch.autograd.Function):
    """x ← x + v(x)/n, n times; the value is x's change."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, n_steps: int, keep_outputs: bool, *parameters: Tensor) -> Tensor:
        positions, outputs = [], []
        moved = torch.zeros_like(points)
        for _ in range(n_steps):
            positions.append(points + moved)
            layers = apply_layers(list(parameters), positions[-1])
            if keep_outputs:
                outputs.append(layers[:-1])
            moved = torch.add(moved, layers[-1], alpha=1 / n_steps)
        ctx.save_for_backward(*parameters)
        ctx.n_steps, ctx.positions, ctx.outputs = n_steps, positions, outputs
        return moved

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        parameters = list(ctx.saved_tensors)
        sums = [torch.zeros_like(p) for p in parameters]
        wanted = gradients[0]  # derivative of the loss with respect to x after the step
        for step in reversed(range(ctx.n_steps)):
            points = ctx.positions[step]
            hidden = ctx.outputs[step] if ctx.outputs else apply_layers(parameters, points)[:-1]
            inputs = [points, *hidden]
            gradient = wanted / ctx.n_steps  # with respect to the velocity, then to each layer's output
            for layer in reversed(range(len(inputs))):
                if layer < len(hidden):
                    gradient = torch.ops.aten.leaky_relu_backward(gradient, hidden[layer], SLOPE, True)
                sums[2 * layer].addmm_(gradient.T, inputs[layer])
                sums[2 * layer + 1].add_(gradient.sum(0))
                gradient = gradient @ parameters[2 * layer]
            wanted = wanted + gradient
        return (wanted - gradients[0], None, None, *sums)
