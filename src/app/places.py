"""Folders: what is in them, the next one of a name, and the removal of those that stayed empty."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path


def found(folder: Path, pattern: str) -> list[Path]:
    """What is in a folder by that pattern; nothing if it cannot be reached, where pathlib raises."""
    return [Path(path) for path in glob.glob(os.path.join(glob.escape(str(folder)), pattern))]


def number_of(folder: Path) -> int:
    """The number at the end of a name that `free_folder` gave, 1 without one."""
    last = folder.name.rpartition("_")[2]
    return int(last) if last.isdecimal() else 1


def free_folder(wanted: Path) -> Path:
    """Make the one after the last of `wanted`, wanted_2, wanted_3, ... that are there.

    So that the highest number is the latest, whatever the clock was.

    Raises:
        OSError: it cannot be made.
    """
    wanted.parent.mkdir(parents=True, exist_ok=True)
    beside = [path for path in wanted.parent.iterdir() if re.fullmatch(rf"{re.escape(wanted.name)}(_\d+)?", path.name)]
    for number in itertools.count(1 + max(map(number_of, beside), default=0)):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of these folders, the outermost first, in which nothing is."""
    for folder in reversed(list(folders)):
        with contextlib.suppress(OSError):
            folder.rmdir()
