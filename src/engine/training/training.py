"""Training of a velocity field, step by step.

The caller decides how often to look, to save and when to end; nothing here waits for the device between two steps.

CryoTRANS 1.0.0 leaves the factor 1/h out of the derivative of its deposit, h being the voxel's side in units of the
box.  Adam does not see the scale of a gradient, except beside its own 1e-8 and beside a second term.  The same steps
follow from the true derivative with both scaled by 1/h: hence the two factors in `Training`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..adam import Adam
from ..docking.partners import Part
from ..errors import InputError, first_line, named
from ..flow.checkpoint import field_of_state, state_of_field
from ..flow.integration import displacement
from ..flow.ties import Ties
from ..flow.velocity import Field
from ..maps.gaussian_blur import gaussian_blur
from ..maps.preparation import PreparedPair
from ..options.training import TrainingOptions
from ..ranks import ALONE, Ranks
from .loss import (
    CorrelationLoss,
    DataLoss,
    Target,
    cell_lattice,
    own_transport,
    rigidity,
    squared_difference,
    transport_loss,
)
from .saved_state import first_losses

_ADAM_EPSILON = 1e-8


class Training:
    """One run: `evaluate` takes the loss and its derivative at the present weights, `update` makes the step.

    Args:
        pair: what `prepare` made of the maps.
        options: loss, learning rate and the rest.
        velocity: the field to be trained; it is changed in place and moved to the device.
        device: where to compute.
        blurs: standard deviations of the Gaussians for the generated and the target density, voxels of the pair;
            of the correlation loss only.
        ranks: that train together, each with its share of the points; the field is to be the same on all.
        ties: of neighbouring domains; what they cost is a part of the loss.
    """

    def __init__(
        self,
        pair: PreparedPair,
        options: TrainingOptions,
        velocity: Field,
        device: torch.device,
        blurs: tuple[float, float] = (0.0, 0.0),
        ranks: Ranks = ALONE,
        ties: Ties | None = None,
    ) -> None:
        self.options = options
        self.notes: list[str] = []  # for the user, until taken
        self.without_partner: list[Part] = []  # recipe auto looks for it
        self.velocity = velocity.to(device)
        ranks.make_equal(self.velocity.state_dict().values())
        self._tension = ties.between(self.velocity) if ties else None
        self.n_points = len(pair.weights)  # of all ranks
        self.ranks, self._own_points = ranks, ranks.share_of(self.n_points)
        self.step = 0  # the step that the next `evaluate` belongs to
        self._voxel = pair.voxel
        self._weights = torch.from_numpy(pair.weights[self._own_points]).to(device)
        target = torch.from_numpy(np.ascontiguousarray(pair.target)).to(device)
        seen = None if pair.seen is None else torch.from_numpy(pair.seen).to(device)
        self._target = Target.of(_blurred(target, seen, blurs[1]), seen)
        self._correlation = CorrelationLoss(self._target, blurs[0], ranks)
        self._own: Tensor | None = None  # of the target, for debiased transport, and the epsilon and rounds it is for
        self._own_is_for: tuple[float, int] | None = None
        nodes = torch.from_numpy(pair.support[self._own_points])
        self._cells: Tensor | None = None
        if options.mu_mesh:
            nodes, cells = cell_lattice(nodes, pair.grid_shape)
            self._cells = cells.to(device)
        self._start = ((nodes + 0.5) * pair.voxel).float().to(device)
        self._fixed = self.velocity if self._cells is not None else self.velocity.fixed_to(self._start)
        # Apple's GPUs have no float64; elsewhere it keeps the deposit's shares as exact as the displacements are.
        self._nodes = nodes.to(device, torch.float32 if device.type == "mps" else torch.float64)
        # A correlation has no scale of its own.
        epsilon = _ADAM_EPSILON / pair.voxel if options.loss != "correlation" else _ADAM_EPSILON**2
        self._optimiser = Adam((self.velocity.parameters(), options.learning_rate), epsilon=epsilon)
        self._total_mass = float(pair.weights.sum(dtype=np.float64))
        self._losses: list[float] = []
        self._waiting: list[Tensor] = []  # losses that are still on the device
        self._mass: Tensor | None = None
        self.is_sparing = False

    def spare_memory(self) -> None:
        """From now on take as little memory for a step as can be; it takes longer."""
        self.is_sparing = True

    @property
    def n_steps(self) -> int:
        """How many there are to be."""
        return self.options.n_steps or 0

    @property
    def finished(self) -> bool:
        """Whether there is no step left to make."""
        return self.step >= self.n_steps

    ended_early = has_settled = False  # as many steps as are wanted are all

    def set_learning_rate(self, rate: float) -> None:
        """For the steps from now on."""
        self._optimiser.set_rate(rate)

    def take_over(self, earlier: Training) -> None:
        """Go on with the optimiser's memory of an earlier training of the same field, as after a change of grid."""
        self._optimiser.restore_memory(earlier._optimiser.state())

    @torch.no_grad()
    def loss(self) -> float:
        """The loss at the present weights, of the data alone (waits for the device)."""
        carried, _, points = self._carried()
        data = self._data_loss(carried if points is None else carried.index_select(0, points))
        return float(data.value)

    def evaluate(self) -> None:
        """Take the loss at the present weights, and its derivative."""
        carried, cells, points = self._carried()
        data = self._data_loss(carried if points is None else carried.index_select(0, points))
        loss, objective = data.value if self.ranks.is_first else torch.zeros_like(data.value), data.value
        if cells is not None and self.options.mu_mesh:
            mesh = self.options.mu_mesh * rigidity(carried, cells) * (len(cells) / self._n_cells)
            loss, objective = loss + mesh, objective + mesh / self._voxel
        if self._tension is not None and self.ranks.is_first:  # all ranks have the same domains
            tension = self._tension()
            loss, objective = loss + tension, objective + tension
        self._optimiser.zero_grad()
        objective.backward()
        # A position that is not a number is dropped by the deposit; in the loss it shall be seen.
        loss = (loss + 0 * carried.sum()).detach()
        self._waiting.append(self.ranks.add_gradients(self.velocity.parameters(), loss))
        self._mass = data.mass

    def update(self) -> None:
        """Make the optimiser's step from the derivative that `evaluate` took."""
        self._optimiser.step()
        self.step += 1

    @property
    def losses(self) -> list[float]:
        """The loss of every step so far (waits for the device).

        Raises:
            InputError: a loss is not a number: training has diverged.
        """
        if self._waiting:
            values = torch.stack(self._waiting).tolist()
            bad = next((i for i, loss in enumerate(values, len(self._losses)) if not math.isfinite(loss)), None)
            if bad is not None:
                raise InputError(
                    f"The loss is not a number any more at step {bad}: training has diverged. "
                    f"Use a smaller learning rate ({named('learning_rate')}) than {self.options.learning_rate:g}."
                )
            self._losses += values  # once looked at, so that a glance costs no more the longer a run is
            self._waiting.clear()
        return self._losses

    def mass_outside(self) -> float:
        """The share of the points' mass that has left the box, from 0 to 1 (waits for the device)."""
        if self._mass is None or not self._total_mass:
            return 0.0
        share = 1 - float(self._mass) / self._total_mass
        return share if share > 1e-6 else 0.0  # float32 sums differ by less

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on exactly, for the step that was evaluated last."""
        return {
            "step": self.step,
            "velocity": state_of_field(self.velocity),
            "optimizer": self._optimiser.state(),
            "losses": torch.tensor(self.losses[: self.step + 1], dtype=torch.float64),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`; its step is to be evaluated again.

        Raises:
            InputError: the state belongs to another network.
        """
        try:
            self.velocity.load_state_dict(field_of_state(state["velocity"]).state_dict())
            self._optimiser.restore(state["optimizer"])
            self.step = int(state["step"])
            self._losses = first_losses(state["losses"], self.step)
        except (KeyError, IndexError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"The saved state does not fit this run ({first_line(error)}). Start afresh in another directory."
            ) from error
        self._waiting.clear()

    def _carried(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Carried positions in voxels; where there are cells, their corners' rows in them, and the points' rows."""
        start, nodes, cells = self._start, self._nodes, self._cells
        points = None if cells is None else cells[:, 0]
        if cells is not None and points is not None and self.options.mesh_share < 1:
            generator = torch.Generator().manual_seed(self.options.seed + self.step)  # resuming makes the same choice
            chosen = torch.randperm(self.n_points, generator=generator)[: self._n_cells]
            own = self._own_points
            chosen = chosen[(chosen >= own.start) & (chosen < own.stop)] - own.start
            cells = cells.index_select(0, chosen.to(cells.device))
            used = torch.zeros(len(nodes), dtype=torch.bool, device=cells.device)
            used[points] = True
            used[cells.reshape(-1)] = True
            rows = used.cumsum(0) - 1
            start, nodes, cells, points = start[used], nodes[used], rows[cells], rows[points]
        moved = displacement(self._fixed, start, sparing=self.is_sparing)
        return nodes + moved / self._voxel, cells, points

    @property
    def _n_cells(self) -> int:
        """How many cells of all ranks a step looks at."""
        return max(1, round(self.options.mesh_share * self.n_points))

    def _epsilon(self) -> float:
        """Of the transport at this step, in units of the longest box side squared."""
        last = self.options.epsilon
        first = last if self.options.epsilon_start is None else self.options.epsilon_start
        done = min(1.0, 2 * self.step / max(1, self.n_steps))
        return float(first * (last / first) ** done)

    def _data_loss(self, points: Tensor) -> DataLoss:
        if self.options.loss == "l2":
            return squared_difference(points, self._weights, self._target, self.ranks)
        if self.options.loss == "correlation":
            return self._correlation(points, self._weights)
        area = self._voxel**2  # of a voxel's face in units of the box: the transport below is in voxels
        options = self.options
        rho = None if options.reach is None else options.reach**2 / area
        how = (self._epsilon() / area, options.n_iterations)
        if options.debiased and self._own_is_for != how:
            self._own, self._own_is_for = own_transport(self._target, *how), how
        transport = transport_loss(points, self._weights, self._target, *how, self._own, rho, self.ranks)
        return DataLoss(transport.value * area, transport.mass)


def _blurred(target: Tensor, seen: Tensor | None, sigma: float) -> Tensor:
    """The target blurred; where a part is held out, as a mean over what is seen alone (normalised convolution).

    Knutsson & Westin, Proc. CVPR (1993) 515.
    """
    blurred = gaussian_blur(target, sigma)
    if seen is None or sigma <= 0:
        return blurred
    whole, there = gaussian_blur(torch.ones_like(seen), sigma), gaussian_blur(seen, sigma)
    return torch.where(seen > 0, blurred * seen * whole / there.clamp(min=torch.finfo(there.dtype).tiny), 0)
