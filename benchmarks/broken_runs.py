"""Small runs that reliability.py and disks.py break: their maps, what has to be the same at the end, what is damaged.

A process is forked from one that has loaded PyTorch, so that hundreds of them take minutes; not on Windows.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is loaded: a process with threads cannot be forked

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map
from chimerax.cryotrans.engine.maps.preparation import bin_density
from chimerax.cryotrans.programs.command_line import main as program

torch.set_num_threads(1)

_SMALL = ["--depth", "2", "--width", "8", "--device", "cpu", "--seed", "1", "--progress", "none"]


class Kind(NamedTuple):
    """One kind of work.

    Attributes:
        name: as the table has it.
        begin: the words of the program, given the folder of the maps and that of the run.
        go_on: the same where something is there already.
        outcome: what must be the same, bit for bit.
    """

    name: str
    begin: Callable[[Path, Path], list[str]]
    go_on: Callable[[Path, Path], list[str]]
    outcome: Callable[[Path], dict[str, bytes]]


def _maps(maps: Path, *targets: str) -> list[str]:
    words = ["-i0", str(maps / "initial.mrc"), "-t0", str(LEVEL), "-t1", str(LEVEL)]
    return words + [word for name in targets for word in ("-i1", str(maps / f"{name}.mrc"))]


def _training(*targets: str, options: list[str]) -> tuple[Callable[[Path, Path], list[str]], ...]:
    def begin(maps: Path, run: Path) -> list[str]:
        return ["train", *_maps(maps, *targets), "-d", str(run), *options, *_SMALL, "--overwrite"]

    def go_on(maps: Path, run: Path) -> list[str]:
        legs = run / "leg_1" / "state.pt"
        if (run / "state.pt").exists() or legs.exists():
            return ["train", "--resume", "-d", str(run), "--progress", "none"]
        return begin(maps, run)

    return begin, go_on


def _of_training(run: Path) -> dict[str, bytes]:
    names = [path for path in sorted(run.rglob("*")) if path.name in ("loss.log", "net.pt")]
    return {str(path.relative_to(run)): path.read_bytes() for path in names}


def _predict(maps: Path, run: Path) -> list[str]:
    words = ["-i", str(maps / "initial.mrc"), "-t", str(LEVEL), "--run", str(maps / "trained"), "-d", str(run)]
    return ["predict", *words, "--device", "cpu", "--progress", "none", "--overwrite", "--no-report"]


def _of_prediction(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.glob("*.mrc"))}


_NETWORK = ["-n", "30", "-p", "5", "--w2_iter", "2"]
KINDS = (
    Kind("training, published settings", *_training("target", options=[*_NETWORK, "--no-report"]), _of_training),
    Kind("training with its report", *_training("target", options=_NETWORK), _of_training),
    Kind("several targets", *_training("target", "third", options=[*_NETWORK, "--no-report"]), _of_training),
    Kind("recipe auto with docking", *_training("target", options=["--recipe", "auto", "-n", "14"]), _of_training),
    Kind("prediction", _predict, _predict, _of_prediction),
)


def make_maps(folder: Path) -> Path:
    pair = make_demo_pair()
    for name, density_map in (("initial", pair.initial), ("target", pair.target)):
        size = tuple(2 * side for side in density_map.voxel_size)
        small = DensityMap(bin_density(density_map.density, 2), (size[0], size[1], size[2]), name=name)
        write_map(folder / f"{name}.mrc", small)
    density = read_map(folder / "target.mrc").density
    write_map(folder / "third.mrc", read_map(folder / "initial.mrc").with_density(density[:, ::-1].copy()))
    wait(start(["train", *_maps(folder, "target"), "-d", str(folder / "trained"), *_NETWORK, *_SMALL, "--no-report"]))
    return folder


def start(words: list[str], prepare: Callable[[], object] = lambda: None, log: Path | None = None) -> int:
    """Start a program in a process of its own; its number.

    Args:
        words: the program and its options.
        prepare: called in that process first.
        log: takes all that it says.
    """
    child = os.fork()
    if child == 0:
        status = 70
        try:
            with open(log or os.devnull, "w", encoding="utf-8") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            prepare()
            status = program(words)
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    return child


def wait(child: int) -> int:
    """Its exit status, once it has ended; -n where signal n ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def damaged_files(run: Path) -> list[str]:
    """Files that bear their names and are not whole."""
    bad = []
    for path in sorted(path for path in run.rglob("*") if path.is_file() and not path.name.startswith(".")):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.name == "state.pt":
                torch.load(path, weights_only=True)
            elif path.suffix == ".pt":
                load_weights(path)
            elif path.suffix == ".mrc":
                read_map(path)
        except Exception as error:
            bad.append(f"{path.name}: {error}")
    return bad


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if folder.exists():
        folder.rmdir()
