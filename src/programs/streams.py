"""Standard output and standard error, whose failures are no failures of a program.

A log on a full disk, the terminal of a connection that was dropped: what cannot be said is left unsaid.  Only that the
reader at the other end of a pipe is gone is told, by a BrokenPipeError on every system, for then nobody may be left
to whom the work matters.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable
from typing import Any

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, *([errno.EINVAL] if sys.platform == "win32" else []))


class Stream:
    """A text stream that can be written to whatever happens.

    Args:
        stream: where to; None for one that was closed before the program began.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def line(self, text: str) -> None:
        """Write a line, at once.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        self.write(text + "\n")
        self.flush()

    def write(self, text: str) -> None:
        if self._stream is not None:
            _attempt(lambda: self._stream.write(text))

    def flush(self) -> None:
        if self._stream is not None:
            _attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:  # of a terminal: its width, its encoding
        return getattr(self._stream, name)


def show_anything() -> None:
    """Have both streams show what their code page lacks, Å or a file name that is not UTF-8, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def let_go() -> None:
    """Before the end, at which Python writes out what is left, and fails if it cannot."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except KeyboardInterrupt:  # nobody takes it, and the user has waited enough
            _to_nobody(getattr(sys, name))
        except (OSError, ValueError, AttributeError):  # closed, or None
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - Python closes it


def say_no_more_where_nobody_reads() -> None:
    """Do not wait for a reader that stands still, as a stalled terminal does: what it has not taken is lost."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, None, or Windows, which cannot tell
            if not select.select([], [stream.fileno()], [], 0)[1]:
                _to_nobody(stream)


def _to_nobody(stream: Any) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nobody:
        os.dup2(nobody.fileno(), stream.fileno())


def _attempt(act: Callable[[], object]) -> None:
    try:
        act()
    except OSError as error:
        if error.errno in _GONE:
            raise BrokenPipeError(error.errno, error.strerror) from error
