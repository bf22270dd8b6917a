"""Both programs as a user runs them: `run` and `start` in processes of their own, `call` quickly in this one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from phantoms import LEVEL

import chimerax.cryotrans
from chimerax.cryotrans.programs.command_line import main

PACKAGE_FOLDER = Path(chimerax.cryotrans.__file__).parent
QUICK = ("--width", 12, "--w2_iter", 2, "--seed", 7, "--lr", 5e-3, "--no-report")
_PATIENCE = 120  # seconds


class Result(NamedTuple):
    status: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Result:
    """Run a program in this process."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return Result(status, out, err)


def start(*arguments: object, by_path: bool = False, **settings) -> subprocess.Popen[str]:
    """Start a program in a process of its own; pipes on standard output and error unless `settings` say otherwise."""
    how = [str(PACKAGE_FOLDER)] if by_path else ["-m", "chimerax.cryotrans"]
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings.pop("env", {})}
    command = [sys.executable, *how, *map(str, arguments)]
    return subprocess.Popen(command, encoding="utf-8", env=environment, **settings)


def run(*arguments: object, **settings) -> Result:
    """Run a program in a process of its own, to its end."""
    with start(*arguments, **settings) as process:
        out, err = process.communicate(timeout=_PATIENCE)
    return Result(process.returncode, out, err)


def training(
    folder: Path | str, directory: Path | str, n_steps: int = 4, period: int = 2, *more: object
) -> list[object]:
    """Arguments that train on the maps in a folder, quickly."""
    maps = ["-i0", Path(folder, "initial.mrc"), "-t0", LEVEL, "-i1", Path(folder, "target.mrc")]
    if "-t1" not in more:  # once for one target
        maps += ["-t1", LEVEL]
    return ["train", *maps, "-d", directory, "-n", n_steps, "-p", period, *QUICK, *more]


def wait_for_step(directory: Path, step: int, process: subprocess.Popen[str]) -> None:
    """Until the run has saved a checkpoint of that step or a later one."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            if run_json(directory).get("step", 0) >= step:
                return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"no checkpoint of step {step}: {process.communicate()}")


def run_json(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder in a folder, and what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def weights_file(path: Path, sizes: tuple[int, ...] = (3, 5, 3), shift: tuple[float, ...] = (0, 0, 0)) -> Path:
    """A weight file as plain PyTorch writes it, whose velocity is `shift` (z, y, x) everywhere, in box sides."""
    state = {}
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        state[f"v.n{i}.weight"], state[f"v.n{i}.bias"] = torch.zeros(n_out, n_in), torch.zeros(n_out)
    state[f"v.n{len(sizes) - 2}.bias"] = torch.tensor(shift, dtype=torch.float32)
    torch.save(state, path)
    return path


@contextlib.contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """A disk that is full: no file of this process can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
