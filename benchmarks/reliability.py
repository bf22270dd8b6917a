"""What is left of a run that is killed, and whether it goes on as if nothing had been.

    python benchmarks/reliability.py [--kills N] [--seed N]

Programs are killed (SIGKILL) at random moments, and inside the writing of a file: begun, half written, written but not
renamed, just renamed.  Each time every file that bears its name must be whole, and going on must end with the same
losses and the same weights, bit for bit, as the run that nobody broke (CPU, one thread).  A process is forked from one
that has loaded PyTorch, so that hundreds of kills take minutes; not on Windows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from broken_runs import KINDS, Kind, damaged_files, make_maps, remove, start, wait
from measures import machine_text

from chimerax.cryotrans.engine.files import writing

_PLACES = ("begun", "half", "written", "renamed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill programs and see what is left.")
    parser.add_argument("--kills", type=int, default=20, help="of each kind, at random moments and as many in writing")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(machine_text())
    print(
        "| work | killed at random | and in writing a file | damaged files | went on otherwise |\n|---|---|---|---|---|"
    )
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        maps = make_maps(Path(scratch))
        chance = random.Random(asked.seed)
        for kind in KINDS:
            failed = _row(kind, maps, Path(scratch), asked.kills, chance) or failed
    sys.exit(1 if failed else 0)


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
        bad = damaged_files(run)
        damaged += bool(bad)
        status = _run(kind.go_on(maps, run))
        same = kind.outcome(run) == expected
        otherwise += not same
        if bad or not same:
            print(f"    {kind.name}, kill {number}: damaged {bad}, the same at the end: {same}, {status:.1f} s")
        remove(run)
    remove(whole)
    print(f"| {kind.name} | {kills} | {kills} | {damaged} | {otherwise} |", flush=True)
    return bool(damaged or otherwise)


def _run(words: list[str], after: float | None = None, within: tuple[int, str] | None = None) -> float:
    """Run a program in a process of its own, killed after so many seconds or within a write; s until its end."""
    began = time.monotonic()
    child = start(words, lambda: _die_in(*within) if within is not None else None)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)  # until it is waited for, its number is not another's
    wait(child)
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

    def tell() -> None:
        permissions = writing._take_permissions

        def told(file: int, path: Path) -> None:
            os.write(out, b".")
            permissions(file, path)

        writing._take_permissions = told

    child = start(kind.begin(maps, scratch / "counted"), tell)
    os.close(out)
    count = 0
    while read := os.read(into, 1000):
        count += len(read)
    wait(child)
    remove(scratch / "counted")
    return count


if __name__ == "__main__":
    main()
