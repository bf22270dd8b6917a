"""Adam: steps of about the same length in every parameter, whatever the scale of the derivative.

Kingma & Ba, ICLR 2015, arXiv:1412.6980, algorithm 1.  The numbers are those of torch.optim.Adam to the last bit, whose
first use imports PyTorch's compiler, which takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_FASTEST = 1e37  # beyond, a step is no float any more
_MEAN, _SQUARE = 0.9, 0.999  # how much of the running means is kept in a step


class Adam:
    """One optimiser of some parameters, each group with a rate of its own."""

    def __init__(self, *groups: tuple[Iterable[Tensor], float], epsilon: float = 1e-8) -> None:
        """
        Args:
            groups: parameters, and the rate: what a step changes at most, in their units.
            epsilon: added to the root of the mean square, in units of the derivative.
        """
        self._groups = [list(parameters) for parameters, _ in groups]
        self._rates = [rate for _, rate in groups]
        self._first_rates = tuple(self._rates)
        self._epsilon = epsilon
        self._state: dict[int, dict[str, Any]] = {}  # by the parameter's place among all

    def set_rate(self, rate: float) -> None:
        """The same for all groups, from now on."""
        self._rates = [rate] * len(self._rates)

    def scale_rates(self, factor: float) -> None:
        """Each group's first rate times the factor, from now on."""
        self._rates = [rate * factor for rate in self._first_rates]

    def zero_grad(self) -> None:
        """Forget the derivatives."""
        for parameter in self._parameters():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters that have a derivative."""
        place = 0
        for parameters, rate in zip(self._groups, self._rates):
            for parameter in parameters:
                if parameter.grad is not None:
                    self._change(parameter, parameter.grad, rate, place)
                place += 1

    def _change(self, parameter: Tensor, gradient: Tensor, rate: float, place: int) -> None:
        if place not in self._state:
            zeros = torch.zeros_like(parameter)
            self._state[place] = {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        state = self._state[place]
        state["step"] += 1
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - _MEAN)
        square.mul_(_SQUARE).addcmul_(gradient, gradient, value=1 - _SQUARE)
        # Both means begin at zero: what they lack is made good.
        root = (square.sqrt() / math.sqrt(1 - _SQUARE ** state["step"])).add_(self._epsilon)
        parameter.addcdiv_(mean, root, value=-rate / (1 - _MEAN ** state["step"]))

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, in the form of torch.optim's state_dict."""
        return {"state": self._state, "param_groups": [{"lr": rate} for rate in self._rates]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises:
            KeyError, TypeError, ValueError: it is no such state, or of other parameters.
        """
        rates = [float(group["lr"]) for group in state["param_groups"]]
        if len(rates) != len(self._rates) or not all(0 <= rate <= _FASTEST for rate in rates):
            raise ValueError("the optimiser's rates are none")
        self.restore_memory(state)
        self._rates = rates

    def restore_memory(self, state: dict[str, Any]) -> None:
        """The running means of a `state`, the rates staying as they are."""
        parameters = list(self._parameters())
        taken: dict[int, dict[str, Any]] = {}
        for place, kept in state["state"].items():
            means = {name: kept[name].detach().clone().to(parameters[place]) for name in ("exp_avg", "exp_avg_sq")}
            if any(mean.shape != parameters[place].shape for mean in means.values()):
                raise ValueError("the optimiser's memory is of parameters of another shape")
            if int(kept["step"]) < 1 or not all(bool(torch.isfinite(mean).all()) for mean in means.values()):
                raise ValueError("the optimiser's memory is no number")
            taken[place] = {"step": int(kept["step"]), **means}
        self._state = taken

    def _parameters(self) -> Iterable[Tensor]:
        return (parameter for parameters in self._groups for parameter in parameters)
