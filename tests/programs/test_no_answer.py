"""A disk that does not come back: the program ends all the same when it is asked to.

Stalled for real: glibc's posix_spawn has its caller wait in the kernel, with all signals kept back, until the new
process has opened its files, and those are a pipe that nobody opens at its other end.  (Python's own would keep its
lock.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from running import run_json, training

ENDLESS = 10**9

if sys.platform != "linux":
    pytest.skip("needs glibc", allow_module_level=True)

STALLED = """
import ctypes, os, sys
from chimerax.cryotrans.programs import no_answer
from chimerax.cryotrans.programs.command_line import main
really, count = os.fsync, 0
def stalls(file):
    global count
    count += 1
    if count > 8:
        print("stalled", file=sys.stderr, flush=True)
        actions, libc = ctypes.create_string_buffer(256), ctypes.CDLL(None)
        libc.posix_spawn_file_actions_init(actions)
        for number in (0, 1, 2):
            libc.posix_spawn_file_actions_addopen(actions, number, os.fsencode(sys.argv[1]), os.O_RDONLY, 0)
        words = (ctypes.c_char_p * 2)(b"true", None)
        libc.posix_spawn(ctypes.byref(ctypes.c_int()), b"/bin/true", actions, None, words, words)
    really(file)
os.fsync = stalls
no_answer._SECONDS_TO_ANSWER = 1.0
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def stalled(maps, tmp_path):
    """A training whose disk has just stopped to answer, and what has the disk come back."""
    fifo, ends = tmp_path / "fifo", []
    os.mkfifo(fifo)

    def come_back():
        ends.append(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))

    words = [str(word) for word in training(maps, tmp_path / "run", ENDLESS, 5, "--progress", "none")]
    with open(tmp_path / "said", "w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", STALLED, str(fifo), *words],
            stdout=said,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    end = time.monotonic() + 60
    while "stalled" not in (tmp_path / "said").read_text() and time.monotonic() < end:
        time.sleep(0.02)
    yield process, come_back
    process.kill()
    process.wait()
    come_back()
    time.sleep(0.1)  # for what waited at the pipe
    for end in ends:
        os.close(end)


def test_a_second_request_ends_what_cannot_answer(stalled, tmp_path):
    process, _ = stalled
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)  # seconds; two at once are one to the system
    assert process.poll() is None  # the first asks it to save
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    said = (tmp_path / "said").read_text()
    assert said.splitlines()[-1].startswith("Ended where the disk or the network does not answer; what had been saved")
    assert run_json(tmp_path / "run")["state"] == "running"  # as after a kill
    assert "Traceback" not in said


def test_one_request_waits_for_the_disk(stalled, tmp_path):
    process, come_back = stalled
    process.send_signal(signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None
    come_back()
    assert process.wait(30) == 130
    assert run_json(tmp_path / "run")["state"] == "stopped"
    assert "all is saved" in (tmp_path / "said").read_text()
