"""What a step costs where several processes share its points, what of it are messages, and whether the losses agree.

    python benchmarks/several.py [--side 160] [--ranks 2] [--steps 10]

The demo pair with finer voxels in a cube, about 50,000 points at 160³, W2 steps with the published network, on this
computer's CPU with one thread for each process, which Gloo connects over loopback.  Before each message all wait for
the last one, so that what is called messages holds no waiting.  Where the computer has other work, the processor's time
of a process says what a step would take without.  In the end, what it would cost to share the transport too: of each
product with the kernel the ranks would have a slab each, and send it to the others once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the programs do

import numpy as np
import torch
import torch.distributed
from measures import machine_text
from step import _peak_bytes, enlarged_demo
from torch.multiprocessing.spawn import spawn

from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.engine.ranks import ALONE, ConnectedRanks, Ranks
from chimerax.cryotrans.engine.training import loss
from chimerax.cryotrans.engine.training.training import Training
from chimerax.cryotrans.programs.allocator import keep_freed_memory

_CPU = torch.device("cpu")
_COLUMNS = ("step", "busy", "transport", "waited", "spent")
_PRODUCTS = 11  # with the kernel in a step of five rounds
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time steps that are shared by several processes.")
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    asked = parser.parse_args()
    print(machine_text())
    if sys.platform in _LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    print(
        "   box    points  processes  seconds a step  of processor  transport  waiting         messages  memory of each"
    )
    losses = {}
    for n in (1, asked.ranks):
        with tempfile.TemporaryDirectory() as folder:
            spawn(_train, (n, asked.side, asked.steps, folder), nprocs=n)
            found = [np.load(os.path.join(folder, f"{number}.npz")) for number in range(n)]
        first = found[0]
        step, busy, shared, waited, spent = (float(np.median(first[key])) for key in _COLUMNS)
        losses[n] = first["losses"]
        memory = max(int(each["bytes"]) for each in found) / 2**30
        print(
            f"{asked.side:>5}³ {int(first['points']):>9,} {n:>10} {step:>15.3f} {busy:>13.3f} {shared:>10.3f} "
            f"{waited:>8.3f} {spent:>8.3f} {f'({spent / step:.1%})':>7} {memory:>8.2f} GiB"
        )
    one, several = losses[1], losses[asked.ranks]
    print(f"The losses of {len(one)} steps differ by {np.abs(several / one - 1).max():.0e} of them at most.")
    print(
        f"To share the transport as well, {_PRODUCTS} messages of {first['voxels'] * 8 / 2**20:.0f} MiB a step would "
        f"take {first['slabs']:.3f} s, and spare {shared * (1 - 1 / asked.ranks):.3f} s at most."
    )


class _TimedRanks(ConnectedRanks):
    """Keeps the time that the exchanges of a step take, and that others have to be waited for before them."""

    waited = spent = 0.0
    n_voxels = 0  # of what was summed: the voxels of the density

    def add_up(self, tensor: torch.Tensor) -> None:
        self.n_voxels = max(self.n_voxels, tensor.numel())
        super().add_up(tensor)

    def seconds_of_slabs(self) -> float:
        """Of sending what every rank has of the products with the kernel to all others."""
        own = torch.ones(self.n_voxels // self.n, dtype=torch.float64)
        all_of_them = [torch.empty_like(own) for _ in range(self.n)]
        with self._exchange():
            begun = time.perf_counter()
            for _ in range(_PRODUCTS):
                torch.distributed.all_gather(all_of_them, own, group=self._tensors)
            return time.perf_counter() - begun

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        with super()._exchange():
            begun = time.perf_counter()
            torch.distributed.barrier(self._words)
            ready = time.perf_counter()
            yield
            self.waited += ready - begun
            self.spent += time.perf_counter() - ready


def _train(number: int, n: int, side: int, n_steps: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    pair = enlarged_demo(side, max(1, round(side / 53)))
    ranks: Ranks = _TimedRanks(number, n, n, _CPU, os.path.join(folder, "ranks")) if n > 1 else ALONE
    options = TrainingOptions(LEVEL, LEVEL, n_steps=n_steps, period=n_steps)
    training = Training(pair, options, VelocityField(seed=0), _CPU, ranks=ranks)
    shared, rounds = [0.0], loss.sinkhorn

    def timed(*arguments: object) -> object:
        begun = time.perf_counter()
        found = rounds(*arguments)
        shared[0] += time.perf_counter() - begun
        return found

    loss.sinkhorn = timed
    rows = []
    for _ in range(n_steps + 1):
        shared[0] = 0.0
        if isinstance(ranks, _TimedRanks):
            ranks.waited = ranks.spent = 0.0
        begun, cpu = time.perf_counter(), time.process_time()
        ranks.from_first(False)  # whether a stop is asked for
        training.evaluate()
        training.update()
        took, busy = time.perf_counter() - begun, time.process_time() - cpu
        rows.append((took, busy, shared[0], getattr(ranks, "waited", 0.0), getattr(ranks, "spent", 0.0)))
    columns = dict(zip(_COLUMNS, np.array(rows[1:]).T))  # without the first, in which memory is new
    about = {"losses": np.array(training.losses), "points": training.n_points, "bytes": _peak_bytes()}
    if isinstance(ranks, _TimedRanks):
        about |= {"voxels": ranks.n_voxels, "slabs": ranks.seconds_of_slabs()}
        ranks.close()
    np.savez(os.path.join(folder, f"{number}.npz"), **columns, **about)


if __name__ == "__main__":
    main()
