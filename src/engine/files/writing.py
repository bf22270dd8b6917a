"""Files that are there whole or not at all: written beside their place and then renamed.

The name beside is drawn by chance and the file is made anew (O_EXCL), so that nobody can put a link in its way that
leads elsewhere.  It goes by the user's umask, or by the permissions of the file that it replaces.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Where Windows says that another program holds a file open (winerror 5, 32), that may pass: a virus scanner looks at
# each new file, a backup copies it.
_SECONDS_BETWEEN_TRIES = (0.05, 0.1, 0.2, 0.3, 0.4)


def write_atomically(path: Path, content: bytes | Sequence[bytes | memoryview], durable: bool = True) -> None:
    """Write a file so that at any moment its name gives the old content or the new one, whole.

    Args:
        path: the file.
        content: all of it, or its parts one after the other.
        durable: hold out against a power cut too, which takes some hundredths of a second.
    Raises:
        OSError: it cannot be written, said of `path`; the old file is untouched, and nothing is left beside it.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    made = False
    try:
        with beside.open("xb") as file:
            made = True
            _take_permissions(file.fileno(), path)
            for part in [content] if isinstance(content, bytes) else content:
                file.write(part)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        _try_for_a_second(lambda: beside.replace(path))
    except BaseException as error:  # a second Ctrl-C among them
        if made:
            with contextlib.suppress(OSError):
                beside.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            reason = (error.errno, error.strerror, str(path), getattr(error, "winerror", None))
            raise OSError(*reason) from error  # of the name that the user knows
        raise


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        OSError: it cannot be removed.
    """
    _try_for_a_second(lambda: path.unlink(missing_ok=True))


def unfinished(names: re.Pattern[str]) -> re.Pattern[str]:
    """The names beside that a killed program may have left of files with these names."""
    return re.compile(rf"\.({names.pattern})\.[0-9a-f]+\.tmp")


def _take_permissions(file_number: int, path: Path) -> None:
    """Those of the file that will be replaced; on Windows they would forbid the renaming of what is not to change."""
    if os.name == "posix":
        with contextlib.suppress(OSError):  # there is no such file, or its disk knows no permissions
            os.fchmod(file_number, stat.S_IMODE(path.stat().st_mode) & 0o777)


def _try_for_a_second(act: Callable[[], object]) -> None:
    for seconds in _SECONDS_BETWEEN_TRIES:
        try:
            act()
            return
        except PermissionError:
            time.sleep(seconds)
    act()
