"""Which device computes: NVIDIA GPU, Apple GPU or CPU."""

from __future__ import annotations

import re

import numpy as np
import torch

from .errors import InputError, named

# Points × width of a network up to which a second thread costs more than it gives: threads that wait passively, as
# the programs have it, are slow to begin.
_ENOUGH_FOR_THREADS = 300_000

_WORDS = "auto, cpu, cuda, cuda:N or mps, or for a training by several cuda:0,1 or cpu,cpu"


def devices_in(name: str) -> list[str]:
    """The devices of a training by several, each in a word that `choose_device` takes; else the word as it is.

    "cuda:0,1" are GPUs 0 and 1, "cpu,cpu" two processes on the CPU.

    Raises:
        InputError: they cannot compute one run together.
    """
    first, *more = name.split(",")
    if not more:
        return [name]
    if first == "cpu" and set(more) == {"cpu"}:
        return [first, *more]
    numbers = [word.removeprefix("cuda:") for word in (first, *more)]
    if not first.startswith("cuda:") or not all(re.fullmatch(r"\d+", number) for number in numbers):
        raise InputError(
            f"Unknown devices {name!r}: several are GPUs by their numbers, cuda:0,1, or processes on the CPU, one for "
            f"each word, cpu,cpu."
        )
    if len(set(map(int, numbers))) < len(numbers):
        raise InputError(f"{named('device')} {name} names a GPU twice. Name each once.")
    return [f"cuda:{int(number)}" for number in numbers]


def choose_device(name: str = "auto", gpu: int | None = None) -> tuple[torch.device, str]:
    """Find the device that was asked for, and have PyTorch take numbers below 1e-38 for zero on the CPU.

    Args:
        name: auto, cpu, cuda, cuda:N or mps; or several, see `devices_in`.
        gpu: number of the NVIDIA GPU to take where `auto` finds any; by default the first.
    Returns:
        The device, of several the first, and a sentence that names all and says why they were chosen.
    Raises:
        InputError: an unknown name, or a device that is not there.
    """
    # Tails of Gaussians and of softmax run into denormal numbers, with which Intel's processors compute far more
    # slowly: steps of many points took five times as long.  None of them matters.
    # NumPy looks at them when it is first asked for a type's limits, and would warn.
    for kind in (np.float16, np.float32, np.float64, np.longdouble):
        np.finfo(kind)
    torch.set_flush_denormal(True)
    if gpu is not None and gpu < 0:
        raise InputError(
            f"There is no GPU {gpu}: they are numbered from 0 ({named('gpu')}). Leave {named('gpu')} out, or use "
            f"{named('device')} cpu."
        )
    names = devices_in(name)
    if len(names) > 1:
        if gpu is not None:
            raise InputError(f"Say which GPUs once: leave out {named('gpu')}, or the numbers of {named('device')}.")
        chosen, sentences = zip(*[choose_device(each) for each in names])
        return chosen[0], f"{len(names)} processes share the points. {' '.join(dict.fromkeys(sentences))}"
    match = re.fullmatch(r"auto|cpu|mps|cuda(?::(\d+))?", name)
    if not match:
        raise InputError(f"Unknown device {name!r}: wanted is {_WORDS}.")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        if n_gpus or gpu:
            return _nvidia(gpu or 0, n_gpus, "the first choice" if not gpu else f"as asked for with {named('gpu')}")
        if torch.backends.mps.is_available():
            return torch.device("mps"), "Computing on the Apple GPU (no NVIDIA GPU was found)."
        return _cpu("no NVIDIA or Apple GPU that PyTorch can use was found")
    if name == "cpu":
        return _cpu("as asked for")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(
                f"There is no Apple GPU here that PyTorch can use. Leave {named('device')} out, or use "
                f"{named('device')} cpu."
            )
        return torch.device("mps"), "Computing on the Apple GPU (as asked for)."
    number = int(match.group(1)) if match.group(1) is not None else (gpu or 0)
    return _nvidia(number, n_gpus, "as asked for")


def use_threads(device: torch.device, work: int, most: int) -> None:
    """Have PyTorch use as many threads as a step is worth; of no effect on a GPU.

    Args:
        device: where the steps are made.
        work: points × width of the network.
        most: threads that there may be.
    """
    if device.type == "cpu":
        torch.set_num_threads(most if work > _ENOUGH_FOR_THREADS else 1)


def free_what_is_kept(device: torch.device) -> None:
    """Have PyTorch give memory back that it keeps for tensors to come."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _nvidia(number: int, n_gpus: int, why: str) -> tuple[torch.device, str]:
    if number >= n_gpus:
        there = f"{n_gpus} NVIDIA GPU{'s' if n_gpus != 1 else ''}, numbered from 0" if n_gpus else "no NVIDIA GPU"
        raise InputError(
            f"GPU {number} is not there: PyTorch {torch.__version__} finds {there}. "
            f"Leave {named('device')} and {named('gpu')} out, or use {named('device')} cpu."
        )
    return torch.device("cuda", number), f"Computing on GPU {number}, {torch.cuda.get_device_name(number)} ({why})."


def _cpu(why: str) -> tuple[torch.device, str]:
    n = torch.get_num_threads()
    return torch.device("cpu"), f"Computing on the CPU with {n} thread{'s' if n != 1 else ''} ({why})."
