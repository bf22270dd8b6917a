"""The C library's memory: large arrays come and go in every step, and giving them back each time costs page faults."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names for mallopt
_LARGEST = 1 << 29  # bytes; the few arrays that are as large, whole boxes of 512³ voxels, are given back
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step; elsewhere, and where the user has set it, nothing is done.

    mallopt(3) of the Linux manual pages.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _SET_BY_USER):
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def give_freed_memory_back() -> None:
    """What has been kept, between parts of a run whose arrays have other sizes; elsewhere than with glibc nothing.

    malloc_trim(3) of the Linux manual pages.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
