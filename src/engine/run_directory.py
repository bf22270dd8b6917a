"""The files of a training run.

    run.json      options, levels, grid, versions, device, seed, state; brought up to date at every checkpoint
    loss.log      one loss a line, from step 0 on
    net_K.pt      weights after K periods
    net.pt        weights at the end
    state.pt      what resuming needs

Each is written beside its old self and then renamed, so that a crash at any moment leaves the last good one readable.
`state.pt` comes last of a checkpoint's files and holds all that resuming reads, so the others cannot disagree with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import InputError

RUN_FILE = "run.json"
LOSS_FILE = "loss.log"
STATE_FILE = "state.pt"
FINAL_WEIGHTS = "net.pt"
_LOCK_FILE = "run.lock"
_OWN_FILES = re.compile(r"run\.json|loss\.log|state\.pt|net(_\d+)?\.pt")


class RunDirectory:
    """A directory that holds one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def make(self, overwrite: bool = False) -> None:
        """Make the directory for a new run.

        Args:
            overwrite: remove an earlier run's files, and only those, first.
        Raises:
            InputError: it cannot be made or written, or holds another run.
        """
        self.check_free(overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for path in self._run_files():
                path.unlink()
            write_atomically(self.path / RUN_FILE, b"{}")
        except OSError as error:
            raise InputError(
                f"The directory {self.path} cannot be written: {error.strerror}. Choose another one (-d)."
            ) from error

    def check_free(self, overwrite: bool = False) -> None:
        """Say whether a new run could go here, without touching anything.

        Raises:
            InputError: it holds another run, or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; wanted is a directory. Choose another name (-d).")
        try:
            found = self._run_files()
        except OSError as error:
            raise InputError(f"The directory {self.path} cannot be read: {error.strerror}.") from error
        if found and not overwrite:
            raise InputError(
                f"{self.path} already holds a run ({found[0].name} and {len(found) - 1} more files of it). "
                f"Use --resume to go on with it, --overwrite to replace it, or another directory (-d)."
            )

    def read(self) -> dict[str, Any]:
        """What run.json says.

        Raises:
            InputError: there is no run here, or its run.json is damaged.
        """
        path = self.path / RUN_FILE
        if not path.is_file():
            raise InputError(f"{self.path} holds no run to resume: there is no {RUN_FILE} in it. Check the name (-d).")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}). Start afresh in another directory.") from error
        if not isinstance(content, dict) or "options" not in content:
            raise InputError(f"{path} describes no run: it stopped before its first step. Start afresh (--overwrite).")
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Replace run.json.

        Raises:
            OSError: it cannot be written.
        """
        write_atomically(self.path / RUN_FILE, (json.dumps(content, indent=1) + "\n").encode())

    def write_losses(self, losses: list[float]) -> None:
        """Replace loss.log.

        Raises:
            OSError: it cannot be written.
        """
        write_atomically(self.path / LOSS_FILE, "".join(f"{loss:.9e}\n" for loss in losses).encode())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs out of this directory; the system lifts the lock if this one dies.

        Raises:
            InputError: another program is training here.
        """
        with open(self.path / _LOCK_FILE, "a+b") as file:
            try:
                _lock(file.fileno())
            except OSError as error:
                raise InputError(
                    f"Another program is training in {self.path} at this moment. Wait for it, or choose another "
                    f"directory (-d)."
                ) from error
            yield
        with contextlib.suppress(OSError):
            (self.path / _LOCK_FILE).unlink()

    def _run_files(self) -> list[Path]:
        if not self.path.exists():
            return []
        return sorted(path for path in self.path.iterdir() if _OWN_FILES.fullmatch(path.name))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment its name gives the old content or the new one, whole.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _lock(file_number: int) -> None:
    """Take the lock or raise OSError at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file_number, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file_number, fcntl.LOCK_EX | fcntl.LOCK_NB)
