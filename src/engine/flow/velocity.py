"""The velocity v(x): a small fully connected network, the same at all times.

Positions and velocities are (n, 3), ordered (z, y, x), in units of the longest box side, and that per unit of time.
Layers are named n0, n1 … so that weight files pass between this program and CryoTRANS 1.0.0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

SLOPE = 0.01  # of the leaky ReLU below zero
_WEIGHT_SPREAD = 0.01  # standard deviation of the weights at the start: next to no motion


class Field(nn.Module):
    """What a flow follows: for points that start somewhere, a velocity wherever they have come to."""

    integrator: str  # that the field is trained with, see `flow`
    of_all_points = False  # whether it knows the way of certain points alone, taken together

    def at(self, start: Tensor) -> Callable[[Tensor], Tensor]:
        """The velocity of the points that start at `start`, (n, 3): a function of where they are, (n, 3) → (n, 3)."""
        raise NotImplementedError

    def fixed_to(self, start: Tensor) -> Field:
        """The same flow for these points alone, (n, 3), with whatever stays the same in training done once."""
        return self


class VelocityField(Field):
    """3 → width → … → width → 3 with `depth` linear layers, leaky ReLU between them, none at the end."""

    integrator = "euler"  # as CryoTRANS 1.0.0

    def __init__(self, depth: int = 3, width: int = 100, seed: int | None = None) -> None:
        """Weights come from N(0, 0.01²), drawn on the CPU so that a seed means the same everywhere; biases are 0."""
        super().__init__()
        self.depth, self.width = depth, width
        sizes = [3] + [width] * (depth - 1) + [3]
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
            layer = nn.Linear(n_in, n_out)
            with torch.no_grad():
                layer.weight.normal_(0, _WEIGHT_SPREAD, generator=generator)
                layer.bias.zero_()
            self.add_module(f"n{i}", layer)

    def at(self, start: Tensor) -> Callable[[Tensor], Tensor]:
        """The velocity, which is the same for all points that come to a place."""
        return self

    def forward(self, points: Tensor) -> Tensor:
        """Velocity at the points; (n, 3) → (n, 3)."""
        return apply_layers(list(self.parameters()), points)[-1]


def apply_layers(parameters: list[Tensor], points: Tensor) -> list[Tensor]:
    """The output of every layer, the last one's being the velocity.

    Args:
        parameters: weight and bias of each layer in turn, (out, in) and (out,).
        points: (n, 3).
    Returns:
        For each layer (n, out), after its leaky ReLU where it has one.
    """
    outputs = []
    values = points
    last = len(parameters) - 2
    for i in range(0, len(parameters), 2):
        values = nn.functional.linear(values, parameters[i], parameters[i + 1])
        if i < last:
            values = nn.functional.leaky_relu(values, SLOPE, inplace=True)
        outputs.append(values)
    return outputs
