"""The processes that compute one run together, called ranks as in torch.distributed, each with a share of its points.

All ranks go through the same steps with the same weights.  Each carries and deposits its own points; densities are
summed over the ranks, and so are the derivatives with respect to the weights, whereupon every rank makes the same step
of the optimiser.  What follows from the summed density alone, the transport above all, is computed by every rank.
Pieces that are to be docked are shared too.  Where they have to decide something, the first one's word counts.

Small words, and tensors on CPUs, go by Gloo; tensors on NVIDIA GPUs by NCCL where PyTorch has it.  Every exchange fails
as soon as the connection to a rank is lost.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from .errors import InputError, is_of_memory

_T = TypeVar("_T")

_TO_CONNECT = datetime.timedelta(minutes=5)  # to load PyTorch on a crowded machine, and more
_TO_SPEAK = datetime.timedelta(hours=2)  # while the first rank judges, which the others wait for
_TO_SUM = datetime.timedelta(minutes=10)  # by NCCL, whereto all ranks come from a word that they have just had


class LostRank(RuntimeError):
    """Another rank has ended, or does not answer."""


class Ranks:
    """A run's only process, with which nothing is exchanged; `ConnectedRanks` are several.

    Attributes:
        number: of this rank, from 0.
        n: how many there are.
        n_here: how many of them are on this computer.
    """

    number, n, n_here = 0, 1, 1

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that decides, and that reads, writes and says all there is."""
        return self.number == 0

    def share_of(self, n_points: int) -> slice:
        """Which of so many points are this rank's own: neighbours in their order, as many for each rank.

        Raises:
            InputError: there are not enough points for each rank to have one.
        """
        if n_points < self.n:
            raise InputError(f"{n_points} points are too few to be shared by {self.n} devices. Use one device.")
        return slice(self.number * n_points // self.n, (self.number + 1) * n_points // self.n)

    def summed(self, density: Tensor) -> Tensor:
        """The sum of the ranks' densities, of one shape.

        Every rank must go on alike from here, so that each has the whole loss's derivative with respect to the sum.
        """
        return density

    def largest(self, numbers: Tensor) -> list[int]:
        """The largest over the ranks of each of some whole numbers, (n,)."""
        return [int(number) for number in numbers.tolist()]

    def add_gradients(self, parameters: Iterable[Tensor], value: Tensor) -> Tensor:
        """Sum over the ranks the derivatives of the parameters, in place, and a scalar, which is returned."""
        return value

    def make_equal(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors, of one shape on every rank, the first one's content."""

    def from_first(self, value: _T) -> _T:
        """What the first rank gives; what the others give is not looked at."""
        return value

    def gathered(self, value: _T) -> list[_T]:
        """What each rank gives, in the order of their numbers."""
        return [value]


ALONE = Ranks()


class ConnectedRanks(Ranks):
    """One rank of several; they are connected at their first exchange, and for that all have to come to it.

    Args:
        number, n, n_here: see `Ranks`.
        device: where this rank computes.
        store: where the ranks of one computer meet, a new file that all can reach; None where torchrun has started
            them, which tells by environment variables.
    """

    def __init__(self, number: int, n: int, n_here: int, device: torch.device, store: str | None = None) -> None:
        self.number, self.n, self.n_here = number, n, n_here
        self.device, self._store = device, store
        self._words: Any = None  # the group of processes in which words go
        self._tensors: Any = None

    @property
    def are_connected(self) -> bool:
        return self._words is not None

    def close(self) -> None:
        """Break the connections, which the other ranks notice at their next exchange."""
        import torch.distributed as distributed

        if self.are_connected:
            self._words = self._tensors = None
            distributed.destroy_process_group()

    def summed(self, density: Tensor) -> Tensor:
        """As in `Ranks`."""
        return _Summed.apply(density, self)

    def largest(self, numbers: Tensor) -> list[int]:
        """As in `Ranks`."""
        import torch.distributed as distributed

        found = numbers.cpu()
        with self._exchange():
            distributed.all_reduce(found, distributed.ReduceOp.MAX, self._words)
        return super().largest(found)

    def add_gradients(self, parameters: Iterable[Tensor], value: Tensor) -> Tensor:
        """As in `Ranks`, all in one message."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        message = torch.cat([each.reshape(-1).double() for each in (*gradients, value.detach())])
        self.add_up(message)
        *sums, total = message.split([gradient.numel() for gradient in gradients] + [1])
        for gradient, of_all in zip(gradients, sums):
            gradient.copy_(of_all.reshape(gradient.shape))
        return total.reshape(value.shape)

    def make_equal(self, tensors: Iterable[Tensor]) -> None:
        """As in `Ranks`."""
        import torch.distributed as distributed

        for tensor in tensors:
            with self._exchange(), torch.no_grad():
                distributed.broadcast(tensor, 0, self._tensors)

    def from_first(self, value: _T) -> _T:
        """As in `Ranks`; for anything that can be pickled."""
        import torch.distributed as distributed

        words = [value]
        with self._exchange():
            distributed.broadcast_object_list(words, 0, self._words)
        return words[0]

    def gathered(self, value: _T) -> list[_T]:
        """As in `Ranks`; for anything that can be pickled."""
        import torch.distributed as distributed

        words = [value] * self.n
        with self._exchange():
            distributed.all_gather_object(words, value, self._words)
        return words

    def add_up(self, tensor: Tensor) -> None:
        """Sum a tensor over the ranks, in place; the bits are the same on each."""
        import torch.distributed as distributed

        with self._exchange():
            distributed.all_reduce(tensor, group=self._tensors)

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        try:
            if not self.are_connected:
                self._connect()
            yield
        except RuntimeError as error:
            if is_of_memory(error):
                raise
            raise LostRank(f"one of the {self.n} processes of this run has ended or does not answer") from error

    def _connect(self) -> None:
        import torch.distributed as distributed

        place: dict[str, Any] = {}
        if self._store is not None:
            store = distributed.FileStore(self._store, self.n)  # type: ignore[attr-defined,unused-ignore]
            place = {"store": store, "rank": self.number, "world_size": self.n}
        distributed.init_process_group("gloo", timeout=_TO_CONNECT, **place)
        words = distributed.new_group(backend="gloo", timeout=_TO_SPEAK)
        if self.device.type == "cuda" and distributed.is_nccl_available():
            torch.cuda.set_device(self.device)
            self._tensors = distributed.new_group(backend="nccl", timeout=_TO_SUM)
        else:
            self._tensors = words
        self._words = words


class _Summed(torch.autograd.Function):
    """Since each rank has the whole derivative with respect to the sum, it has that to its own part too."""

    @staticmethod
    def forward(ctx: Any, density: Tensor, ranks: ConnectedRanks) -> Tensor:
        whole = density.clone()
        ranks.add_up(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None
