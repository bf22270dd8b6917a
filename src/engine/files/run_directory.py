"""The files of a training run.

    run.json      options, levels, grid, versions, device, seed, state; brought up to date at every checkpoint
    loss.log      one loss a line, from step 0 on, of what is trained on: ties between domains included
    net_K.pt      weights after K periods
    net.pt        weights at the end
    metrics.csv   the measures of each checkpoint
    fsc.csv       the shell correlation with the target at each checkpoint
    initial_mask.mrc, target_mask.mrc    the user's own masks, on the initial map's grid
    report.html   what came out, for people; and maps of the motion (displacement.mrc …)
    state.pt      what resuming needs

A morph through several conformations is a directory of such directories, see programs/legs.py.

Each is written beside its old self and then renamed, so that a crash at any moment leaves the last good one readable.
`state.pt` comes last of a checkpoint's files and holds all that resuming reads, so the others cannot disagree with it.

What is a run's is said by `files` in its run.json: the names that it has written or will until the next checkpoint.  A
file that has such a name and is not among them is the user's, and is neither removed nor written over.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError, first_line, named
from . import lock
from .patterns import check, parsed
from .run_content import LEG, RUN
from .writing import remove, unfinished, write_atomically

PROGRAM = "CryoTRANS for ChimeraX"  # `program` in run.json
RUN_FILE = "run.json"
LOSS_FILE = "loss.log"
STATE_FILE = "state.pt"
FINAL_WEIGHTS = "net.pt"
GENERATED_MAP = "generated.mrc"
MASKS = {"initial": "initial_mask.mrc", "target": "target_mask.mrc"}
_LOCK_FILE = "run.lock"
_OWN_FILES = re.compile(
    r"run\.json|loss\.log|state\.pt|net(_\d+)?\.pt|metrics\.csv|fsc\.csv|report\.html|motion\.npz"
    r"|domains\.json|(displacement|volume_change|strain|residual|witness|confidence|domains|generated)\.mrc"
    r"|(without_partner|initial_mask|target_mask)\.mrc"
)
_UNFINISHED_FILES = unfinished(_OWN_FILES)
_LOCK_TRIES, _SECONDS_BETWEEN_TRIES = 5, 0.1


class RunDirectory:
    """A directory that holds one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def made(self, overwrite: bool = False) -> Iterator[bool]:
        """Make the directory for a new run, and keep other programs out of it, as `locked` does.

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
        with self.locked() as is_locked:
            self.check_free(overwrite)
            try:
                self.clear()
            except OSError as error:
                raise self._cannot_be_written(error) from error
            yield is_locked

    def check_free(self, overwrite: bool = False, inputs: Iterable[tuple[str, str]] = ()) -> None:
        """Say whether a new run could go here, without touching anything.

        Args:
            overwrite: an earlier run's files, and only those, will be removed first.
            inputs: what each file is to the new run that reads it, and the file.
        Raises:
            InputError: it holds another run, which must stay or is what is to be read; or files of the user's that the
                new run would replace; or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(
                f"{self.path} is a file; wanted is a directory. Choose another name ({named('directory')})."
            )
        try:
            own, others = self._present()
        except OSError as error:
            raise InputError(f"The directory {self.path} cannot be read: {error.strerror}.") from error
        for what, path in inputs if overwrite else ():
            if Path(path).exists() and any(Path(path).samefile(found) for found in own + others if found.exists()):
                raise InputError(
                    f"{named('overwrite')} would remove {path}, {what}. Choose another directory "
                    f"({named('directory')})."
                )
        if own and not overwrite:
            more = f" and {len(own) - 1} more files of it" if len(own) > 1 else ""
            raise InputError(
                f"{self.path} already holds a run ({own[0].relative_to(self.path)}{more}). Use {named('resume')} to "
                f"go on with it, {named('overwrite')} to replace it, or another directory ({named('directory')})."
            )
        if others:
            more = f" and {len(others) - 1} more files" if len(others) > 1 else ""
            raise InputError(
                f"{self.path} holds {others[0].relative_to(self.path)}{more} that a new run would replace, and no "
                f"{RUN_FILE} that says they are a run's. Move them away, or choose another directory "
                f"({named('directory')})."
            )

    def holds_run(self) -> bool:
        """Whether there is a run of this program."""
        return bool(self.own_names())

    def in_the_way(self) -> list[Path]:
        """Files here that a new run would replace, and that are not this run's."""
        return self._present()[1]

    def own_names(self) -> set[str]:
        """The names of the run's files, as its run.json has them; none if there is no run of this program."""
        try:
            content = self.read()
        except InputError:
            return set()
        if content.get("program") != PROGRAM:
            return set()
        listed = content.get("files")
        if listed is None:  # of a version that did not say
            listed = [path.name for path in self._files(_OWN_FILES)]
        return {RUN_FILE, *(name for name in listed if isinstance(name, str) and _OWN_FILES.fullmatch(name))}

    def is_locked(self) -> bool | None:
        """Whether a program is training here; None where that cannot be known, as on disks without locks."""
        return lock.is_locked(self.path / _LOCK_FILE)

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
            content: dict[str, Any] = parsed(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} cannot be read ({first_line(error)}). Start afresh in another directory."
            ) from error
        try:
            check(content, RUN)
        except ValueError as error:
            raise InputError(
                f"{path} describes no run of this program: {error}. Start afresh in another directory."
            ) from error
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
    def locked(self) -> Iterator[bool]:
        """Keep other programs out of this directory; the system lifts the lock if this one dies.

        Yields:
            Whether that can be done: False on a disk without locks.
        Raises:
            InputError: another program is training here, or the directory cannot be written.
        """
        file, is_locked = self._open_lock()
        with file:
            try:
                # Half files of a program that was killed; without a lock they may be those of one that is at work.
                for path in self._files(_UNFINISHED_FILES) if is_locked else ():
                    if path.is_file() and not path.is_symlink():
                        with contextlib.suppress(OSError):
                            path.unlink()
                yield is_locked
            finally:
                with contextlib.suppress(OSError):  # Windows keeps what is open
                    (self.path / _LOCK_FILE).unlink()

    def _open_lock(self) -> tuple[BinaryIO, bool]:
        """The lock file, and whether it could be locked.

        A few tries: who only looks whether it is taken has it for a moment too.
        """
        path = self.path / _LOCK_FILE
        for attempt in range(_LOCK_TRIES):
            time.sleep(_SECONDS_BETWEEN_TRIES if attempt else 0)
            try:
                file = open(path, "a+b")  # noqa: SIM115 - the caller closes it
            except OSError as error:
                raise self._cannot_be_written(error) from error
            taken = lock.take_lock(file.fileno())
            if taken is not False and lock.is_named(file, path):
                return file, taken is not None
            file.close()
        raise InputError(
            f"Another program is training in {self.path} at this moment. Wait for it, or choose another directory "
            f"({named('directory')})."
        )

    def _present(self) -> tuple[list[Path], list[Path]]:
        """Files here and in legs that have the names of a run's: those that are this run's, and all others."""
        names = self.own_names()
        own, others = list[Path](), list[Path]()
        for path in self._files(_OWN_FILES):
            (own if path.name in names else others).append(path)
        legs = self._legs() if names else []
        for path in filter(Path.is_dir, self._files(LEG)):
            of_leg = RunDirectory(path)._present()
            (own if path in legs else others).extend(of_leg[0])
            others += of_leg[1]
        return own, others

    def _legs(self) -> list[Path]:
        return [self.path / leg for leg in self.read().get("legs", [])]

    def clear(self) -> None:
        """Remove the files of the run that is here, and those alone.

        Raises:
            OSError: one cannot be removed.
        """
        own, _ = self._present()
        legs = self._legs() if own else []
        # What says whose the files are goes last, so that the rest can be told if this breaks off.
        for path in sorted(own, key=lambda path: (path.name == RUN_FILE, path.parent == self.path)):
            remove(path)
        for leg in legs:
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
