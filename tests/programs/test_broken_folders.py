"""Folders and disks that fail under a run: what is there is whole, going on ends the same, and a sentence says it.

The long form, with a disk of a few MB, system calls that fail, and random moments, is benchmarks/disks.py.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from phantoms import LEVEL
from running import call, run_json, start, training, wait_for_step, weights_file

from chimerax.cryotrans.engine.flow import checkpoint
from chimerax.cryotrans.programs.progress import in_a_sentence

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, F_SETPIPE_SZ = 24, 1, 1031  # of Linux


def _at_the_write_of(name, monkeypatch, act):
    """Have something happen once, when a file of that name is about to be written."""
    really, done = checkpoint.write_atomically, []

    def write(path, content, **how):
        if path.name == name and not done:
            done.append(act())
        really(path, content, **how)

    monkeypatch.setattr(checkpoint, "write_atomically", write)


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_folder_that_goes_under_the_run(maps, tmp_path, capsys, monkeypatch, how):
    folder, away = tmp_path / "run", tmp_path / "away"
    act = {"removed": lambda: shutil.rmtree(folder), "moved": lambda: folder.rename(away)}[how]
    with monkeypatch.context() as patch:
        _at_the_write_of("net_2.pt", patch, act)
        result = call(capsys, *training(maps, folder, 12, 2), "--progress", "none")
    assert result.status == 2
    assert result.err.splitlines()[-1] == f"The folder {folder} is gone: it was moved or removed while this ran."
    assert "whole" not in result.err and not folder.exists()  # neither a claim nor half a run in its place
    assert call(capsys, *training(maps, tmp_path / "unbroken", 12, 2)).status == 0
    if how == "moved":
        assert call(capsys, "train", "--resume", "-d", away, "-n", 12).status == 0
        folder = away
    else:
        assert call(capsys, *training(maps, folder, 12, 2)).status == 0
    for name in ("loss.log", "net.pt"):
        assert (folder / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_the_folder_of_frames_goes(maps, tmp_path, capsys, monkeypatch):
    from chimerax.cryotrans.programs import prediction

    folder, weights = tmp_path / "frames", weights_file(tmp_path / "still.pt")
    really = prediction.write_map

    def write(path, density_map, **how):
        if path.name == "frame_02.mrc":
            shutil.rmtree(folder)
        really(path, density_map, **how)

    monkeypatch.setattr(prediction, "write_map", write)
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", folder, "-w", weights]
    result = call(capsys, *line)
    assert result.status == 2
    assert result.err.splitlines()[-1] == f"The folder {folder} is gone: it was moved or removed while this ran."


def _bound_by_permissions():
    """Take the right to pass over them from a root; of no effect on what runs already, but on what it becomes."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_a_folder_closed_to_its_user(maps, tmp_path, capsys):
    folder = tmp_path / "run"
    line = [*training(maps, folder, 10**9, 5), "--progress", "none"]
    with start(*line, preexec_fn=_bound_by_permissions) as process:
        wait_for_step(folder, 10, process)
        folder.chmod(0o500)
        _, err = process.communicate(timeout=60)
    folder.chmod(0o700)
    assert process.returncode == 2 and "Traceback" not in err
    step = run_json(folder)["step"]
    last = err.splitlines()[-1]
    assert re.search(
        rf"Cannot write or read {folder}/\w+\.\w+: Permission denied\. Allow writing there, or use another directory\. "
        rf"The checkpoint of step \d+ in {folder} is whole; go on with --resume\.$",
        last,
    ), last
    assert call(capsys, "train", "--resume", "-d", folder, "-n", step + 15).status == 0
    assert call(capsys, *training(maps, tmp_path / "unbroken", step + 15, 5)).status == 0
    assert (folder / "loss.log").read_bytes() == (tmp_path / "unbroken" / "loss.log").read_bytes()


