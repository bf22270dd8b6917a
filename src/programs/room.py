"""Whether there is memory for a run, before it begins: what is needed, what is free, and what would fit.

The need is an estimate (engine/outlook.py).  On a GPU it is the least that can be, since nobody has measured more: what
is too much there ends in a sentence too, not in a kill.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..engine.errors import InputError, named
from ..engine.free_memory import room_for_process
from ..engine.maps.density_map import DensityMap
from ..engine.options.training import TrainingOptions
from ..engine.outlook import (
    gigabytes,
    is_enough,
    least_memory_on_gpu,
    memory_of_prediction,
    memory_of_training,
)
from .progress import Reporter

if TYPE_CHECKING:
    import torch

_MOST_BINNING = 8


def check_room_for_training(
    initial: DensityMap, options: TrainingOptions, device: torch.device, reporter: Reporter, n_processes: int = 1
) -> None:
    """
    Args:
        n_processes: on this computer that are to train together.
    Raises:
        InputError: there is not enough memory.
    """
    n_points = int(np.count_nonzero(initial.density >= options.initial_level)) // options.bin_size**3

    def needed(binning: int) -> float:
        size = initial.density.size // binning**3, n_points // binning**3
        return n_processes * memory_of_training(*size, options.recipe, options.width, options.depth)

    _check("training", needed, reporter)
    _check_gpu("training", least_memory_on_gpu(initial.density.size // options.bin_size**3, n_points), device)


def check_room_for_prediction(
    density_map: DensityMap, level: float, n_places: int, device: torch.device, reporter: Reporter
) -> None:
    """
    Args:
        n_places: of all atoms in all frames.
    Raises:
        InputError: there is not enough memory.
    """

    def needed(binning: int) -> float:
        return memory_of_prediction(density_map.density.size // binning**3, n_places)

    _check("prediction", needed, reporter)
    n_points = int(np.count_nonzero(density_map.density >= level))
    _check_gpu("prediction", least_memory_on_gpu(density_map.density.size, n_points), device)


def _check(what: str, needed: Callable[[int], float], reporter: Reporter) -> None:
    """
    Args:
        needed: bytes, where both maps are binned by so much.
    """
    room = room_for_process()
    if room is None or is_enough(needed(1), room):
        return
    text = f"This {what} needs about {gigabytes(needed(1))} of memory, and {gigabytes(room)} are free."
    binning = next((n for n in range(2, _MOST_BINNING + 1) if is_enough(needed(n), room)), None)
    way_out = (
        "close other programs or cut the maps to a smaller box round the molecule"
        if binning is None
        else f"bin the maps first, by {binning} it would need {gigabytes(needed(binning))} (in ChimeraX: volume bin #1 "
        f"binSize {binning}), cut them to a smaller box round the molecule, or close other programs"
    )
    if needed(1) > room:
        raise InputError(f"{text} {way_out[0].upper()}{way_out[1:]}.")
    reporter.note(f"{text} Should it run out: {way_out}.")


def _check_gpu(what: str, needed: float, device: torch.device) -> None:
    if device.type != "cuda":
        return
    import torch

    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)  # the latter is ours to use again
    if needed > free:
        raise InputError(
            f"This {what} needs {gigabytes(needed)} of memory or more on the GPU, and {gigabytes(free)} are free. "
            f"Use a binning ({named('bin_size')} 2) or maps binned before, another GPU, or {named('device')} cpu."
        )
