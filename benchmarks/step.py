"""What one training step costs, in seconds and in memory.

    python benchmarks/step.py [PAIR_FOLDER]

First, at 64³, a W2 step of the program against the same step with a plain `torch.logsumexp` over whole lines of the
whole box, in turn, on the same points.  Then what a step costs when the points double, when the box doubles round the
same molecule, and at 160³ with about 50,000 points, each in a process of its own.  Maps are those of a folder laid out
as for accuracy.py, or the demo pair.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the programs do

import numpy as np
import torch
from measures import machine_text
from numpy.typing import NDArray
from torch import Tensor

from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map
from chimerax.cryotrans.engine.maps.preparation import PreparedPair, prepare
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.engine.training import loss, training
from chimerax.cryotrans.engine.transport.sinkhorn import FLOOR


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training steps.")
    parser.add_argument("pair", type=Path, nargs="?")
    parser.add_argument(
        "--one", nargs=4, type=int, metavar=("SIDE", "FACTOR", "EVERY", "STEPS"), help=argparse.SUPPRESS
    )
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(_one(*asked.one)))
        return
    print(machine_text())
    if asked.pair:
        initial, target = read_map(asked.pair / "state0_3A.mrc"), read_map(asked.pair / "state1_5A.mrc")
        pair = prepare(initial, target, LEVEL, LEVEL)
    else:
        pair = enlarged_demo(64, 1)
    _against_plain(pair)
    print("box    points   seconds a step   peak memory")
    for name, first, second in _CASES:
        rows = []
        for case in (first, second) if second else (first,):
            row = json.loads(subprocess.check_output([sys.executable, __file__, "--one", *map(str, case)]))
            rows.append(row)
            what = name if len(rows) == 1 else ""
            memory = row["bytes"] / 2**30
            print(f"{case[0]}³ {row['points']:>9,} {row['seconds']:>12.3f} {memory:>13.2f} GiB   {what}")
        if second:
            print(f"{'':30}grows by {rows[1]['seconds'] / rows[0]['seconds']:.2f}")


# What grows, and one or two cases: side of the box, how much finer the demo's voxels are, every how manieth of the
# points is taken, how many steps are timed.
_CASES: list[tuple[str, tuple[int, ...], tuple[int, ...] | None]] = [
    ("points doubled", (160, 3, 2, 5), (160, 3, 1, 5)),
    ("box doubled round one molecule, small", (64, 1, 1, 20), (128, 1, 1, 20)),
    ("box doubled round one molecule, large", (160, 2, 1, 10), (320, 2, 1, 5)),
    ("finer voxels", (320, 6, 1, 2), (512, 8, 1, 1)),
]


def _against_plain(pair: PreparedPair, n_pairs: int = 5) -> None:
    """Time both steps in turn; print medians, and the ratio of each pair."""
    quick, plain = _training(pair), _training(pair)
    quick_seconds, plain_seconds = [], []
    fast_rounds = loss.transport_loss
    for _ in range(n_pairs + 1):
        quick_seconds.append(min(_timed_step(quick) for _ in range(3)))
        training.transport_loss = _plain_transport_loss
        plain_seconds.append(_timed_step(plain))
        training.transport_loss = fast_rounds
    ratios = np.array(plain_seconds[1:]) / np.array(quick_seconds[1:])
    print(
        f"one W2 step, {'x'.join(map(str, pair.initial.shape))}, {len(pair.weights):,} points: "
        f"{np.median(quick_seconds[1:]) * 1e3:.1f} ms; with plain logsumexp over whole lines "
        f"{np.median(plain_seconds[1:]) * 1e3:.0f} ms; ratio {np.median(ratios):.0f} "
        f"(from {ratios.min():.0f} to {ratios.max():.0f})"
    )


def _one(side: int, factor: int, every: int, n_steps: int) -> dict[str, float]:
    pair = enlarged_demo(side, factor)
    pair = pair._replace(support=pair.support[::every], weights=pair.weights[::every] * every)
    run = _training(pair)
    _timed_step(run)
    seconds = float(np.median([_timed_step(run) for _ in range(n_steps)]))
    return {"points": len(pair.weights), "seconds": seconds, "bytes": _peak_bytes()}


def _training(pair: PreparedPair) -> training.Training:
    options = TrainingOptions(LEVEL, LEVEL, n_steps=1, period=1)
    return training.Training(pair, options, VelocityField(seed=0), torch.device("cpu"))


def _timed_step(run: training.Training) -> float:
    begun = time.perf_counter()
    run.evaluate()
    run.update()
    return time.perf_counter() - begun


def _plain_transport_loss(
    points: Tensor, weights: Tensor, target: loss.Target, epsilon: float, n_iterations: int, *_: object
) -> loss.DataLoss:
    density = loss.deposit(points, weights, target.density.shape).float()
    return loss.DataLoss(_Plain.apply(density, target.density, epsilon, n_iterations), density.detach().sum())


class _Plain(torch.autograd.Function):
    """The definition of the transport loss, written down without any thought of time."""

    @staticmethod
    def forward(ctx, a, b, epsilon, n_iterations):
        log_a, log_b = a.clamp(min=FLOOR).log(), b.clamp(min=FLOOR).log()
        g = torch.zeros_like(b)
        for _ in range(n_iterations):
            f = log_a - _plain_log_blur(g, epsilon)
            g = log_b - _plain_log_blur(f, epsilon)
        ctx.save_for_backward(epsilon * f)
        return epsilon * ((f * a).sum() + (g * b).sum() - (f + _plain_log_blur(g, epsilon)).exp().sum())

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None, None


def _plain_log_blur(values: Tensor, epsilon: float) -> Tensor:
    for axis in range(3):
        index = torch.arange(values.shape[axis], dtype=values.dtype)
        cost = (index[:, None] - index) ** 2 / epsilon
        values = torch.logsumexp(values.movedim(axis, -1)[..., None, :] - cost, dim=-1).movedim(-1, axis)
    return values


def enlarged_demo(side: int, factor: int) -> PreparedPair:
    """The demo pair with voxels `factor` times finer, in the middle of a cube."""
    demo = make_demo_pair()
    maps = []
    for density_map in (demo.initial, demo.target):
        density = density_map.density
        for axis in range(3):
            density = refined(density, axis, factor)
        centre = [(n - side) // 2 for n in density.shape]
        cut = density[tuple(slice(max(0, c), max(0, c) + side) for c in centre)]
        before = [max(0, -c) for c in centre]
        cube = np.pad(cut, [(b, side - b - n) for b, n in zip(before, cut.shape)])
        maps.append(DensityMap(cube, density_map.voxel_size, name=density_map.name))
    return prepare(maps[0], maps[1], LEVEL, LEVEL)


def refined(density: NDArray[np.float32], axis: int, factor: int) -> NDArray[np.float32]:
    n = density.shape[axis]
    places = np.linspace(0, n - 1, factor * (n - 1) + 1)
    return np.apply_along_axis(lambda line: np.interp(places, np.arange(n), line), axis, density).astype(np.float32)


def _peak_bytes() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
