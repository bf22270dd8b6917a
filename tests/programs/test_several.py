"""One training by several processes, which here are two on the CPU, against the same by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from processes import exists
from running import run, run_json, start, training, wait_for_step, weights_file

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs Gloo"
)
TWO = ("--device", "cpu,cpu")
ENDLESS = 10**9


def _losses(directory):
    return np.loadtxt(directory / "loss.log")


@pytest.fixture(scope="module")
def by_one(maps, tmp_path_factory):
    """The losses of 12 steps by one process."""
    directory = tmp_path_factory.mktemp("one") / "run"
    assert run(*training(maps, directory, 12, 4)).status == 0
    return _losses(directory)


@pytest.mark.parametrize(
    "options", [(), ("--loss", "correlation"), ("--l2",), ("--mu_mesh", 1e-3), ("--debiased", "--hold-out", 0.1)]
)
def test_losses_are_those_of_one_process(maps, tmp_path, options):
    for name, how in (("one", ()), ("two", TWO)):
        done = run(*training(maps, tmp_path / name, 6, 3, *options, *how))
        assert done.status == 0, done.err
    np.testing.assert_allclose(_losses(tmp_path / "two"), _losses(tmp_path / "one"), rtol=1e-6)
    assert run_json(tmp_path / "two")["state"] == "finished"


def test_recipe_auto_docks_once_for_all(maps, tmp_path):
    for name, how in (("one", ()), ("two", TWO)):
        line = [*training(maps, tmp_path / name)[:9], "-d", tmp_path / name, "--recipe", "auto", "--seed", 1]
        done = run(*line, "-n", 30, "--no-report", *how)
        assert done.status == 0, done.err
    assert "Docked domains" in done.out + done.err
    np.testing.assert_allclose(_losses(tmp_path / "two"), _losses(tmp_path / "one"), rtol=1e-4)


@pytest.mark.parametrize(("first", "then"), [(TWO, ("--device", "cpu")), ((), TWO)])
def test_another_number_of_processes_goes_on(maps, tmp_path, by_one, first, then):
    directory = tmp_path / "run"
    assert run(*training(maps, directory, 6, 3, *first)).status == 0
    done = run("train", "--resume", "-d", directory, "-n", 12, "--no-report", *then)
    assert done.status == 0, done.err
    np.testing.assert_allclose(_losses(directory), by_one, rtol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_stop_ends_all(maps, tmp_path):
    directory = tmp_path / "run"
    with start(*training(maps, directory, ENDLESS, 5), *TWO) as process:
        wait_for_step(directory, 10, process)
        others = _children(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert run_json(directory)["state"] == "stopped"
    _wait_for_the_end_of(others)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("is_first", [True, False])
def test_a_killed_process_ends_all_and_the_run_goes_on(maps, tmp_path, is_first):
    directory = tmp_path / "run"
    with start(*training(maps, directory, ENDLESS, 5), *TWO) as process:
        wait_for_step(directory, 10, process)
        others = _children(process.pid)
        assert others
        os.kill(process.pid if is_first else max(others), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    _wait_for_the_end_of(others)
    assert process.returncode == (-signal.SIGKILL if is_first else 2), err
    if not is_first:
        assert "has ended or does not answer" in err and "Traceback" not in err
    step = run_json(directory)["step"]
    done = run("train", "--resume", "-d", directory, "-n", step + 4, "--no-report")
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("device", "word"), [("cpu,cuda:0", "Unknown devices"), ("cuda:0,0", "names a GPU twice"), ("cuda:0,a", "Unknown")]
)
def test_devices_that_cannot_compute_together_are_refused(maps, tmp_path, device, word):
    done = run(*training(maps, tmp_path / "run", 4, 2, "--device", device))
    assert done.status == 2 and word in done.err and not (tmp_path / "run").exists()


def test_torchrun_starts_it_too(maps, tmp_path, by_one):
    line = [str(word) for word in training(maps, tmp_path / "run", 12, 4, "--device", "cpu")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", "-m", "chimerax.cryotrans", *line],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(_losses(tmp_path / "run"), by_one, rtol=1e-5)


def _wait_for_the_end_of(pids: list[int]) -> None:
    """Python's own that watches over shared resources ends a moment after the one that it is for."""
    end = time.monotonic() + 20
    while any(map(exists, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    """The processes that a process has started, Python's own that watches over shared resources among them."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def test_a_prediction_is_computed_by_one_device(maps, tmp_path):
    weights = weights_file(tmp_path / "still.pt")
    line = ["predict", "-i", maps / "initial.mrc", "-d", tmp_path / "out", "-w", weights, "--frames", 2]
    done = run(*line, *TWO)
    assert done.status == 2 and "by one device, not by cpu,cpu" in done.err and not (tmp_path / "out").exists()
