"""The flow dx/dt = v(x) by explicit Euler steps, and its derivative.

Positions are (n, 3), ordered (z, y, x), in units of the longest box side; time runs from 0 to 1.

The derivative is written out by hand: going back through a step needs only what the layers put out in it, so all steps
share one accumulator for each weight, and where the outputs of all steps would take too much memory, they are computed
anew from the stored positions, which costs a third more time and next to no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .options import N_EULER_STEPS
from .velocity import SLOPE, VelocityField, apply_layers

_KEPT_BYTES = 1 << 29  # layer outputs kept for the way back; beyond, they are recomputed
_POINTS_AT_ONCE = 1 << 16
_POINTS_AT_ONCE_ON_CPU = 1 << 13


def displacement(
    velocity: VelocityField, points: Tensor, n_steps: int = N_EULER_STEPS, keep_outputs: bool | None = None
) -> Tensor:
    """x(1) - x(0) of the points; differentiable in the points and in the network's weights.

    The difference is what is summed, since in float32 it keeps digits that a position loses.

    Args:
        velocity: the field.
        points: (n, 3), positions at t = 0.
        n_steps: Euler steps.
        keep_outputs: hold every layer's output for the derivative (faster) or compute them twice (less memory);
            by default, hold them while they take less than half a gigabyte.
    Returns:
        (n, 3).
    """
    if keep_outputs is None:
        kept = n_steps * len(points) * velocity.width * (velocity.depth - 1) * points.element_size()
        keep_outputs = kept <= _KEPT_BYTES
    # On a CPU all steps of a few points at a time: what a layer puts out then stays in the cache.
    at_once = _POINTS_AT_ONCE_ON_CPU if points.device.type == "cpu" else max(1, len(points))
    parts = points.split(at_once)
    return torch.cat([_EulerFlow.apply(part, n_steps, keep_outputs, *velocity.parameters()) for part in parts])


@torch.no_grad()
def displacements(
    velocity: VelocityField, points: Tensor, times: list[float], n_steps: int = N_EULER_STEPS
) -> Iterator[Tensor]:
    """How far the points have gone at each of the times.

    Between two Euler steps the way is a straight line, so any number of frames shows the same trajectory.

    Args:
        velocity: the field.
        points: (n, 3), positions at t = 0.
        times: from 0 to 1, in ascending order.
        n_steps: Euler steps from 0 to 1.
    Yields:
        (n, 3), x(t) - x(0) for each time.
    """
    moved = torch.zeros_like(points)
    speed = torch.empty_like(points)
    step, stale = 0, True
    for time in times:
        while step < n_steps and (step + 1) / n_steps <= time + 1e-9:
            if stale:
                _fill_velocity(velocity, points, moved, speed)
            moved = moved + speed / n_steps
            step, stale = step + 1, True
        rest = time - step / n_steps
        if abs(rest) > 1e-9:
            if stale:
                _fill_velocity(velocity, points, moved, speed)
                stale = False
            yield moved + speed * rest
        else:
            yield moved


def _fill_velocity(velocity: VelocityField, points: Tensor, moved: Tensor, speed: Tensor) -> None:
    for i in range(0, len(points), _POINTS_AT_ONCE):
        part = slice(i, i + _POINTS_AT_ONCE)
        speed[part] = velocity(points[part] + moved[part])


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
