"""What the CUDA kernel does, counted on a CPU: terms a voxel, bytes a voxel, and how far it is from float64.

    python benchmarks/kernel_operations.py

The kernel's source, with two counters put in, is run on the CPU as in test_cuda_kernels.py, one thread a
block (needs g++ on Linux and about ten minutes), for the first W2 step of the enlarged demo pair: epsilon 1e-4, five
rounds, twelve blurs.  A GPU's time cannot be had in this way.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from measures import machine_text
from step import enlarged_demo
from torch import Tensor

from chimerax.cryotrans.engine.training import loss
from chimerax.cryotrans.engine.transport import sinkhorn
from chimerax.cryotrans.engine.transport.cuda_kernels import LINES, SOURCE, Launch, shared_bytes

EMULATOR = Path(__file__).parents[1] / "tests" / "engine" / "gpu_on_cpu.cpp"
EPSILON, N_ROUNDS = 1e-4, 5
COUNTERS = {"float square = away * away;": "++n_compared", "float farther = away * away": "++n_summed"}


def main() -> None:
    print(machine_text())
    print("box    part used     terms a voxel and axis: compared, summed, of   bytes a voxel   from float64 (epsilon)")
    with tempfile.TemporaryDirectory() as folder:
        with _counting(Path(folder)) as (launch, counts):
            for side, factor in ((160, 3), (320, 6)):
                _one(side, factor, launch, counts)


def _one(side: int, factor: int, launch: Launch, counts: dict[str, float]) -> None:
    pair = enlarged_demo(side, factor)
    target = loss.Target.of(torch.from_numpy(np.ascontiguousarray(pair.target)))
    points, weights = torch.from_numpy(pair.support).double(), torch.from_numpy(pair.weights)
    epsilon = EPSILON * side**2
    by_pytorch = loss.sinkhorn

    def compare(a: Tensor, b: Tensor, epsilon: float, n_iterations: int) -> sinkhorn.Transport:
        known = by_pytorch(a, b, epsilon, n_iterations)
        counts.clear()
        found = sinkhorn._sinkhorn_by_pairs(launch, a.double(), b.double(), epsilon, n_iterations)
        _print(side, tuple(a.shape), counts, sinkhorn._difference(found, known, epsilon, float(a.sum())))
        return known

    loss.sinkhorn = compare  # called with the part of the box that a step works on
    loss.transport_loss(points, weights, target, epsilon, N_ROUNDS)
    loss.sinkhorn = by_pytorch


def _print(side: int, shape: tuple[int, ...], counts: dict[str, float], difference: float) -> None:
    n = counts["elements"]
    print(
        f"{side}³   {'x'.join(map(str, shape)):<12} {counts['compared'] / n:>28.1f} {counts['summed'] / n:>8.1f} "
        f"{counts['line'] / n:>8.1f} {3 * counts['bytes'] / n:>11.1f} {difference:>21.0e}",
        flush=True,
    )


@contextmanager
def _counting(folder: Path) -> Iterator[tuple[Launch, dict[str, float]]]:
    """The kernel as a `Launch`, and what it adds up over its launches."""
    source = SOURCE
    for place, counter in COUNTERS.items():
        assert source.count(place) == 1
        source = source.replace(place, f"{counter}; {place}")
    (folder / "kernel.cu").write_text(
        "static long long n_compared, n_summed;\n" + source + 'extern "C" void take_counts(long long* counts) {\n'
        "    counts[0] = n_compared; counts[1] = n_summed; n_compared = n_summed = 0;\n}\n"
    )
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", f'-DKERNEL="{folder}/kernel.cu"']
    subprocess.run(["g++", *flags, "-o", folder / "kernel.so", EMULATOR], check=True)
    library = ctypes.CDLL(str(folder / "kernel.so"))
    library.run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 3 + [ctypes.c_float] * 2 + [ctypes.c_int] * 3
    totals: dict[str, float] = {}

    def launch(
        source: Tensor, log_mass: Tensor | None, out: Tensor, n: int, stride: int, n_lines: int, high: float, low: float
    ) -> None:
        pointers = [tensor.data_ptr() if tensor is not None else None for tensor in (source, log_mass, out)]
        blocks = (n_lines + LINES - 1) // LINES
        if library.run(*pointers, n, stride, n_lines, high, low, blocks, 1, shared_bytes(n)):
            raise SystemExit("The kernel broke its bounds.")
        counts = (ctypes.c_longlong * 2)()
        library.take_counts(counts)
        elements = n * n_lines
        for name, amount in (
            ("elements", elements),
            ("compared", counts[0]),
            ("summed", counts[1]),
            ("line", n * elements),
            ("bytes", elements * 8 * (2 if log_mass is None else 3)),
        ):
            totals[name] = totals.get(name, 0) + amount

    yield launch, totals


if __name__ == "__main__":
    main()
