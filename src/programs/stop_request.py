"""The request to stop: kept until the program comes to a place where it can save."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from .no_answer import Guard

_SECONDS_BETWEEN_LOOKS = 0.2
PARENT = "CRYOTRANS_PARENT"  # environment variable: the number of who started us, who may be gone before we look
IN_HASTE = b"leave"  # see `StopRequest.in_haste`


class Stopped(Exception):
    """A stop was asked for where it takes effect at once."""


class StopRequest:
    """Ctrl-C, SIGTERM, a hangup or the end of standard input, kept until the step is finished.

    A second Ctrl-C or SIGTERM ends at once, also where a disk does not answer (no_answer.py); a second hangup does not,
    for a terminal that is closed sends several.
    """

    def __init__(self) -> None:
        self._signal = 0
        self._input_closed = False
        self._told_to_leave = False
        self._parent: int | None = None
        self._saves = False
        self._at_once = False
        self._interrupts_itself = False

    def __bool__(self) -> bool:
        return self._signal != 0 or self._input_closed

    @property
    def in_haste(self) -> bool:
        """To save, and leave the conclusion to resuming: so it was told, or who started it is gone (not on Windows)."""
        return self._told_to_leave or self._is_orphaned

    @property
    def _is_orphaned(self) -> bool:
        if not self._input_closed or self._parent is None or sys.platform == "win32":
            return False
        return os.getppid() != self._parent or not _exists(os.environ.get(PARENT, ""))

    @property
    def exit_status(self) -> int:
        return 128 + self._signal if self._signal else 0

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """What runs in this block is broken off when a stop is asked for; it must change nothing.

        Raises:
            Stopped: it was.
        """
        self._at_once = True
        try:
            if self:
                raise Stopped
            yield
        finally:
            self._at_once = False

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """In this block something would be lost; outside it, a program whose parent is gone ends where it is."""
        self._saves = True
        try:
            yield
        finally:
            self._saves = False

    @contextlib.contextmanager
    def listening(self, to_input: bool) -> Iterator[None]:
        """Take signals over, and give them back afterwards; listen to standard input as well if wanted."""

        def ask(number: int, frame: Any) -> None:
            if self._interrupts_itself:
                self._interrupts_itself = False
            elif not self._signal:
                self._signal = number
            elif number == hangup:
                return
            else:
                raise KeyboardInterrupt
            if self._at_once:
                self._at_once = False
                raise Stopped

        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        names = ["SIGINT", "SIGTERM", "SIGBREAK"]  # the last is Windows' way to ask a child process
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as under nohup, which means it
            numbers.append(hangup)
        before = {number: signal.signal(number, ask) for number in numbers}
        guard = Guard(numbers, hangup)
        if to_input:
            self._parent = os.getppid()
            threading.Thread(target=self._wait_for_end_of_input, args=(guard,), daemon=True).start()
        try:
            with guard.on_watch():
                yield
        finally:
            self._parent = None
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wait_for_end_of_input(self, guard: Guard) -> None:
        # The file number, not sys.stdin: its lock would hold up the interpreter's end.
        with contextlib.suppress(OSError):
            while read := os.read(0, 4096):
                self._told_to_leave = self._told_to_leave or IN_HASTE in read
        self._input_closed = True
        if self._at_once:
            self._interrupts_itself = True
            guard.expect()
            _thread.interrupt_main()
        while self._parent is not None:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            if self._is_orphaned and not self._saves:
                os._exit(1)


def _exists(number: str) -> bool:
    """Whether a process of this number is there, or nothing is known of it."""
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, OSError):
        pass
    return True
