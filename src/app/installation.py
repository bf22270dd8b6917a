"""Taking or making a Python that has PyTorch, in the background."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ..engine.maps.demo_pair import LEVEL, make_demo_pair
from ..engine.maps.mrc_file import write_map
from ..engine.options.option import command_line
from ..engine.options.training import TRAINING
from .background import BackgroundTask
from .messages import Message
from .pytorch_build import backend_for, download_text, fetch_commands, has_nvidia_gpu
from .settings import user_settings
from .wording import said_by
from .worker_python import (
    OURS,
    PACKAGES,
    WHOLE,
    WITH_THEM,
    cupy_for,
    default_folder,
    environment,
    is_ours,
    own_python,
    python_of,
    trouble_with,
    worker_command,
)

_PIPS_OWN = (
    "The build of PyTorch for this computer could not be fetched. Instead pip's own follows, on Linux up to 3 GB; stop "
    "here to have none of it."
)


class AnyInstallation(BackgroundTask):
    """What installations on this machine and on others have in common: what is printed, and how they end."""

    belongs_to_session = False

    def __init__(self, session: Any, name: str) -> None:
        super().__init__(session, name)
        self.line = ""  # the latest one of what is printed

    def take_up(self, message: Message) -> None:
        if message["event"] == "line":
            self.session.logger.info(message["text"].rstrip())
            self.line = message["text"].strip()[:80]
            self.session.logger.status(f"CryoTRANS installation: {self.line}")

    def finish(self) -> None:
        self.session.logger.status("")
        if self.error is not None:
            self.error = f"cryotrans install: {self.error}"
            if not self.is_waited_for:
                self.session.logger.error(self.error)
        elif self.leaving:
            self.session.logger.info("CryoTRANS installation: stopped. Type it again to start afresh.")


class Installation(AnyInstallation):
    """Makes an environment with PyTorch, or takes a Python that has it, and tries it with a training of two steps.

    The Python is used from then on if the training worked.
    """

    def __init__(self, session: Any, python: Path | None, folder: Path | None, source: str | None = None) -> None:
        """
        Args:
            session: ChimeraX's.
            python: the Python to take; None to make an environment.
            folder: where to make it; by default, default_folder().
            source: a folder of wheels, from which alone packages are taken, without a network; or the address of an
                index in which PyTorch is looked for first; None for the build that suits this computer.
        Raises:
            UserError: the folder is not ours to write into.
        """
        if python is None:
            folder = (folder or default_folder()).absolute()
            if folder.exists() and not is_ours(folder) and (not folder.is_dir() or any(folder.iterdir())):
                raise UserError(f"{folder} holds something else. Give a folder that is new or empty.")
        super().__init__(session, "installation")
        self.python = python if python is not None else python_of(folder)  # type: ignore[arg-type]
        self._folder = folder if python is None else None
        self._source = source

    def work(self) -> None:
        if self._folder is None and (trouble := trouble_with(self.python)) is not None:
            raise UserError(f"{trouble} Nothing was changed.")
        with tempfile.TemporaryDirectory(prefix="cryotrans_") as scratch:
            if self._folder is not None and trouble_with(self.python) is not None:
                self._make_environment(self._folder, Path(scratch))
                if self.leaving:
                    return
            self._try_training(Path(scratch))

    def _make_environment(self, folder: Path, scratch: Path) -> None:
        if folder.exists():
            if any(folder.iterdir()):
                self.tell("line", text=f"Removing {folder}, which is half made or cannot be used any more.")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / OURS).write_text(
            "Made by the ChimeraX command cryotrans install; remove this folder as you like.\n", encoding="utf-8"
        )
        own, log = own_python(), scratch / "install.log"
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off"]
        self._run([str(own), "-m", "venv", str(folder)], log)
        if self._source is None:
            self._fetch_what_suits(folder, log)
        elif "://" in self._source:
            self._run([*pip, "--index-url", self._source, "torch"], log)
        else:
            pip = [*pip, "--no-index", "--find-links", self._source]
        self._run([*pip, *PACKAGES, *WITH_THEM], log)
        self._add_cupy(pip, log)
        if self.leaving:
            return
        (folder / WHOLE).write_text(f"{own}\n", encoding="utf-8")

    def _fetch_what_suits(self, folder: Path, log: Path) -> None:
        """PyTorch's build for this computer where it is not pip's own, which is taken afterwards if that fails."""
        has_gpu = has_nvidia_gpu()
        text = "An NVIDIA GPU answers" if has_gpu else "No NVIDIA GPU answers here"
        self.tell("line", text=f"{text}: PyTorch and what it needs, {download_text(has_gpu)}.")
        backend = backend_for(has_gpu)
        if backend is None:
            return
        cache = folder / "cache"
        try:
            for command in fetch_commands(self.python, backend, cache):
                self._run(command, log)
        except UserError:
            self.tell("line", text=_PIPS_OWN)
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    def _run(self, command: Sequence[str], log: Path) -> None:
        """Run a program of the installation to its end; nothing if it is to be left."""
        if self.leaving:
            return
        self.tell("line", text="$ " + " ".join(command))
        outcome = self.run_program(command, log, environment(Path(command[0])), reports=False)
        if outcome.failure is not None and not self.leaving:
            raise UserError(f"{outcome.failure}. The Log has all of its output. Type it again to start afresh.")

    def _add_cupy(self, pip: Sequence[str], log: Path) -> None:
        """Where there is an NVIDIA GPU: its kernels for the transport, without which all works too."""
        package = cupy_for(self.python)
        if package is None or self.leaving:
            return
        try:
            self._run([*pip, package], log)
        except UserError:
            self.tell("line", text=f"{package} could not be installed. CryoTRANS works without it, by PyTorch alone.")

    def _try_training(self, scratch: Path) -> None:
        self.tell("line", text=f"Trying it: two steps of training with {self.python}")
        pair = make_demo_pair()
        call: dict[str, object] = {"directory": scratch / "run", "n_steps": 2, "period": 1}
        for key, density_map in (("initial", pair.initial), ("target", pair.target)):
            write_map(scratch / density_map.name, density_map)
            call |= {f"{key}_map": scratch / density_map.name, f"{key}_level": LEVEL}
        command = worker_command(self.python, "train", command_line(call, TRAINING))
        outcome = self.run_program(command, scratch / "worker.log", environment(self.python))
        if outcome.failure is not None:
            raise UserError(f"The training to try it failed. {outcome.failure}")
        self.tell("tried", end=outcome.end)

    def take_up(self, message: Message) -> None:
        super().take_up(message)
        logger = self.session.logger
        if message["event"] == "warning" or (message["event"] == "note" and "Computing on" in message["text"]):
            logger.info(said_by(message))  # of two steps there is no verdict, and their folder is about to go
        elif message["event"] == "tried" and message["end"] is not None and message["end"]["state"] == "finished":
            user_settings(self.session).python = str(self.python)
            logger.info(f"CryoTRANS is ready: it runs in {self.python}.")
