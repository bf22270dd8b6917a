"""What is left of a run that is killed, and whether it goes on as if nothing had been.

    python benchmarks/reliability.py [--kills N] [--seed N]

Programs are killed (SIGKILL) at random moments, and inside the writing of a file: begun, half written, written but not
renamed, just renamed.  Each time every file that bears its name must be whole, and going on must end with the same
losses and the same weights, bit for bit, as the run that nobody broke (CPU, one thread).  A process is forked from one
that has loaded PyTorch, so that hundreds of kills take minutes; not on Windows.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is loaded: a process with threads cannot be forked

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from measures import machine_text

from chimerax.cryotrans.engine.files import writing
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map
from chimerax.cryotrans.engine.maps.preparation import bin_density
from chimerax.cryotrans.programs.command_line import main as program

_PLACES = ("begun", "half", "written", "renamed")
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
_KINDS = (
    Kind("training, published settings", *_training("target", options=[*_NETWORK, "--no-report"]), _of_training),
    Kind("training with its report", *_training("target", options=_NETWORK), _of_training),
    Kind("several targets", *_training("target", "third", options=[*_NETWORK, "--no-report"]), _of_training),
    Kind("recipe auto with docking", *_training("target", options=["--recipe", "auto", "-n", "14"]), _of_training),
    Kind("prediction", _predict, _predict, _of_prediction),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill programs and see what is left.")
    parser.add_argument("--kills", type=int, default=20, help="of each kind, at random moments and as many in writing")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(machine_text())
    print(
        "| work | killed at random | and in writing a file | damaged files | went on otherwise |\n|---|---|---|---|---|"
    )
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        maps = _make_maps(Path(scratch))
        chance = random.Random(asked.seed)
        for kind in _KINDS:
            failed = _row(kind, maps, Path(scratch), asked.kills, chance) or failed
    sys.exit(1 if failed else 0)


def _make_maps(folder: Path) -> Path:
    pair = make_demo_pair()
    for name, density_map in (("initial", pair.initial), ("target", pair.target)):
        size = tuple(2 * side for side in density_map.voxel_size)
        small = DensityMap(bin_density(density_map.density, 2), (size[0], size[1], size[2]), name=name)
        write_map(folder / f"{name}.mrc", small)
    density = read_map(folder / "target.mrc").density
    write_map(folder / "third.mrc", read_map(folder / "initial.mrc").with_density(density[:, ::-1].copy()))
    _run(["train", *_maps(folder, "target"), "-d", str(folder / "trained"), *_NETWORK, *_SMALL, "--no-report"])
    return folder


def _row(kind: Kind, maps: Path, scratch: Path, kills: int, chance: random.Random) -> bool:
    whole = scratch / "whole"
    seconds = _run(kind.begin(maps, whole))
    expected, n_writes = kind.outcome(whole), _writes(kind, maps, scratch)
    damaged = otherwise = 0
    for number in range(2 * kills):
        run = scratch / f"run_{number}"
        if number < kills:
            _run(kind.begin(maps, run), after=chance.uniform(0, 1.1 * seconds))
        else:
            _run(kind.begin(maps, run), within=(chance.randrange(n_writes), chance.choice(_PLACES)))
        bad = _damaged(run)
        damaged += bool(bad)
        status = _run(kind.go_on(maps, run))
        same = kind.outcome(run) == expected
        otherwise += not same
        if bad or not same:
            print(f"    {kind.name}, kill {number}: damaged {bad}, the same at the end: {same}, {status:.1f} s")
        _remove(run)
    _remove(whole)
    print(f"| {kind.name} | {kills} | {kills} | {damaged} | {otherwise} |", flush=True)
    return bool(damaged or otherwise)


def _run(words: list[str], after: float | None = None, within: tuple[int, str] | None = None) -> float:
    """Run a program in a process of its own, killed after so many seconds or within a write; s until its end."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        if within is not None:
            _die_in(*within)
        os._exit(program(words))
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)  # until it is waited for, its number is not another's
    os.waitpid(child, 0)
    return time.monotonic() - began


def _die_in(number: int, place: str) -> None:
    """Have this process kill itself in the number-th write of a file from now on."""
    count = -1
    permissions, flushed, act = writing._take_permissions, os.fsync, writing._try_for_a_second

    def die(here: str) -> None:
        if count == number and here == place:
            os.kill(os.getpid(), signal.SIGKILL)

    def begun(file: int, path: Path) -> None:
        nonlocal count
        count += 1
        permissions(file, path)
        die("begun")
        if count == number and place == "half":
            os.write(file, b"half of it")
            die("half")

    def written(file: int) -> None:
        flushed(file)
        die("written")

    def renamed(rename: Callable[[], object]) -> None:
        act(rename)
        die("renamed")

    writing._take_permissions, writing._try_for_a_second, os.fsync = begun, renamed, written


def _writes(kind: Kind, maps: Path, scratch: Path) -> int:
    """How many files the work writes, one over another."""
    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        permissions = writing._take_permissions

        def told(file: int, path: Path) -> None:
            os.write(out, b".")
            permissions(file, path)

        writing._take_permissions = told
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os._exit(program(kind.begin(maps, scratch / "counted")))
    os.close(out)
    count = 0
    while read := os.read(into, 1000):
        count += len(read)
    os.waitpid(child, 0)
    _remove(scratch / "counted")
    return count


def _damaged(run: Path) -> list[str]:
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


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if folder.exists():
        folder.rmdir()


if __name__ == "__main__":
    main()
