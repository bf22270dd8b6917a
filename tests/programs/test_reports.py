"""What --progress shows: lines of JSON for programs, a bar for people, and what is told if a stream is closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from phantoms import LEVEL
from running import call, run, training, weights_file
from test_programs import SCREEN

TRAINING_FIELDS = {
    "program": {"version"},
    "note": {"text"},
    "warning": {"text"},
    "start": {"directory", "device", "n_points", "step", "n_steps", "period"},
    "step": {"step", "loss", "seconds", "seconds_left"},
    "checkpoint": {
        *("step", "loss", "seconds", "weights", "mass_outside"),
        *("correlation", "resolution", "transport_distance", "strain", "folded"),
    },
    "end": {
        *("state", "text", "directory", "weights", "step", "n_steps", "loss", "seconds", "mass_outside"),
        *("best", "verdict"),
    },
}
PREDICTION_FIELDS = {
    "program": {"version"},
    "note": {"text"},
    "start": {"directory", "device", "n_frames"},
    "frame": {"path", "number", "time"},
    "end": {"state", "text", "directory", "files", "mass_outside"},
}


def events(out: str) -> list[dict]:
    def no_constant(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=no_constant) for line in out.splitlines()]


def test_training_reports_in_json(maps, tmp_path):
    result = run(*training(maps, tmp_path / "run", 60, 20), "--progress", "json")
    assert (result.status, result.err) == (0, "")
    told = events(result.out)
    for event in told:
        assert set(event) - {"event"} == TRAINING_FIELDS[event["event"]]
    kinds = [event["event"] for event in told if event["event"] != "step"]
    assert kinds == ["program", "note", "start", *["checkpoint"] * 4, "end"]
    assert [event["step"] for event in told if event["event"] == "checkpoint"] == [0, 20, 40, 60]
    assert any(event["event"] == "step" and 0 < event["step"] <= 60 for event in told)
    for event in told:
        if event["event"] == "checkpoint":
            assert os.path.isfile(event["weights"])
    losses = [float(line) for line in (tmp_path / "run" / "loss.log").read_text().splitlines()]
    assert told[-1]["state"] == "finished"
    assert told[-1]["loss"] == pytest.approx(losses[-1], rel=1e-8)


def test_prediction_reports_in_json(maps, finished, tmp_path, capsys):
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", tmp_path, "-w", finished.directory / "net.pt"]
    result = call(capsys, *line, "--frames", 3, "--reverse", "--progress", "json")
    assert (result.status, result.err) == (0, "")
    told = events(result.out)
    for event in told:
        assert set(event) - {"event"} == PREDICTION_FIELDS[event["event"]]
    assert [event["event"] for event in told] == ["program", "note", "start", *["frame"] * 3, "note", "end"]
    shown = [(event["number"], event["time"]) for event in told if event["event"] == "frame"]
    assert shown == [(2, 0), (1, 0.5), (0, 1)]
    assert told[-1]["files"] == ["frame_00.mrc", "frame_01.mrc", "frame_02.mrc"]


@pytest.mark.parametrize("program", ["train", "predict"])
def test_an_error_is_a_json_line_too(maps, tmp_path, capsys, program):
    line = training(maps, tmp_path / "run", 1, 1) if program == "train" else ["predict", "-d", tmp_path, "-i", "no.mrc"]
    result = call(capsys, *line, "-w", "missing.pt", "--progress", "json")
    assert (result.status, result.err) == (2, "")
    assert events(result.out)[-1]["event"] == "error"
    assert "There is no" in events(result.out)[-1]["text"]


def test_a_bar_leaves_the_table_whole(maps, tmp_path, capsys):
    pytest.importorskip("tqdm")
    result = call(capsys, *training(maps, tmp_path / "run", 60, 20), "--progress", "bar")
    assert SCREEN.fullmatch(result.out)
    assert "/60 [" in result.err
    assert "step/s" in result.err


@pytest.mark.parametrize("choice", ["none", "auto"])
def test_no_bar_where_none_is_wanted_or_seen(maps, tmp_path, capsys, choice):
    result = call(capsys, *training(maps, tmp_path / "run", 2, 1), "--progress", choice)
    assert SCREEN.fullmatch(result.out)
    assert "\r" not in result.err


def test_a_word_of_no_meaning_is_refused(capsys):
    result = call(capsys, "train", "--progress", "loud")
    assert result.status == 2
    assert "loud" in result.err


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("progress", ["auto", "bar"])
def test_closed_streams_do_no_harm(maps, tmp_path, closed, progress):
    """As under a scheduler or a program without a terminal; PyTorch is not what is tested, so one frame is enough."""
    if progress == "bar" and closed != "2>&-":
        return
    weights = weights_file(tmp_path / "still.pt")
    line = ["predict", "-i", maps / "initial.mrc", "-d", tmp_path / "out", "-w", weights, "--frames", 2]
    command = [sys.executable, "-m", "chimerax.cryotrans", *map(str, line), "--progress", progress]
    script = f'exec "$@" {closed}'
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("more", [("--progress", "json"), ("--progress=json",)])
def test_a_mistake_in_the_options_is_a_json_line_too(capsys, more):
    result = call(capsys, "train", "-n", "many", *more)
    assert result.status == 2
    [_, event] = map(json.loads, result.out.splitlines())
    assert event["event"] == "error" and "many" in event["text"]
