"""A morph through several conformations: a flow for each leg, one run, one trajectory."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from phantoms import LEVEL, MOTION, MOVING, SHAPE, two_domains, write_mrc
from running import QUICK, call, contents, run_json, start, training, weights_file

from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

NAMES = ("a.mrc", "b.mrc", "c.mrc")


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> Path:
    """A folder with three conformations, the moving domain being at 0, 1 and 2 times its motion."""
    folder = tmp_path_factory.mktemp("states")
    for name, share in zip(NAMES, (0, 1, 2)):
        write_mrc(folder / name, two_domains(share))
    return folder


def _line(states: Path, directory: Path, n_steps: int = 4, period: int = 2, *more: object) -> list[object]:
    a, b, c = (states / name for name in NAMES)
    maps = ["-i0", a, "-t0", LEVEL, "-i1", b, "-t1", LEVEL, "-i1", c, "-t1", 0.45]
    return ["train", *maps, "-d", directory, "-n", n_steps, "-p", period, *QUICK, *more]


@pytest.fixture
def trained(states, tmp_path, capsys) -> Path:
    directory = tmp_path / "run"
    result = call(capsys, *_line(states, directory))
    assert result.status == 0, result.err
    assert "Leg 1 of 2: a.mrc to b.mrc." in result.err and "Leg 2 of 2: b.mrc to c.mrc." in result.err
    assert result.out.count("Save network ... done.") == 2
    return directory


def _losses(directory: Path) -> list[float]:
    return [float(line) for line in (directory / "loss.log").read_text().split()]


def test_every_leg_is_a_run_of_its_own(states, trained, tmp_path, capsys):
    content = run_json(trained)
    assert content["state"] == "finished" and content["legs"] == ["leg_1", "leg_2"]
    assert [Path(target["path"]).name for target in content["targets"]] == ["b.mrc", "c.mrc"]
    assert [target["level"] for target in content["targets"]] == [LEVEL, 0.45]
    assert content["target"] == content["targets"][-1] and content["initial"]["name"] == "a.mrc"
    # The first leg is what a run with its target alone is, and the second one with the first's end as its initial map.
    a, b, c = (states / name for name in NAMES)
    one = ["-i0", a, "-t0", LEVEL, "-i1", b, "-t1", LEVEL, "-d", tmp_path / "one", "-n", 4, "-p", 2]
    assert call(capsys, "train", *one, *QUICK).status == 0
    level = run_json(trained / "leg_2")["options"]["initial_level"]
    generated = trained / "leg_1" / "generated.mrc"
    two = ["-i0", generated, "-t0", level, "-i1", c, "-t1", 0.45, "-d", tmp_path / "two", "-n", 4, "-p", 2]
    assert call(capsys, "train", *two, *QUICK).status == 0
    assert _losses(trained / "leg_1") == _losses(tmp_path / "one")
    assert _losses(trained / "leg_2") == _losses(tmp_path / "two")
    kept = np.count_nonzero(read_map(a).density >= LEVEL)
    assert np.count_nonzero(read_map(generated).density >= level) == kept
    predict = ["predict", "-i", a, "--run", tmp_path / "one", "--times", 1, "-d", tmp_path / "frames"]
    assert call(capsys, *predict).status == 0
    np.testing.assert_array_equal(read_map(generated).density, read_map(tmp_path / "frames" / "frame_00.mrc").density)


def _moving_domain(path: Path) -> np.ndarray:
    """Where the moving domain is, z, y, x in voxels: the mean place of what lies above the level on its side."""
    density = read_map(path).density
    half = np.where(density >= LEVEL, density, 0)[:, :, 13:]
    z, y, x = (np.average(axis, weights=half) for axis in np.indices(half.shape))
    return np.array([z, y, x + 13])


def test_the_morph_comes_by_every_conformation(states, tmp_path, capsys):
    directory, frames = tmp_path / "run", tmp_path / "frames"
    assert call(capsys, *_line(states, directory, 120, 120, "--w2_iter", 10, "--width", 40)).status == 0
    call(capsys, "predict", "-i", states / "a.mrc", "-t", LEVEL, "--run", directory, "--frames", 5, "-d", frames)
    for number, share in enumerate((0, 0.5, 1, 1.5, 2)):
        place = _moving_domain(frames / f"frame_{number:02d}.mrc")
        np.testing.assert_allclose(place, np.array(MOVING) + np.multiply(share, MOTION), atol=0.2)


def test_one_series_leads_the_whole_way(states, trained, tmp_path, capsys):
    predict = ["predict", "-i", states / "a.mrc", "--run", trained]
    result = call(capsys, *predict, "-d", tmp_path / "all")
    assert result.status == 0 and "21 frames" in result.err
    at_joint = read_map(tmp_path / "all" / "frame_10.mrc").density
    np.testing.assert_array_equal(at_joint, read_map(trained / "leg_1" / "generated.mrc").density)
    times = "0.4999999,0.5,0.5000001"
    assert call(capsys, *predict, "--times", times, "-d", tmp_path / "joint").status == 0
    for number in range(3):
        frame = read_map(tmp_path / "joint" / f"frame_{number:02d}.mrc").density
        np.testing.assert_allclose(frame, at_joint, atol=1e-5)
    assert call(capsys, *predict, "--frames", 3, "--reverse", "-d", tmp_path / "back").status == 0
    first, last = (read_map(tmp_path / folder / name).density for folder, name in (
        ("back", "frame_00.mrc"), ("all", "frame_20.mrc")))  # fmt: skip
    np.testing.assert_array_equal(first, last)
    result = call(capsys, *predict, "--frames", 4, "-d", tmp_path / "between")
    assert "The conformations on the way fall between frames; 5 frames show each of them." in result.err


def _leg_that_shifts(directory: Path, number: int, shift: tuple[float, ...]) -> None:
    leg = directory / f"leg_{number}"
    leg.mkdir(parents=True)
    weights_file(leg / "net.pt", shift=shift)
    (leg / "run.json").write_text(json.dumps({"options": {}}))


def test_atoms_go_the_whole_way_and_back(tmp_path, capsys):
    side = max(SHAPE)
    for number, shift in ((1, (2 / side, 0, 0)), (2, (0, -1 / side, 0))):
        _leg_that_shifts(tmp_path / "run", number, shift)
    (tmp_path / "run" / "run.json").write_text(json.dumps({"legs": ["leg_1", "leg_2"], "options": {}}))
    map_path, atoms = tmp_path / "a.mrc", np.array([[12.0, 12.0, 13.5], [13.0, 12.5, 14.0]])  # x, y, z in Å
    write_map(map_path, DensityMap(two_domains(), (1.5, 1.5, 1.5)))
    np.save(tmp_path / "atoms.npy", atoms)
    line = ["predict", "-i", map_path, "-t", LEVEL, "--run", tmp_path / "run"]
    call(capsys, *line, "--atoms", tmp_path / "atoms.npy", "--frames", 3, "-d", tmp_path / "out")
    with np.load(tmp_path / "out" / "frame_atoms.npz") as carried:
        there = carried["coordinates"] - atoms
    np.testing.assert_allclose(there, np.tile([[[0, 0, 0]], [[0, 0, 3.0]], [[0, -1.5, 3.0]]], (1, 2, 1)), atol=1e-4)
    assert call(capsys, *line, "--inverse", "--times", "1", "-d", tmp_path / "inverse").status == 0
    wanted = np.roll(np.where(two_domains() >= LEVEL, two_domains(), 0), (-2, 1, 0), (0, 1, 2))
    np.testing.assert_allclose(read_map(tmp_path / "inverse" / "frame_00.mrc").density, wanted, atol=1e-3)


def test_a_run_broken_off_in_its_second_leg_goes_on_exactly(states, trained, tmp_path, capsys):
    directory = tmp_path / "broken"
    line = [*_line(states, directory, 4, 2), "--progress", "json", "--stop-with-input"]
    leg = directory / "leg_2"
    with start(*line, stdin=-1) as process:
        end = time.monotonic() + 60
        while not (leg / "state.pt").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    if run_json(leg)["step"] == 4:  # it was too quick to be killed on its way
        pytest.skip("the run ended before it could be broken off")
    result = call(capsys, "train", "--resume", "-d", directory)
    assert result.status == 0, result.err
    assert "Leg 1 of 2" not in result.err and "Leg 2 of 2" in result.err
    for name in ("leg_1", "leg_2"):
        assert _losses(directory / name) == _losses(trained / name)
    assert run_json(directory)["state"] == "finished"
    assert "All 2 legs" in call(capsys, "train", "--resume", "-d", directory).err


@pytest.mark.parametrize(("name", "state"), [("leg_1", "running"), ("leg_1", "finished"), ("leg_2", "running")])
def test_a_leg_killed_between_its_last_step_and_its_end_is_ended(states, trained, tmp_path, capsys, name, state):
    directory = tmp_path / "broken"
    shutil.copytree(trained, directory)
    leg = directory / name
    (leg / "net.pt").unlink()
    (leg / "run.json").write_text(json.dumps({**run_json(leg), "state": state}))
    if name == "leg_1":
        shutil.rmtree(directory / "leg_2")
    result = call(capsys, "train", "--resume", "-d", directory)
    assert result.status == 0, result.err
    for folder in ("leg_1", "leg_2"):
        assert _losses(directory / folder) == _losses(trained / folder)
        assert (directory / folder / "net.pt").read_bytes() == (trained / folder / "net.pt").read_bytes()


def test_a_stop_ends_the_present_leg_and_leaves_the_rest(states, trained, tmp_path, capsys):
    directory = tmp_path / "stopped"
    line = [*_line(states, directory, 10**6, 2), "--progress", "json", "--stop-with-input"]
    with start(*line, stdin=-1) as process:
        for printed in process.stdout:
            if json.loads(printed)["event"] == "checkpoint":
                break
        process.stdin.close()
        process.stdin = None
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    ends = [event for event in map(json.loads, out.splitlines()) if event["event"] == "end"]
    assert [(event["state"], event["leg"], event["n_legs"]) for event in ends] == [("stopped", 1, 2)]
    assert ends[0]["text"].endswith(f"cryotrans-train --resume -d {directory}")
    assert run_json(directory)["state"] == "stopped" and not (directory / "leg_2").exists()
    predict = ["predict", "-i", states / "a.mrc", "--run", directory, "-d", tmp_path / "frames"]
    result = call(capsys, *predict)
    assert result.status == 0 and "Only 1 of the 2 legs have been trained so far" in result.err
    assert "11 frames" in result.err
    result = call(capsys, *predict, "--inverse", "--prefix", "back")
    assert result.status == 2 and "--inverse begins at the end of the last" in result.err
    # What it goes on with: fewer steps than it was to make end the first leg and are those of the second.
    step = run_json(directory / "leg_1")["step"]
    result = call(capsys, "train", "--resume", "-d", directory, "-n", step + 2)
    assert result.status == 0, result.err
    assert [len(_losses(directory / f"leg_{number}")) for number in (1, 2)] == [step + 3, step + 3]


def test_programs_are_told_of_the_leg(states, tmp_path, capsys):
    result = call(capsys, *_line(states, tmp_path / "run"), "--progress", "json")
    program, *events = [json.loads(line) for line in result.out.splitlines()]
    assert program["event"] == "program" and {event["n_legs"] for event in events} == {2}
    legs = [event["leg"] for event in events]
    assert legs == sorted(legs) and set(legs) == {1, 2}
    for name in ("start", "end"):
        assert [event["leg"] for event in events if event["event"] == name] == [1, 2]
    assert [event["step"] for event in events if event["event"] == "checkpoint"] == [0, 2, 4, 0, 2, 4]
    assert not any("Leg 1" in note for note in run_json(tmp_path / "run" / "leg_2")["notes"])


def test_one_target_leaves_what_it_always_has(maps, tmp_path, capsys):
    result = call(capsys, *training(maps, tmp_path / "run"), "--progress", "json")
    assert result.status == 0
    assert not any("leg" in json.loads(line) for line in result.out.splitlines())
    assert not {"leg", "legs", "targets"} & set(run_json(tmp_path / "run"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "fsc.csv", "loss.log", "metrics.csv", "net.pt", "net_0.pt", "net_1.pt", "net_2.pt", "run.json", "state.pt",
    ]  # fmt: skip


def test_overwrite_removes_all_legs_of_before(maps, states, trained, tmp_path, capsys):
    (trained / "leg_2" / "mine.txt").write_text("kept")
    assert call(capsys, *_line(states, trained)).status == 2
    line = training(maps, trained)
    result = call(capsys, *line)
    assert result.status == 2 and "already holds a run" in result.err
    assert call(capsys, *line, "--overwrite").status == 0
    assert not (trained / "leg_1").exists() and list((trained / "leg_2").iterdir()) == [trained / "leg_2" / "mine.txt"]


WRONG = {
    "one level of three": (("-i1", "b", "-i1", "c", "-i1", "b", "-t1", 1, "-t1", 1), "Give a level for each target"),
    "a folder": (("-i1", "b", "-i1", ".", "-t1", 0.5), "is a folder"),
    "no level": (("-i1", "b", "-i1", "c"), "Give a level for each target"),
    "twice in a row": (("-i1", "b", "-i1", "b", "-t1", 0.5), "b.mrc comes twice in a row"),
    "the initial again": (("-i1", "a", "-i1", "b", "-t1", 0.5), "a.mrc comes twice in a row"),
    "no overlap": (("-i1", "b", "-i1", "far", "-t1", 0.5), "The maps must overlap"),
    "no such file": (("-i1", "b", "-i1", "none", "-t1", 0.5), "none.mrc"),
    "a level above all": (("-i1", "b", "-i1", "c", "-t1", 0.5, "-t1", 99), "99"),
    "weights": (("-i1", "b", "-i1", "c", "-t1", 0.5, "-w", "net.pt"), "-w belongs to one flow"),
    "options": (("-i1", "b", "-i1", "c", "-t1", 0.5, "--lr", -1), "The learning rate (--lr)"),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_is_wrong_is_said_before_anything_is_written(states, tmp_path, capsys, why):
    write_mrc(states / "far.mrc", two_domains(), origin=(900.0, 0.0, 0.0))
    words, said = WRONG[why]
    maps = [states / f"{word}.mrc" if word in ("a", "b", "c", "far", "none") else word for word in words]
    before = contents(states)
    line = ["train", "-i0", states / "a.mrc", "-t0", LEVEL, "-d", tmp_path / "run", "-n", 4, "-p", 2, *QUICK, *maps]
    result = call(capsys, *line)
    assert result.status == 2 and said in result.err, result.err
    assert len(result.err.strip().splitlines()) == 1 or "Leg 1" in result.err
    assert not (tmp_path / "run").exists() and contents(states) == before


def test_resuming_keeps_to_what_the_run_was_begun_with(states, trained, capsys):
    shutil.rmtree(trained / "leg_2")  # as if the second leg had not begun
    wrong = {
        ("--w2_iter", 3): "--w2_iter was 2, not 3",
        ("-t1", 9): "The run was begun with the levels (-t1) [0.5, 0.45]",
        ("-i1", states / "b.mrc"): "give all of them (-i1), or none",
        ("-i0", states / "b.mrc"): "is not the initial map that the run was begun with",
    }
    for words, said in wrong.items():
        result = call(capsys, "train", "--resume", "-d", trained, *words)
        assert result.status == 2 and said in result.err, result.err
    result = call(capsys, "predict", "-i", states / "a.mrc", "--run", trained, "--checkpoint", 1, "-d", trained / "f")
    assert result.status == 2 and "there is no choice (--checkpoint)" in result.err
    result = call(capsys, "train", "--resume", "-d", trained)
    assert result.status == 0 and len(_losses(trained / "leg_2")) == 5


def test_a_failure_in_a_leg_is_noted_for_the_whole(states, trained, capsys):
    (trained / "leg_2" / "state.pt").write_bytes(b"no such thing")
    content = json.loads((trained / "leg_2" / "run.json").read_text())
    (trained / "leg_2" / "run.json").write_text(json.dumps({**content, "state": "running", "step": 2}))
    assert call(capsys, "train", "--resume", "-d", trained).status == 2
    assert run_json(trained)["state"] == "failed" and "state.pt" in run_json(trained)["message"]
