"""The choices of a training run and of a prediction, checked where they enter."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .errors import InputError

N_EULER_STEPS = 10  # of the flow, from t = 0 to 1
INTEGRATORS = ("euler", "midpoint", "rk4")
LOSSES = ("w2", "l2", "correlation")
FLOWS = ("auto", "network", "domains", "both")
RECIPES = ("cryotrans", "auto")
_MAY_BE_NONE = ("n_steps", "n_domains")  # where the recipe chooses
_LARGEST = {  # far beyond use; more would end in a fault, not in a sentence
    "depth": 1000,
    "width": 10_000_000,
    "epsilon": 1e30,
    "learning_rate": 1e30,
    "mu_mesh": 1e30,
}


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the defaults are those of CryoTRANS 1.0.0.

    Raises:
        InputError: a value out of its range.
    """

    initial_level: float  # map units; what is below is set to zero
    target_level: float
    n_steps: int | None  # optimiser steps; the loss is taken n_steps + 1 times; None where the recipe chooses
    period: int  # steps between checkpoints
    bin_size: int = 1
    depth: int = 3  # linear layers
    width: int = 100  # hidden units of a layer
    loss: str = "w2"
    epsilon: float = 1e-4  # of the transport, in units of the longest box side squared
    n_iterations: int = 5  # Sinkhorn rounds
    learning_rate: float = 1e-3
    mu_mesh: float | None = None  # weight of the rigidity, as in CryoTRANS 1.0.0
    seed: int = 0
    recipe: str = "cryotrans"
    flow: str = "network"
    n_domains: int | None = None  # of a flow of domains; None where the recipe chooses
    symmetry: str | None = None  # Cn or Dn, or auto
    blur: float | None = None  # Å, standard deviation that makes the initial as coarse as the target; None: estimated
    debiased: bool = False  # transport that is 0 for equal densities
    epsilon_start: float | None = None  # from which epsilon comes down over the first half of the steps
    reach: float | None = None  # of unbalanced transport, in units of the longest box side
    mesh_share: float = 1.0  # of the cells whose rigidity is taken, others at each step
    hold_out: float | None = None  # share of the target's mass that training does not see

    def __post_init__(self) -> None:
        whole = {"n_steps": 0, "period": 1, "bin_size": 1, "depth": 1, "width": 1, "n_iterations": 1, "n_domains": 1}
        for name, least in whole.items():
            if getattr(self, name) is None and name in _MAY_BE_NONE:
                continue
            if getattr(self, name) < least:
                raise InputError(f"{_SPOKEN[name]} must be {least} or more, not {getattr(self, name)}.")
        for name in ("epsilon", "learning_rate"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"{_SPOKEN[name]} must be a number above 0, not {value:g}.")
        if self.n_steps is None and self.recipe != "auto":
            raise InputError("The number of steps (-n) is missing.")
        if self.blur is not None and not (self.blur >= 0 and math.isfinite(self.blur)):
            raise InputError(f"The blur (--blur) must be 0 Å or more, not {self.blur:g}.")
        if self.epsilon_start is not None and not (
            self.epsilon_start >= self.epsilon and math.isfinite(self.epsilon_start)
        ):
            raise InputError(
                f"The epsilon to start from (--eps_start) must be {self.epsilon:g} (--w2_eps) or more, not "
                f"{self.epsilon_start:g}."
            )
        if self.reach is not None and not (self.reach > 0 and math.isfinite(self.reach)):
            raise InputError(f"The reach of the transport (--reach) must be above 0, not {self.reach:g}.")
        if self.reach is not None and self.debiased:
            raise InputError("--reach and --debiased cannot be used together: give one of the two.")
        if not 0 < self.mesh_share <= 1:
            raise InputError(
                f"The share of the cells (--mesh_share) must be above 0 and at most 1, not {self.mesh_share:g}."
            )
        if self.hold_out is not None and not 0 < self.hold_out < 0.5:
            raise InputError(f"The share held out (--hold-out) must be above 0 and below 0.5, not {self.hold_out:g}.")
        if self.mu_mesh is not None and not (self.mu_mesh >= 0 and math.isfinite(self.mu_mesh)):
            raise InputError(f"{_SPOKEN['mu_mesh']} must be 0 or more, not {self.mu_mesh:g}.")
        for name, most in _LARGEST.items():
            if (getattr(self, name) or 0) > most:
                raise InputError(f"{_SPOKEN[name]} must be {most} or less, not {getattr(self, name)}.")
        for name, words in (("loss", LOSSES), ("recipe", RECIPES), ("flow", FLOWS)):
            if getattr(self, name) not in words:
                raise InputError(f"The {name} must be one of {', '.join(words)}, not {getattr(self, name)!r}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"The seed (--seed) must be a whole number from 0 to 2^63 - 1, not {self.seed}.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


_SPOKEN = {
    "n_steps": "The number of steps (-n)",
    "period": "The period (-p)",
    "bin_size": "The binning (-b)",
    "depth": "The depth (--depth)",
    "width": "The width (--width)",
    "n_domains": "The number of domains (--domains)",
    "n_iterations": "The number of transport rounds (--w2_iter)",
    "epsilon": "The transport's epsilon (--w2_eps)",
    "learning_rate": "The learning rate (--lr)",
    "mu_mesh": "The mesh weight (--mu_mesh)",
}
