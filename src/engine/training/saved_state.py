"""What a saved state must say before a training goes on from it: its file may have been edited, or be another run's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..docking.partners import Part
from ..flow.checkpoint import field_of_state


def first_losses(losses: Tensor, n: int) -> list[float]:
    """The losses of the first n steps.

    Raises:
        ValueError: there are not so many, or some are no numbers.
    """
    if losses.ndim != 1 or not 0 <= n <= len(losses) or not bool(torch.isfinite(losses).all()):
        raise ValueError(f"it has not the losses of {n} steps")
    return [float(loss) for loss in losses[:n].double().tolist()]


def check_recipe(state: Mapping[str, Any], n_stages: int, n_starts: int) -> None:
    """See that a recipe of so many stages and starts can take up a state.

    Raises:
        ValueError, KeyError, TypeError: it cannot.
    """
    if not 0 <= int(state["stage"]) <= n_stages:
        raise ValueError(f"it is in stage {int(state['stage'])} of {n_stages}")
    for ended in state["ended"]:
        if not (isinstance(ended["start"], int) and 0 <= ended["start"] < n_starts and math.isfinite(ended["score"])):
            raise ValueError("a start that has ended is none of this run's")
        field_of_state(ended["field"])
    for field in state["docked"]:
        field_of_state(field)


def parts_of(state: Mapping[str, Any], grid_shape: tuple[int, int, int]) -> list[Part]:
    """The parts of maps on this grid that a state leaves out.

    Raises:
        ValueError, KeyError, TypeError: they are of another grid, or none.
    """
    for each in state["without_partner"]:
        numbers = [each["share"], *each["centre"]]
        if list(each["shape"]) != list(grid_shape) or each["of"] not in ("initial", "target") or len(numbers) != 4:
            raise ValueError("parts without partner are of another grid")
        if not all(math.isfinite(number) for number in numbers) or each["voxels"].dtype != torch.uint8:
            raise ValueError("parts without partner are damaged")
    return [Part.of_state(each) for each in state["without_partner"]]
