"""The end of programs that were started, and the log of what they print."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MOST_LOGGED = 1 << 26  # bytes of one program; what says more fills the disk


class Log:
    """A file that output is added to as long as that can be done: a full disk is no failure of the work."""

    def __init__(self, path: Path) -> None:
        self.trouble: OSError | None = None
        self._left = _MOST_LOGGED
        try:
            self.file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by who asked for it
        except OSError as error:
            self.trouble = error
            self.file = open(os.devnull, "ab", buffering=0)  # noqa: SIM115

    def write(self, line: bytes) -> None:
        if self._left < 0:
            return
        self._left -= len(line)
        if self._left < 0:
            line = b"\nIt printed more than is kept; the rest is left out.\n"
        try:
            self.file.write(line)
        except OSError as error:
            self.trouble = self.trouble or error


def start(
    command: Sequence[str | Path], errors: Any, folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, so that Ctrl-C passes it by and all of it can be killed.

    Args:
        command: the program and its arguments.
        errors: where what it prints on standard error goes, as for Popen.
        folder: where it runs.
        environment: all the environment variables that it gets.
    """
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=folder,
        env=dict(environment),
        **options,
    )


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
