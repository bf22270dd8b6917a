"""One training by several processes, here two on the CPU: the same losses to rounding, and whoever goes, all end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.distributed
from phantoms import LEVEL
from running import call, contents, run_json, start, training, wait_for_step

from chimerax.cryotrans.engine.docking import docked
from chimerax.cryotrans.engine.files.run_directory import RunDirectory
from chimerax.cryotrans.engine.training.docked_starts import Docking
from chimerax.cryotrans.engine.training.training import Training
from chimerax.cryotrans.programs import keeping

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")

ENDLESS = 10**9
TWO, THREE = ("--device", "cpu,cpu"), ("--device", "cpu,cpu,cpu")


def _losses(directory):
    return np.loadtxt(directory / "loss.log")


def _auto(maps, directory, n_steps, *more):
    line = [word for word in training(maps, directory, n_steps, 5) if word not in ("--w2_iter", 2, "--lr", 5e-3)]
    return [*line, "--recipe", "auto", *more]


# Adam makes steps of one length of derivatives however small, which lets rounding grow: hence few steps.
@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("cryotrans", ["--mu_mesh", 0.01, "--mesh_share", 0.5]),
        ("cryotrans", ["--loss", "l2", "--hold-out", 0.1]),
        ("auto", []),  # docks, then correlation
        ("auto", ["--flow", "network"]),  # debiased transport
    ],
)
def test_losses_are_those_of_one_process(maps, tmp_path, capsys, recipe, options):
    n_steps = 6
    make = _auto if recipe == "auto" else (lambda *about: training(*about[:3], 3, *about[3:]))
    for name, devices in (("one", ("--device", "cpu")), ("two", TWO)):
        result = call(capsys, *make(maps, tmp_path / name, n_steps, *options, *devices))
        assert result.status == 0, result.err
    assert "2 processes share the points." in result.err
    one, two = _losses(tmp_path / "one"), _losses(tmp_path / "two")
    assert len(one) == n_steps + 1
    # what is left of a loss that is a difference, 1 less the correlation, is compared with what it was at first
    np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-6 * one[0])
    assert not np.array_equal(two, one)  # shared indeed: summed in another order
    assert contents(tmp_path / "one").keys() == contents(tmp_path / "two").keys()


def test_each_process_has_its_share_of_the_points(maps, tmp_path, capsys, monkeypatch):
    carried = []
    whole = Training._carried

    def counted(self):
        found = whole(self)
        carried.append((len(found[0]), self.n_points))
        return found

    monkeypatch.setattr(Training, "_carried", counted)
    assert call(capsys, *training(maps, tmp_path / "run", 2, 2, *TWO)).status == 0
    assert {own for own, _ in carried} == {carried[0][1] // 2}
    assert run_json(tmp_path / "run")["n_points"] == carried[0][1]


def test_each_process_docks_its_share_of_the_pieces(maps, tmp_path, capsys, monkeypatch):
    n_pieces = []

    def counted(initial, target, centres, *how, really=docked.dock):
        n_pieces.append(len(centres))
        return really(initial, target, centres, *how)

    monkeypatch.setattr(docked, "dock", counted)
    for name, devices in (("one", ("--device", "cpu")), ("two", TWO)):
        assert call(capsys, *_auto(maps, tmp_path / name, 3, *devices)).status == 0
    one, two = n_pieces[0], n_pieces[len(n_pieces) // 2]
    assert two == (one + 1) // 2


def test_a_stop_ends_all_in_one_step(maps, tmp_path):
    directory = tmp_path / "run"
    with start(*training(maps, directory, ENDLESS, 2, *TWO), by_path=True, env={"PYTHONPATH": ""}) as process:
        wait_for_step(directory, 4, process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)  # which waits for all that have its output open
    assert process.returncode == 143, err
    step = run_json(directory)["step"]
    assert err.splitlines()[-1].startswith(f"Stopped at step {step} of {ENDLESS}; all is saved.")
    assert run_json(directory)["state"] == "stopped" and len(_losses(directory)) == step + 1


def test_any_number_of_processes_goes_on(maps, tmp_path, capsys, monkeypatch):
    """Begun by two, stopped in step 3, gone on with by two as before, then by one, then by three."""
    assert call(capsys, *training(maps, tmp_path / "unbroken", 9, 4)).status == 0
    directory = tmp_path / "run"
    others = set()

    def evaluate(state, *about, really=keeping.evaluate):
        others.add(len(multiprocessing.active_children()))
        if state.step == 3:
            signal.raise_signal(signal.SIGINT)
        really(state, *about)

    monkeypatch.setattr(keeping, "evaluate", evaluate)
    stopped = call(capsys, *training(maps, directory, 9, 4, *TWO))
    assert stopped.status == 130 and run_json(directory)["step"] == 3, stopped.err
    for n_steps, devices, n in ((5, (), 2), (7, ("--device", "cpu"), 1), (9, THREE, 3)):
        others.clear()
        resumed = call(capsys, "train", "--resume", "-d", directory, "-n", n_steps, *devices)
        assert resumed.status == 0, resumed.err
        assert (f"{n} processes share" in resumed.err) == (n > 1)
        assert others == {n - 1}
    np.testing.assert_allclose(_losses(directory), _losses(tmp_path / "unbroken"), rtol=1e-5)


def test_where_another_process_is_killed_the_first_saves_and_says_so(maps, tmp_path, capsys, monkeypatch):
    directory = tmp_path / "run"

    def evaluate(training, *about, really=keeping.evaluate):
        if training.step == 5:  # whose checkpoint would be that of step 6
            [other] = multiprocessing.active_children()
            other.kill()
            other.join()
        really(training, *about)

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "evaluate", evaluate)
        result = call(capsys, *training(maps, directory, 8, 3, *TWO))
    assert result.status == 2
    assert result.err.splitlines()[-1] == (
        "Computing failed: one of the 2 processes of this run has ended or does not answer. "
        f"The checkpoint of step 5 in {directory} is whole; go on with --resume."
    )
    assert (run_json(directory)["state"], run_json(directory)["step"]) == ("failed", 5)
    assert multiprocessing.active_children() == []
    assert call(capsys, "train", "--resume", "-d", directory, "--device", "cpu").status == 0
    assert call(capsys, *training(maps, tmp_path / "unbroken", 8, 3)).status == 0
    np.testing.assert_allclose(_losses(directory), _losses(tmp_path / "unbroken"), rtol=1e-5)


def test_where_the_first_process_is_killed_the_others_end(maps, tmp_path, capsys):
    directory = tmp_path / "run"
    with start(*training(maps, directory, ENDLESS, 2, *TWO)) as process:
        wait_for_step(directory, 4, process)
        process.kill()
        process.communicate(timeout=30)  # which waits for all that have its output open
    resumed = call(capsys, "train", "--resume", "-d", directory, "-n", run_json(directory)["step"] + 2)
    assert resumed.status == 0, resumed.err


@pytest.mark.parametrize("part", ["search", "run"])  # what all do, what only the first does
def test_a_stop_while_the_first_docks_reaches_all(maps, tmp_path, capsys, monkeypatch, part):
    monkeypatch.setattr(Docking, part, lambda *arguments: signal.raise_signal(signal.SIGINT))
    stopped = call(capsys, *_auto(maps, tmp_path / "run", 6, *TWO))
    assert stopped.status == 130 and "all is saved" in stopped.err


def test_legs_are_trained_by_the_same_processes(maps, tmp_path, capsys, monkeypatch):
    line = [*training(maps, tmp_path / "run", 2, 2, *TWO), "-i1", maps / "initial.mrc", "-t1", LEVEL]
    others = set()

    def evaluate(*arguments, really=keeping.evaluate):
        others.update(process.pid for process in multiprocessing.active_children())
        really(*arguments)

    monkeypatch.setattr(keeping, "evaluate", evaluate)
    result = call(capsys, *line)
    assert result.status == 0, result.err
    assert len(others) == 1 and multiprocessing.active_children() == []
    assert result.err.count("2 processes share the points.") == 2
    assert [RunDirectory(tmp_path / "run" / leg).read()["step"] for leg in ("leg_1", "leg_2")] == [2, 2]


def test_torchrun_starts_them_too(maps, tmp_path, capsys):
    """On loopback; what it prints is printed once."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = training(maps, tmp_path / "run", 4, 2, "--device", "cpu")
    loopback = "lo" if sys.platform == "linux" else "lo0"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": loopback}
    command = [*torchrun, "-m", "chimerax.cryotrans", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Save network ... done.") == 1
    assert call(capsys, *training(maps, tmp_path / "one", 4, 2)).status == 0
    np.testing.assert_allclose(_losses(tmp_path / "run"), _losses(tmp_path / "one"), rtol=1e-6)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (("--device", "cpu,cuda:0"), "several are GPUs by their numbers, cuda:0,1"),
        (("--device", "cpu,"), "Unknown devices 'cpu,'"),
        (("--device", "cuda:1,1"), "names a GPU twice"),
        (("--device", "cuda:98,99"), "GPU 98 is not there"),
        (("--device", "cpu,cpu", "-g", 1), "Say which GPUs once"),
    ],
)
def test_devices_that_cannot_be_are_refused_before_anything_is_written(maps, tmp_path, capsys, devices, words):
    result = call(capsys, *training(maps, tmp_path / "run", 2, 2, *devices))
    assert result.status == 2 and words in result.err.splitlines()[-1], result.err
    assert not Path(tmp_path / "run").exists()


def test_a_prediction_has_one_device(maps, finished, tmp_path, capsys):
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "--run", finished.directory, "-d", tmp_path / "frames"]
    result = call(capsys, *line, *TWO)
    assert result.status == 2 and "by one device, not by cpu,cpu. Name one (--device)" in result.err
    assert not (tmp_path / "frames").exists()
