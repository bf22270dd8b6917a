"""Getting another machine ready: a Python with PyTorch there, and the programs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ...engine.maps.demo_pair import LEVEL, make_demo_pair
from ...engine.maps.mrc_file import write_map
from ..installation import AnyInstallation
from ..messages import Message, message_of
from ..settings import user_settings
from ..wording import said_by
from ..worker_python import CUDA_QUESTION, PACKAGES, WITH_THEM, cupy_package
from .connection import Connection, Trouble
from .engine import engine_digest, send_engine
from .files import push
from .machines import asked, problem_text
from .places import Places

_PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off")


class RemoteInstallation(AnyInstallation):
    """Takes or makes a Python with PyTorch on another machine, sends the programs, and tries them: two steps."""

    def __init__(self, session: Any, machine: str, python: str, source: str | None = None) -> None:
        """
        Args:
            machine: as ssh calls it.
            python: the file of a Python there that has PyTorch; "" to make an environment.
            source: the address of an index in which PyTorch is looked for first, as that of its CPU builds.
        Raises:
            UserError: it is no name of a machine.
        """
        super().__init__(session, f"installation on {machine}")
        try:
            self._connection = Connection(machine, python)
        except Trouble as trouble:
            raise UserError(str(trouble)) from trouble
        self.machine, self._python, self._source = machine, python, source

    def leave(self, seconds: float, in_haste: bool = False) -> None:
        super().leave(seconds, in_haste)
        self._connection.close()

    def work(self) -> None:
        try:
            self._install()
        except Trouble as trouble:
            if not self.leaving:
                raise UserError(str(trouble)) from trouble

    def _install(self) -> None:
        digest = engine_digest()
        answer = asked(self._connection, digest)
        if answer["problem"] is not None:
            if self._python:
                raise Trouble(f"{problem_text(self._connection, answer)} Nothing was changed.")
            self._make_environment(answer)
            answer = asked(self._connection, digest)
            if answer["problem"] is not None:
                raise Trouble(problem_text(self._connection, answer))
        if not answer["engine"]:
            self.tell("line", text=f"Sending the programs to {self.machine}")
            send_engine(self._connection, digest)
        self._try_training(f"{answer['home']}/trial-{digest}", answer["python"], f"{answer['home']}/engines/{digest}")

    def _make_environment(self, answer: dict[str, Any]) -> None:
        folder, python = f"{answer['home']}/venv", str(answer["python"])
        self._connection.ask("remove", folder=folder)  # half made
        self._run([str(answer["own"]), "-m", "venv", folder])
        if self._source is not None:
            self._run([python, *_PIP, "--index-url", self._source, "torch"])
        self._run([python, *_PIP, *PACKAGES, *WITH_THEM])
        lines, status = self._lines([python, "-c", CUDA_QUESTION])
        package = cupy_package(json.loads(lines[-1])) if status == 0 and lines else None
        if package is not None:
            try:
                self._run([python, *_PIP, package])
            except UserError:
                text = f"{package} could not be installed. CryoTRANS works without it, by PyTorch alone."
                self.tell("line", text=text)

    def _run(self, command: Sequence[str]) -> None:
        self.tell("line", text=f"{self.machine} $ {' '.join(command)}")
        lines, status = self._lines(command, tell=True)
        if status != 0:
            said = [line.strip() for line in lines if line.strip()] or ["it said nothing"]
            why = next((line for line in said if line.upper().startswith("ERROR")), said[-1])  # pip's first says most
            raise UserError(
                f"{Path(command[0]).name} ended with status {status} on {self.machine}: {why}. The Log has all of its "
                f"output. Type it again to start afresh."
            )

    def _lines(self, command: Sequence[str], tell: bool = False) -> tuple[list[str], int]:
        """What a program there prints, and its exit status."""
        lines: list[str] = []
        with self._connection.talk("run", command=list(command)) as talk:
            while True:
                sign, line = talk.line()
                if sign == b"=":
                    return lines, int(talk.checked(line)["status"])
                lines.append(line.decode(errors="replace"))
                if tell:
                    self.tell("line", text=lines[-1])

    def _try_training(self, folder: str, python: str, engine: str) -> None:
        self.tell("line", text=f"Trying it: two steps of training on {self.machine} with {python}")
        pair = make_demo_pair()
        with tempfile.TemporaryDirectory(prefix="cryotrans_") as scratch:
            for density_map in (pair.initial, pair.target):
                write_map(Path(scratch, density_map.name), density_map)
            places = Places([(Path(scratch), "maps")], folder)
            push(self._connection, places, frozenset(), lambda _: None)
        maps = [f"{folder}/maps/{density_map.name}" for density_map in (pair.initial, pair.target)]
        words = ["-i0", maps[0], "-t0", str(LEVEL), "-i1", maps[1], "-t1", str(LEVEL), "-d", f"{folder}/run"]
        command = [python, engine, "train", *words, "-n", "2", "-p", "1", "--overwrite", "--progress", "json"]
        lines, status = self._lines(command)
        self._connection.ask("remove", folder=folder)
        messages = [message for line in lines if (message := message_of(line.encode())) is not None]
        for message in messages:
            if message["event"] == "error":
                raise UserError(f"The training to try it failed on {self.machine}. {said_by(message)}")
        if status != 0 or not any(message["event"] == "end" for message in messages):
            last = lines[-1].strip() if lines else f"status {status}"
            raise UserError(f"The training to try it failed on {self.machine}: {last}")
        for message in messages:
            if message["event"] == "note" and "Computing on" in message["text"]:
                self.tell("line", text=said_by(message))
        self.tell("tried")

    def take_up(self, message: Message) -> None:
        super().take_up(message)
        if message["event"] == "tried":
            settings = user_settings(self.session)
            settings.machines = {**settings.machines, self.machine: self._python}
            ready = f"CryoTRANS is ready on {self.machine}: cryotrans train #1 to #2 device ssh:{self.machine}"
            self.session.logger.info(ready)
