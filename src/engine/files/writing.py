"""Files that are there whole or not at all: written beside their place and then renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_atomically(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file so that at any moment its name gives the old content or the new one, whole.

    Args:
        path: the file.
        content: all of it.
        durable: hold out against a power cut too, which takes some hundredths of a second.
    Raises:
        OSError: it cannot be written, said of `path`; the old file is untouched, and nothing is left beside it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:  # a second Ctrl-C among them
        with contextlib.suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error  # the name that the user knows
        raise
