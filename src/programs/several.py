"""A training by several processes, one for each device: who starts them, and what all but the first of them do.

    cryotrans-train --device cuda:0,1 ...                                   we do, by torch.multiprocessing
    torchrun --nproc-per-node N -m chimerax.cryotrans train ...             torchrun has, on one computer or several

The first one reads, decides, writes and says everything, as if it were alone; it gives the others what a training
begins with, and the steps are made together (engine/ranks.py).  The others have no files and no say.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.errors import InputError, named
from ..engine.files.run_directory import RunDirectory
from ..engine.options.training import TRAINING
from . import legs
from .allocator import keep_freed_memory
from .arguments import flag_in
from .beginning import first_step
from .keeping import follow_steps
from .progress import Reporter, SilentReporter, in_a_sentence
from .stop_request import StopRequest

if TYPE_CHECKING:
    from ..engine.ranks import ConnectedRanks

_SECONDS_TO_END = 10.0
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # Windows has no name for it that Gloo knows


def is_follower() -> bool:
    """Whether torchrun has started this process, and not as the first one, which speaks for all."""
    return _is_by_torchrun() and os.environ["RANK"] != "0"


def train(said: dict[str, Any], command: list[str], reporter: Reporter, stop: StopRequest) -> None:
    """Train by as many processes as there are devices; arguments and errors as in legs.py."""
    if _is_by_torchrun():
        number, n, n_here, local = (int(os.environ[key]) for key in _BY_TORCHRUN)
        name = _device_of(local, said)
        with _ranks_of_torchrun(number, n, n_here, name) as ranks:
            if is_follower():
                follow(ranks)
            else:
                legs.train({**said, "device": name, "gpu": None}, command, reporter, stop, ranks)
        return
    name = _asked_device(said)
    if "," not in name:
        legs.train(said, command, reporter, stop)
        return
    with _started(name, said["gpu"]) as ranks:
        legs.train({**said, "device": name}, command, reporter, stop, ranks)


def follow(ranks: ConnectedRanks) -> None:
    """The trainings of the first rank, as another one makes them, until there are no more.

    Raises:
        LostRank: the connection to the others was lost.
    """
    from ..engine.ranks import LostRank

    try:
        while (given := ranks.from_first(None)) is not None:
            follow_steps(first_step(given, ranks.device, SilentReporter(), ranks), ranks.device)
    except (LostRank, InputError):  # of which the first one tells
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        Reporter(flag_in(TRAINING)).error(f"Process {ranks.number + 1} of {ranks.n}: {in_a_sentence(error)}")
        raise


# Which this process is, how many there are, how many on this computer, and which of those it is.
_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_RANK")


def _is_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ and all(key in os.environ for key in _BY_TORCHRUN)


def _device_of(local: int, said: dict[str, Any]) -> str:
    """The device of one of the processes that torchrun has started on this computer."""
    import torch

    name = said["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cuda", "cpu") or said["gpu"] is not None:
        raise InputError(
            f"By torchrun each process has a GPU of its own: leave out {named('gpu')}, and give {named('device')} cuda "
            f"or cpu, or nothing."
        )
    return f"cuda:{local}" if name == "cuda" else name


@contextlib.contextmanager
def _ranks_of_torchrun(number: int, n: int, n_here: int, name: str) -> Iterator[ConnectedRanks]:
    from ..engine.device import choose_device
    from ..engine.ranks import ConnectedRanks

    ranks = ConnectedRanks(number, n, n_here, choose_device(name)[0])
    _keep_waiting_to_the_host()
    try:
        yield ranks
        _dismiss(ranks)
    finally:
        ranks.close()


def _asked_device(said: dict[str, Any]) -> str:
    """As it is said, or as it was for the run that is resumed."""
    name = str(said["device"])
    if name == "auto" and said["gpu"] is None and said.get("resume") and "directory" in said:
        try:
            device = RunDirectory(Path(said["directory"])).read().get("device")
        except InputError:  # said again, with whatever is to be said before it
            return name
        asked = device.get("asked") if isinstance(device, dict) else None
        return asked if isinstance(asked, str) else name
    return name


@contextlib.contextmanager
def _started(name: str, gpu: int | None) -> Iterator[ConnectedRanks]:
    """The processes of devices that are named together; this one is the first, the others end with the block."""
    import torch
    from torch.multiprocessing.spawn import spawn

    from ..engine.device import choose_device, devices_in
    from ..engine.ranks import ConnectedRanks

    devices = devices_in(name)
    device, _ = choose_device(name, gpu)
    _keep_waiting_to_the_host()
    if sys.platform in _LOOPBACK:
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    most = torch.get_num_threads()
    n_threads = max(1, most // len(devices)) if device.type == "cpu" else most
    folder = tempfile.mkdtemp(prefix="cryotrans")
    store = os.path.join(folder, "ranks")
    others = spawn(_follow, (devices, store, n_threads), nprocs=len(devices) - 1, join=False, daemon=True).processes
    ranks = ConnectedRanks(0, len(devices), len(devices), device, store)
    torch.set_num_threads(n_threads)
    try:
        yield ranks
        _dismiss(ranks)
        for process in others:
            process.join(_SECONDS_TO_END)
    finally:
        ranks.close()
        for process in others:
            process.kill()
            process.join()
        torch.set_num_threads(most)
        shutil.rmtree(folder, ignore_errors=True)


def _follow(index: int, devices: Sequence[str], store: str, n_threads: int) -> None:
    """In a process of its own: all that one does beyond the first."""
    import torch

    from ..engine.device import choose_device
    from ..engine.ranks import ConnectedRanks

    for key in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):  # a terminal asks all, the first one answers
        if hasattr(signal, key):
            signal.signal(getattr(signal, key), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(n_threads)
    status = 1
    try:
        device, _ = choose_device(devices[index + 1])
        follow(ConnectedRanks(index + 1, len(devices), len(devices), device, store))
        status = 0
    finally:  # at once: taken down with the interpreter, Gloo's threads abort where a connection is lost
        sys.stderr.flush()
        os._exit(status)


def _end_with_parent() -> None:
    """Also where an exchange never comes back."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _dismiss(ranks: ConnectedRanks) -> None:
    """There are no more trainings."""
    if ranks.is_first and ranks.are_connected:
        ranks.from_first(None)


def _keep_waiting_to_the_host() -> None:
    """Have PyTorch raise an error where NCCL waits in vain, instead of ending the process."""
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
