"""A request to stop while maps are docked, which may take minutes."""

import os
import signal
import threading
import time

import pytest
from phantoms import LEVEL
from running import call, run_json

from chimerax.cryotrans.engine.training.docked_starts import Docking
from chimerax.cryotrans.programs.stop_request import Stopped, StopRequest

N_STEPS = 12


def _auto(maps, directory, n_steps):
    line = ["-i0", maps / "initial.mrc", "-t0", LEVEL, "-i1", maps / "target.mrc", "-t1", LEVEL, "-d", directory]
    return ["train", *line, "--recipe", "auto", "--seed", 1, "--no-report", "-n", n_steps]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_docking_is_broken_off_and_begun_anew(maps, tmp_path, capsys, monkeypatch, number, status):
    with monkeypatch.context() as patch:
        patch.setattr(Docking, "run", lambda *arguments: signal.raise_signal(number))
        stopped = call(capsys, *_auto(maps, tmp_path / "run", N_STEPS))
    assert stopped.status == status, stopped.err
    assert "all is saved" in stopped.err
    assert run_json(tmp_path / "run")["step"] == 0
    assert call(capsys, "train", "--resume", "-d", tmp_path / "run", "-n", N_STEPS).status == 0
    assert call(capsys, *_auto(maps, tmp_path / "unbroken", N_STEPS)).status == 0
    assert (tmp_path / "run" / "loss.log").read_bytes() == (tmp_path / "unbroken" / "loss.log").read_bytes()


def test_the_end_of_standard_input_breaks_off_too(monkeypatch):
    ours, theirs = os.pipe()
    monkeypatch.setattr(os, "read", lambda number, count, read=os.read: read(ours if number == 0 else number, count))
    stop = StopRequest()
    with stop.listening(to_input=True):
        threading.Timer(0.2, os.close, [theirs]).start()
        with pytest.raises(Stopped), stop.at_once():
            for _ in range(1000):
                time.sleep(0.01)
        assert stop
        assert stop.exit_status == 0
        with pytest.raises(Stopped), stop.at_once():
            pytest.fail("a stop was asked for before")
    os.close(ours)
