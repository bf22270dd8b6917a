"""Seed, machine, device and number of threads give the same weights, bit for bit, however often a run was stopped."""

from __future__ import annotations

import signal

import pytest
import torch
from phantoms import LEVEL
from running import call, training

from chimerax.cryotrans.engine.training.recipe import AutoTraining
from chimerax.cryotrans.engine.training.training import Training

N_STEPS = 14


def _published(maps, directory):
    return training(maps, directory, N_STEPS, 4)


def _docking(maps, directory):
    line = ["-i0", maps / "initial.mrc", "-t0", LEVEL, "-i1", maps / "target.mrc", "-t1", LEVEL, "-d", directory]
    return ["train", *line, "--recipe", "auto", "--seed", 1, "--no-report", "-n", N_STEPS, "-p", 4]


KINDS = {"published": (_published, Training), "auto with docking": (_docking, AutoTraining)}


def _outcome(directory):
    return {name: (directory / name).read_bytes() for name in ("net.pt", "loss.log")}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, maps, tmp_path_factory):
    """The command of a kind of training, what makes its steps, and what came out of one that nobody stopped."""
    from chimerax.cryotrans.programs.command_line import main

    line, steps = KINDS[request.param]
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert main([str(word) for word in line(maps, directory)]) == 0
    return line, steps, _outcome(directory)


def test_stopped_at_every_step_and_resumed(kind, maps, tmp_path, capsys, monkeypatch):
    """By Ctrl-C in each but the last."""
    line, steps, expected = kind
    update = steps.update
    left = set(range(N_STEPS - 1))

    def interrupted(self):
        update(self)
        if self.step - 1 in left:
            left.remove(self.step - 1)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(steps, "update", interrupted)
    result = call(capsys, *line(maps, tmp_path / "run"))
    while result.status == 130:
        result = call(capsys, "train", "--resume", "-d", tmp_path / "run")
    assert result.status == 0, result.err
    assert not left
    assert _outcome(tmp_path / "run") == expected


def test_two_threads_twice(maps, tmp_path, capsys):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for name in ("one", "two"):
            line = [word if word != 12 else 400 for word in training(maps, tmp_path / name, 6, 3)]  # worth two threads
            result = call(capsys, *line)
            assert result.status == 0 and "2 threads" in result.err
    finally:
        torch.set_num_threads(before)
    assert _outcome(tmp_path / "one") == _outcome(tmp_path / "two")
