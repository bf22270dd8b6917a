"""What lies at the edge of a run cannot end it: reports, tables, measures, logs, pipes, terminals and odd names."""

from __future__ import annotations

import errno
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import pytest
from phantoms import LEVEL
from running import QUICK, call, run, run_json, start, training, wait_for_step, weights_file

from chimerax.cryotrans.engine.files import writing
from chimerax.cryotrans.engine.judging.comparison import Comparison
from chimerax.cryotrans.programs import streams
from chimerax.cryotrans.programs.streams import Stream

ENDLESS = 10**9
NOT_UTF8 = b"caf\xe9.mrc"


def _reporting(maps, directory, *more):
    return [word for word in training(maps, directory, 4, 2) if word != "--no-report"] + list(more)


def _warnings(result):
    return [line for line in result.err.splitlines() if line.startswith("Warning: ")]


# Files for people

LEFT_OUT = {
    "metrics.csv": "metrics.csv had to be left out",
    "fsc.csv": "fsc.csv had to be left out",
    "strain.mrc": "The maps of the motion had to be left out",
    "domains.json": "The domains had to be left out",
    "motion.npz": "motion.npz had to be left out",
    "report.html": "The report had to be left out",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_file_for_people_that_another_program_holds_open_is_left_out(maps, tmp_path, capsys, monkeypatch, name):
    replace = os.replace

    def windows(source, place):
        if Path(place).name == name:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(source))
        replace(source, place)

    monkeypatch.setattr(writing.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(writing.os, "replace", windows)
    result = call(capsys, *_reporting(maps, tmp_path / "run"))
    assert result.status == 0, result.err
    [warning] = _warnings(result)  # once, though there are three checkpoints
    assert LEFT_OUT[name] in warning and f"{name}: The process cannot access the file." in warning
    assert run_json(tmp_path / "run")["state"] == "finished"
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert name not in written and {"net.pt", "state.pt", "loss.log"} <= written
    if name.endswith(".csv"):
        assert run_json(tmp_path / "run")["warnings"] == [warning.removeprefix("Warning: ")]


def test_a_file_that_the_run_needs_is_an_error(maps, tmp_path, capsys, monkeypatch):
    replace = os.replace

    def windows(source, place):
        if Path(place).name == "state.pt":
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(source))
        replace(source, place)

    monkeypatch.setattr(writing.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(writing.os, "replace", windows)
    result = call(capsys, *training(maps, tmp_path / "run"))
    assert result.status == 2 and "state.pt: The process cannot access the file" in result.err


def test_the_measures_can_fail(maps, tmp_path, capsys, monkeypatch):
    def no_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(Comparison, "measure", no_memory)
    result = call(capsys, *_reporting(maps, tmp_path / "run"))
    assert result.status == 0, result.err
    assert "The measures of a checkpoint had to be left out: Out of memory." in _warnings(result)[0]
    content = run_json(tmp_path / "run")
    assert (content["state"], content["best"], content["step"]) == ("finished", None, 4)
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", tmp_path / "out", "--run", tmp_path / "run"]
    assert call(capsys, *line, "--frames", 2).status == 0


@pytest.mark.parametrize(
    ("error", "program"),
    [(TypeError("unexpected keyword 'layout'"), "train"), (ImportError("no svg"), "train"), (KeyError("x"), "predict")],
)
def test_a_matplotlib_that_lacks_something(maps, finished, tmp_path, capsys, monkeypatch, error, program):
    def lacking(*arguments, **options):
        raise error

    monkeypatch.setattr(matplotlib.figure, "Figure", lacking)
    if program == "train":
        result = call(capsys, *_reporting(maps, tmp_path / "run"))
        assert (tmp_path / "run" / "strain.mrc").is_file()
    else:
        line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", tmp_path / "out", "--frames", 2]
        result = call(capsys, *line, "-w", finished.directory / "net.pt")
        assert len(list((tmp_path / "out").glob("*.mrc"))) == 2
    assert result.status == 0, result.err
    [warning] = _warnings(result)
    assert warning.startswith("Warning: The report had to be left out: ")


# Logs and pipes


@pytest.mark.parametrize(("stream", "progress"), [("stdout", "json"), ("stdout", "none"), ("stderr", "bar")])
def test_a_log_on_a_full_disk(maps, tmp_path, stream, progress):
    if not Path("/dev/full").exists():
        return  # only Linux has it
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = run(*training(maps, tmp_path / "run"), "--progress", progress, **{stream: full})
    assert result.status == 0, (result.out, result.err)
    assert "Traceback" not in (result.out or "") + (result.err or "")
    assert run_json(tmp_path / "run")["state"] == "finished"


class _Failing:
    def __init__(self, error):
        self.error = error

    def write(self, text=""):
        raise self.error

    flush = write


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET])
def test_a_reader_that_is_gone_is_told(number):
    with pytest.raises(BrokenPipeError):
        Stream(_Failing(OSError(number, os.strerror(number)))).line("text")


def test_windows_says_otherwise_that_a_reader_is_gone(monkeypatch):
    gone = _Failing(OSError(errno.EINVAL, "Invalid argument"))
    Stream(gone).line("text")  # elsewhere it means something else
    monkeypatch.setattr(streams, "_GONE", (errno.EPIPE, errno.EINVAL))
    with pytest.raises(BrokenPipeError):
        Stream(gone).line("text")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EBADF])
