"""Maps, one finished run and its frames, which many tests look at and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from phantoms import LEVEL, two_domains, write_mrc
from running import Result, run, training

from chimerax.cryotrans.programs.command_line import main

NSTART = (3, -4, 5)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """As in the processes that the tests start, so that losses can be compared to the last digit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with initial.mrc and target.mrc."""
    folder = tmp_path_factory.mktemp("maps")
    write_mrc(folder / "initial.mrc", two_domains(0), nstart=NSTART)
    write_mrc(folder / "target.mrc", two_domains(1), nstart=NSTART)
    return folder


class Finished:
    """A run of 45 steps of period 10, made by a process of its own."""

    def __init__(self, maps: Path, directory: Path) -> None:
        self.directory = directory
        self.result: Result = run(*training(maps, directory, 45, 10), "-g", "0")


@pytest.fixture(scope="session")
def finished(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(maps, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="session")
def frames(maps: Path, finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the frames that a process of its own, run by path, made of the finished run."""
    folder = tmp_path_factory.mktemp("frames")
    weights = finished.directory / "net.pt"
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", folder, "-w", weights]
    result = run(*line, by_path=True, cwd=folder, env={"PYTHONPATH": ""})
    assert result.status == 0, result.err
    return folder


@pytest.fixture(scope="module")
def reported(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run with all that a run leaves."""
    directory = tmp_path_factory.mktemp("reported") / "run"
    line = [str(word) for word in training(maps, directory, 4, 2) if word != "--no-report"]
    assert main([*line, "--progress", "none"]) == 0
    return directory
