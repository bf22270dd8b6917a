"""A request to stop while maps are docked, which may take minutes."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from phantoms import LEVEL
from running import call, run_json, training

from chimerax.cryotrans.engine.training.docked_starts import Docking
from chimerax.cryotrans.programs import keeping
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


ORPHAN = """
import os, subprocess, sys, time
from chimerax.cryotrans.programs import keeping
from chimerax.cryotrans.programs.stop_request import StopRequest
if sys.argv[1] == "child":
    stop = StopRequest()
    with stop.listening(True):
        with stop.saving():
            while not stop:
                time.sleep(0.01)
            time.sleep(0.5)
            open(sys.argv[2], "w").write(str(stop.in_haste))
        time.sleep(1)
        open(sys.argv[2], "a").write(" report")
else:
    child = subprocess.Popen([sys.executable, __file__, "child", sys.argv[2]], stdin=subprocess.PIPE,
        env={**os.environ, "CRYOTRANS_PARENT": str(os.getpid())})
    if sys.argv[1] == "stays":
        child.stdin.close()
        child.wait()
"""


@pytest.mark.parametrize(("way", "in_haste"), [("stays", "False report"), ("dies", "True")])
def test_who_has_lost_the_program_that_started_it_saves_and_ends(tmp_path, way, in_haste):
    """Nobody waits for its report any more, and resuming makes it; whose input alone was closed is to make it."""
    (tmp_path / "orphan.py").write_text(ORPHAN)
    subprocess.run([sys.executable, tmp_path / "orphan.py", way, tmp_path / "said"], check=True, timeout=60)
    end = time.monotonic() + 30
    while not (tmp_path / "said").exists() or not (tmp_path / "said").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1.5)
    assert (tmp_path / "said").read_text() == in_haste


def test_a_run_is_finished_when_its_report_is_there(maps, tmp_path, capsys, monkeypatch):
    """One that is killed while the report is made says that it still runs, and resuming makes the report."""
    states = []

    def conclude(run, *arguments):
        states.append(run.read()["state"])
        raise KeyboardInterrupt  # as a kill: nothing after it is done

    line = [word for word in training(maps, tmp_path / "run") if word != "--no-report"]
    with monkeypatch.context() as patch:
        patch.setattr(keeping, "conclude", conclude)
        call(capsys, *line)
    assert states == ["running"] == [run_json(tmp_path / "run")["state"]]
    assert (tmp_path / "run" / "net.pt").is_file() and not (tmp_path / "run" / "report.html").exists()
    resumed = call(capsys, "train", "--resume", "-d", tmp_path / "run")
    assert resumed.status == 0, resumed.err
    assert run_json(tmp_path / "run")["state"] == "finished" and (tmp_path / "run" / "report.html").is_file()
