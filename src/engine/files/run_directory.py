"""The files of a training run.

    run.json      options, levels, grid, versions, device, seed, state; brought up to date at every checkpoint
    loss.log      one loss a line, from step 0 on
    net_K.pt      weights after K periods
    net.pt        weights at the end
    metrics.csv   the measures of each checkpoint
    fsc.csv       the shell correlation with the target at each checkpoint
    report.html   what came out, for people; and maps of the motion (displacement.mrc …)
    state.pt      what resuming needs

A morph through several conformations is a directory of such directories, see programs/legs.py.

Each is written beside its old self and then renamed, so that a crash at any moment leaves the last good one readable.
`state.pt` comes last of a checkpoint's files and holds all that resuming reads, so the others cannot disagree with it.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError, named
from .lock import is_named, take_lock
from .writing import write_atomically

RUN_FILE = "run.json"
LOSS_FILE = "loss.log"
STATE_FILE = "state.pt"
FINAL_WEIGHTS = "net.pt"
GENERATED_MAP = "generated.mrc"
_LOCK_FILE = "run.lock"
_OWN_FILES = re.compile(
    r"run\.json|loss\.log|state\.pt|net(_\d+)?\.pt|metrics\.csv|fsc\.csv|report\.html|motion\.npz"
    r"|(displacement|volume_change|strain|residual|generated)\.mrc"
)
_LEG = re.compile(r"leg_\d+")
_UNFINISHED_FILES = re.compile(rf"\.({_OWN_FILES.pattern})\.\d+\.tmp")
_LOCK_TRIES, _SECONDS_BETWEEN_TRIES = 5, 0.1


class RunDirectory:
    """A directory that holds one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def made(self, overwrite: bool = False) -> Iterator[None]:
        """Make the directory for a new run, and keep other programs out of it.

        Args:
            overwrite: remove an earlier run's files, and only those, first.
        Raises:
            InputError: it cannot be made or written, holds another run, or another program is training here.
        """
        self.check_free(overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        with self.locked():
            self.check_free(overwrite)
            try:
                self._clear()
            except OSError as error:
                raise self._cannot_be_written(error) from error
            yield

    def check_free(self, overwrite: bool = False) -> None:
        """Say whether a new run could go here, without touching anything.

        Raises:
            InputError: it holds another run, or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"{self.path} is a file; wanted is a directory. Choose another name ({named('directory')})."
            )
        try:
            found = self._files(_OWN_FILES)
            for leg in filter(Path.is_dir, self._files(_LEG)):
                found += RunDirectory(leg)._files(_OWN_FILES)
        except OSError as error:
            raise InputError(f"The directory {self.path} cannot be read: {error.strerror}.") from error
        if found and not overwrite:
            raise InputError(
                f"{self.path} already holds a run ({found[0].name} and {len(found) - 1} more files of it). "
                f"Use {named('resume')} to go on with it, {named('overwrite')} to replace it, or another directory "
                f"({named('directory')})."
            )

    def owns(self, path: Path) -> bool:
        """Whether a file is one of a run's in here."""
        return any(path.exists() and path.samefile(own) for own in self._files(_OWN_FILES))

    def read(self) -> dict[str, Any]:
        """What run.json says.

        Raises:
            InputError: there is no run here, or its run.json is damaged.
        """
        path = self.path / RUN_FILE
        if not path.is_file():
            raise InputError(
                f"{self.path} holds no run to resume: there is no {RUN_FILE} in it. Check the name "
                f"({named('directory')})."
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}). Start afresh in another directory.") from error
        if not isinstance(content, dict) or not isinstance(content.get("options"), dict):
            raise InputError(f"{path} describes no run of this program. Start afresh in another directory.")
        return content

    def weights(self, checkpoint: str = "best") -> Path:
        """The weight file of a checkpoint.

        Args:
            checkpoint: best, as run.json has it; last; or the number K of net_K.pt.
        Raises:
            InputError: there is no such checkpoint.
        """
        content = self.read()
        if checkpoint == "best" and isinstance(content.get("best"), dict):
            name = str(content["best"].get("weights"))
        elif checkpoint in ("best", "last"):
            name = FINAL_WEIGHTS
        elif checkpoint.isdecimal():
            name = f"net_{int(checkpoint)}.pt"
        else:
            raise InputError(f"Unknown checkpoint {checkpoint!r}: wanted is best, last, or the number K of a net_K.pt.")
        path = self.path / name
        if not path.is_file() and checkpoint in ("best", "last"):  # it is being trained, or was killed
            numbered = sorted(self._files(re.compile(r"net_\d+\.pt")), key=lambda file: int(file.stem[4:]))
            path = numbered[-1] if numbered else path
        if not path.is_file():
            raise InputError(f"There is no {name} in {self.path}: training has not come to that checkpoint.")
        return path

    def flow(self, checkpoint: str = "best") -> list[Path]:
        """The weight file of a checkpoint; of several legs one file each, of those that have been begun.

        Raises:
            InputError: there is no such checkpoint, or another one than the best was asked of several legs.
        """
        legs = self.read().get("legs")
        if not isinstance(legs, list):
            return [self.weights(checkpoint)]
        if checkpoint != "best":
            raise InputError(
                f"{self.path} holds {len(legs)} legs, each of which begins where the best checkpoint of the one before "
                f"ends: there is no choice ({named('checkpoint')}). For a single leg, name its directory: "
                f"{self.path / 'leg_1'}."
            )
        paths = [self.path / str(leg) for leg in legs]
        begun = [path for path in paths if any(RunDirectory(path)._files(re.compile(r"net(_\d+)?\.pt")))]
        return [RunDirectory(path).weights() for path in begun or paths[:1]]

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
            InputError: another program is training here, or the directory cannot be written.
        """
        with self._open_lock():
            try:
                for path in self._files(_UNFINISHED_FILES):  # of a program that was killed
                    with contextlib.suppress(OSError):
                        path.unlink()
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows keeps what is open
                    (self.path / _LOCK_FILE).unlink()

    def _open_lock(self) -> BinaryIO:
        """The lock file, locked.  A few tries: who only looks whether it is taken has it for a moment too."""
        lock = self.path / _LOCK_FILE
        for attempt in range(_LOCK_TRIES):
            time.sleep(_SECONDS_BETWEEN_TRIES if attempt else 0)
            try:
                file = open(lock, "a+b")  # noqa: SIM115 - the caller closes it
            except OSError as error:
                raise self._cannot_be_written(error) from error
            if take_lock(file.fileno()) and is_named(file, lock):
                return file
            file.close()
        raise InputError(
            f"Another program is training in {self.path} at this moment. Wait for it, or choose another directory "
            f"({named('directory')})."
        )

    def _clear(self) -> None:
        for path in self._files(_OWN_FILES):
            path.unlink()
        for leg in filter(Path.is_dir, self._files(_LEG)):
            RunDirectory(leg)._clear()
            with contextlib.suppress(OSError):  # something else is kept there
                leg.rmdir()

    def _files(self, names: re.Pattern[str]) -> list[Path]:
        if not self.path.exists():
            return []
        return sorted(path for path in self.path.iterdir() if names.fullmatch(path.name))

    def _cannot_be_written(self, error: OSError) -> InputError:
        return InputError(
            f"The directory {self.path} cannot be written: {error.strerror}. Choose another one ({named('directory')})."
        )