def test_files_from_the_future(maps, tmp_path, capsys):
    """As a clock that was set back leaves them."""
    folder = tmp_path / "run"
    assert call(capsys, *training(maps, folder, 6, 2)).status == 0
    (folder / ".state.pt.0123456789abcdef.tmp").write_bytes(b"half")
    for path in (*folder.iterdir(), folder, maps / "initial.mrc"):
        os.utime(path, (4_000_000_000, 4_000_000_000))
    assert call(capsys, "train", "--resume", "-d", folder, "-n", 12).status == 0
    assert call(capsys, *training(maps, tmp_path / "unbroken", 12, 2)).status == 0
    for name in ("loss.log", "net.pt"):
        assert (folder / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    assert not list(folder.glob(".*"))


def test_two_programs_that_begin_at_the_same_moment(maps, tmp_path, capsys):
    """Held back by a pipe until both are ready to go."""
    words = [str(word) for word in training(maps, tmp_path / "run", 20, 5, "--progress", "none")]
    code = (
        "import sys, torch\nfrom chimerax.cryotrans.programs.command_line import main\n"
        "print('ready', flush=True)\nsys.stdin.readline()\nsys.exit(main(sys.argv[1:]))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen([sys.executable, "-c", code, *words], env=environment, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.wait(60): process.communicate()[1] for process in both}
    assert set(said) == {0, 2}
    assert len(said[2].splitlines()) <= 3 and "Traceback" not in said[2]
    assert re.search(r"Another program is training in|already holds a run", said[2].splitlines()[-1])
    assert call(capsys, *training(maps, tmp_path / "unbroken", 20, 5)).status == 0
    assert (tmp_path / "run" / "net.pt").read_bytes() == (tmp_path / "unbroken" / "net.pt").read_bytes()


def test_a_disk_without_locks_is_told_of_and_nothing_is_cleaned_away(maps, tmp_path, capsys, monkeypatch):
    """There is no such disk at hand: the system's answer is made up.  benchmarks/disks.py has the system give it."""

    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    folder = tmp_path / "run"
    monkeypatch.setattr(fcntl, "flock", no_locks)
    said = f"The disk of {folder} knows no locks: see to it yourself that no other program trains there meanwhile."
    first = call(capsys, *training(maps, folder, 4, 2))
    assert first.status == 0 and first.err.splitlines().count(said) == 1
    half = folder / ".net_9.pt.0123456789abcdef.tmp"
    half.write_bytes(b"half")  # perhaps of another program, at this moment
    assert said in call(capsys, "train", "--resume", "-d", folder, "-n", 6).err
    assert half.exists()
    monkeypatch.undo()
    assert said not in call(capsys, "train", "--resume", "-d", folder, "-n", 8).err
    assert not half.exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Make room on the disk."),
        (errno.EROFS, "Allow writing there, or use another directory."),
        (errno.ESTALE, "The disk, or the way to it through the network, has failed."),
    ],
)
def test_what_to_do_when_the_system_refuses(tmp_path, number, advice):
    error = OSError(number, os.strerror(number), str(tmp_path / "net.pt"))
    said = f"Cannot write or read {tmp_path / 'net.pt'}: {os.strerror(number)}. {advice}"
    assert in_a_sentence(error) == said


def test_a_log_that_nobody_reads_can_be_ended(maps, tmp_path):
    """Who reads stands still, as a stalled terminal: the program waits for it, and Ctrl-C ends that."""
    ours, theirs = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(theirs, F_SETPIPE_SZ, 4096)  # soon full
    with start(*training(maps, tmp_path / "run", 10**9, 1), "--progress", "json", stdout=theirs) as process:
        os.close(theirs)
        try:
            wait_for_step(tmp_path / "run", 1, process)
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
    os.close(ours)


@pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes as POSIX has them")
@pytest.mark.parametrize("act", ["let_go()", "say_no_more_where_nobody_reads(); let_go()"])
def test_the_end_does_not_wait_for_a_reader_that_stands_still(act):
    """The pipe is full and something is left to say: Ctrl-C ends the waiting, or there is none."""
    code = f"""
import contextlib, os, sys
from chimerax.cryotrans.programs.streams import let_go, say_no_more_where_nobody_reads
os.set_blocking(1, False)
with contextlib.suppress(BlockingIOError):
    while True:
        os.write(1, b"x")
os.set_blocking(1, True)
sys.stdout.write("left")
print("full", file=sys.stderr, flush=True)
{act}
"""
    ours, theirs = os.pipe()
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    how = {"stdout": theirs, "stderr": subprocess.PIPE, "text": True, "env": buffered}
    with subprocess.Popen([sys.executable, "-c", code], **how) as process:
        os.close(theirs)
        try:
            assert process.stderr.readline().strip() == "full"
            time.sleep(1)
            if act == "let_go()":
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
    os.close(ours)
