"""The end of programs that were started, and the log of what they print."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


class Log:
    """A file that output is added to as long as that can be done: a full disk is no failure of the work."""

    def __init__(self, path: Path) -> None:
        self.trouble: OSError | None = None
        try:
            self.file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by who asked for it
        except OSError as error:
            self.trouble = error
            self.file = open(os.devnull, "ab", buffering=0)  # noqa: SIM115

    def write(self, line: bytes) -> None:
        try:
            self.file.write(line)
        except OSError as error:
            self.trouble = self.trouble or error


def abandon(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Have a program end that nobody listens to: its pipes are closed, so that it saves, and then it is killed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    end_within(process, seconds)


def end_within(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a program so long, then kill it and all that it has started."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and all that it has started."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            # A virtual environment's python.exe only starts the real one, which would go on.
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(process.pid)],
                creationflags=subprocess.CREATE_NO_WINDOW,
                capture_output=True,
                check=False,
            )
        else:
            os.killpg(process.pid, signal.SIGKILL)