def test_what_cannot_be_said_is_left_unsaid(number):
    Stream(_Failing(OSError(number, os.strerror(number)))).line("text")
    Stream(None).line("text")


@pytest.mark.parametrize("progress", ["json", "none"])
def test_a_reader_that_goes_has_the_run_saved(maps, tmp_path, progress):
    with start(*training(maps, tmp_path / "run", ENDLESS, 5), "--progress", progress) as process:
        wait_for_step(tmp_path / "run", 10, process)
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err and "Exception" not in err
    assert run_json(tmp_path / "run")["state"] == "stopped" and (tmp_path / "run" / "net.pt").is_file()


# Names and code pages


@pytest.mark.parametrize(("which", "progress"), [("initial", "bar"), ("target", "json"), ("directory", "none")])
def test_names_that_are_not_utf8(maps, tmp_path, which, progress):
    names = {"initial": b"initial.mrc", "target": b"target.mrc", "directory": b"run"}
    names[which] = NOT_UTF8 if which != "directory" else b"r\xfcn \xff"
    for key in ("initial", "target"):
        (tmp_path / os.fsdecode(names[key])).write_bytes((maps / f"{key}.mrc").read_bytes())
    line = ["train", "-i0", os.fsdecode(names["initial"]), "-t0", LEVEL, "-i1", os.fsdecode(names["target"])]
    line += ["-t1", LEVEL, "-d", os.fsdecode(names["directory"]), "-n", 2, "-p", 1, *QUICK[:-1]]
    result = run(*line, "--progress", progress, cwd=tmp_path)
    assert result.status == 0, result.err
    assert "Traceback" not in result.err
    folder = tmp_path / os.fsdecode(names["directory"])
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert run_json(folder)["state"] == "finished"
    if which != "directory":
        assert "caf\\udce9" in report
    resumed = run("train", "--resume", "-d", os.fsdecode(names["directory"]), "-n", 3, cwd=tmp_path)
    assert resumed.status == 0, resumed.err
    line = ["predict", "-i", os.fsdecode(names["initial"]), "--run", os.fsdecode(names["directory"]), "--frames", 2]
    frames = run(*line, "-d", os.fsdecode(b"frames\xe4"), "-p", os.fsdecode(b"f\xf6"), cwd=tmp_path)
    assert frames.status == 0, frames.err
    assert "Traceback" not in frames.err
    assert len(list((tmp_path / os.fsdecode(b"frames\xe4")).glob("*.mrc"))) == 2


@pytest.mark.parametrize(("encoding", "progress"), [("ascii:strict", "bar"), ("cp1252:strict", "json")])
def test_another_code_page(maps, tmp_path, encoding, progress):
    path = tmp_path / "möbius ∞.mrc"
    path.write_bytes((maps / "initial.mrc").read_bytes())
    line = training(maps, tmp_path / "∞", 2, 1, "--progress", progress)
    process = start(*line, "-i0", path, env={"PYTHONIOENCODING": encoding}, stdout=-1)
    process.stdout.reconfigure(errors="replace")
    process.stderr.reconfigure(errors="replace")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "Traceback" not in err
    assert "Exception" not in err and run_json(tmp_path / "∞")["state"] == "finished"


def test_a_stream_shows_what_its_code_page_lacks():
    code = "from chimerax.cryotrans.programs.streams import show_anything as s\ns()\nprint('5 Å → \\udce9')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert done.stdout.decode().strip() == "5 \\xc5 \\u2192 \\udce9"


# Hangup: a terminal that is closed, a connection that is dropped


@pytest.mark.parametrize("n_times", [1, 3])
def test_a_hangup_saves_and_ends(maps, tmp_path, n_times):
    directory = tmp_path / "run"
    with start(*training(maps, directory, ENDLESS, 5)) as process:
        wait_for_step(directory, 10, process)
        for _ in range(n_times):  # the system sends one, the shell another
            process.send_signal(signal.SIGHUP)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 129, err
    assert "Go on with: cryotrans-train --resume" in err
    assert run_json(directory)["state"] == "stopped" and run_json(directory)["step"] >= 10


def test_a_terminal_that_is_gone_does_not_spoil_the_saving(maps, tmp_path):
    directory, (ours, theirs) = tmp_path / "run", pty.openpty()
    with start(*training(maps, directory, ENDLESS, 5), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        wait_for_step(directory, 10, process)
        os.close(ours)  # from now on writing gives EIO
        process.send_signal(signal.SIGHUP)
        process.wait(timeout=60)
    assert process.returncode == 129
    assert run_json(directory)["state"] == "stopped"


def test_under_nohup_a_hangup_is_nothing(maps, tmp_path):
    directory = tmp_path / "run"
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with start(*training(maps, directory, ENDLESS, 5), **ignored) as process:
        wait_for_step(directory, 10, process)
        process.send_signal(signal.SIGHUP)
        wait_for_step(directory, run_json(directory)["step"] + 10, process)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err


def test_a_hangup_ends_a_prediction(maps, tmp_path):
    weights = weights_file(tmp_path / "still.pt")
    line = ["predict", "-i", maps / "initial.mrc", "-d", tmp_path / "out", "-w", weights, "--frames", 9999]
    with start(*line, "--progress", "json") as process:
        while '"frame"' not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 129, err
    assert '"state": "stopped"' in out
