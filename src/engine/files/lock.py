"""Locks that keep two programs out of one directory; the system lifts one if its program dies.

Some clusters' file systems know no locks: then nothing can be said of who is at work, and nothing is.
"""

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


def take_lock(file_number: int, shared: bool = False) -> bool | None:
    """Take the lock; False if another program has it, None where there are no locks.

    Args:
        file_number: of the open file.
        shared: one that others may share, for who only looks, and may not write.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file_number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file_number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _LOCK_IS_TAKEN else None
    return True


def is_locked(path: Path) -> bool | None:
    """Whether another program has the lock of this file; None if that cannot be known.  Changes nothing."""
    try:
        with open(path, "rb") as file:
            taken = take_lock(file.fileno(), shared=True)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return None if taken is None else not taken
