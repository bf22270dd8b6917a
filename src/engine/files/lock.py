"""Locks that keep two programs out of one directory; the system lifts one if its program dies."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

_LOCK_IS_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def is_named(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one of that name: who had the lock before removes it at its end."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def take_lock(file_number: int) -> bool:
    """Take the lock; False if another program has it.  Some clusters' file systems know no locks: it goes without."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file_number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file_number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _LOCK_IS_TAKEN
    return True
