"""Training and prediction on another machine, told of and opened as those of this one.

The programs there go on by themselves, whatever becomes of the connection and of ChimeraX.  A job begins with what it
needs there, follows what the program prints, and fetches what it wrote at its end.
"""

from __future__ import annotations

import itertools
import math
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from chimerax.core.errors import UserError

from ..failures import sentence_for
from ..job import CryoTransJob
from ..markup import link, quoted
from ..messages import Message, message_of
from ..processes import Log
from ..wording import said_by
from .connection import Trouble
from .files import pull, push
from .following import PAUSES, follow
from .machines import Found, Remote, connection_to, prepared
from .places import Places
from .record import FILE, Record, record_in

_HERE = Path(__file__).parent
_N_TRIES = 4  # to begin, where a connection that was there is cut
_T = TypeVar("_T")


class RemoteJob(CryoTransJob):
    """A job whose programs run on another machine.

    Leaving it, as at ChimeraX's end, leaves them running there.
    """

    def __init__(self, *args: Any, remote: Remote, found_again: bool = False, **kw: Any) -> None:
        """
        Args:
            args, kw: as `CryoTransJob`.
            remote: where.
            found_again: the training has been started there before.
        """
        super().__init__(*args, **kw)
        self._remote, self._found_again = remote, found_again
        self._awake = threading.Event()  # set when it is to stop or to be left
        self._found: Found | None = None
        self._record: Record | None = None
        self._works_on: str | None = None  # what runs there now, and can be asked to stop
        self._told_to_stop: str | None = None
        self._chosen = connection_to(self.session, remote.machine)

    # For those who use it

    def stop(self) -> None:
        """Ask the program that runs there to save and end."""
        super().stop()
        threading.Thread(target=self._tell_to_stop, daemon=True).start()

    def leave(self, seconds: float, in_haste: bool = False) -> None:
        """Be done with it here; there it goes on."""
        super().leave(seconds, in_haste)
        self._awake.set()
        self._chosen.close()

    # On the task's thread

    def work(self) -> None:
        try:
            if not self._found_again:
                self._write_maps()
                self._found = prepared(self._chosen)
            self._python = self._python or Path(self._remote.machine)
            super().work()
        except Trouble as trouble:
            if not self.leaving:
                begun = self._record is not None and bool(self._record.works) and self._record.state != "fetched"
                way_out = f" What it is at goes on there: cryotrans runs fetch {quoted(self.folder)}" if begun else ""
                raise UserError(f"{trouble}{way_out}") from trouble

    def _run_worker(self, program: str, arguments: Sequence[str]) -> Message | None:
        record = self._record or self._recorded()
        places = Places([(self.folder, "run")], record.folder)
        words = [places.there(word) for word in arguments]
        if self._found_again and program == "train":
            work = next((name for name in reversed(record.works) if name.startswith("train")), "train_1")
        else:
            self._found = self._found or self._often(lambda: prepared(self._chosen))
            work = f"{program}_{len(record.works) + 1}"
            named = [Path(word).parent for word in arguments if Path(word).is_absolute()]
            wanted = frozenset(folder for folder in named if self.folder in folder.parents)
            self._often(lambda: push(self._chosen, places, wanted, self._tell_status))
            self._begin(record, work, [*self._command(program), *words])
        ended = self._follow(record, work, places)
        if ended is None:
            return None
        outcome = self._outcome
        self._often(lambda: pull(self._chosen, places, self._tell_status), most=math.inf)
        record.state = "fetched"
        record.write(self.folder)
        with self._lock:
            asked_to_end, self._stopping = self._stopping, self._leaving
        if outcome is None:
            raise UserError(f"On {self._remote.machine}: {self._failure(ended, asked_to_end)}")
        return outcome

    def _command(self, program: str) -> list[str]:
        assert self._found is not None
        return [self._found.python, self._found.engine, program]

    def _recorded(self) -> Record:
        """Of the run that it works on, a new one if it is not there yet."""
        record = record_in(self.folder)
        if record is None or record.machine != self._remote.machine:
            assert self._found is not None
            name = f"{self.folder.name}-{secrets.token_hex(4)}"
            record = Record(self._remote.machine, f"{self._found.home}/runs/{name}")
            if (wanted := self._frames) is not None:
                record.level, record.frames = wanted.level, wanted.options.get("frames")  # type: ignore[assignment]
        record.device = self._remote.device
        self._record = record
        return record

    def _begin(self, record: Record, work: str, command: list[str]) -> None:
        command = [*command, "--progress", "json", "--stop-with-input"]
        record.works.append(work)
        record.state = "begun"
        record.write(self.folder)
        keeper = (_HERE / "keeper.py").read_text(encoding="utf-8")
        try:
            self._often(
                lambda: self._chosen.ask("start", folder=record.folder, work=work, command=command, keeper=keeper)
            )
        except Trouble as trouble:
            if not trouble.passes:  # else it may have begun
                record.works.remove(work)
                record.state = "fetched"
                if record.works:
                    record.write(self.folder)
                else:
                    (self.folder / FILE).unlink()
            raise
        self.tell(
            "note", text=f"It runs on {self._remote.machine}, in {record.folder}. ChimeraX may be closed meanwhile."
        )

    def _follow(self, record: Record, work: str, places: Places) -> dict[str, Any] | None:
        self._outcome: Message | None = None
        self._said_why: str | None = None
        output = Log(self._run.log_path)
        output.write(f"$ ssh {record.machine}: {record.folder}/{work}\n".encode())

        def take(line: bytes) -> None:
            message = message_of(line)
            if message is None or message["event"] != "step":
                output.write(line)
            if message is None:
                return
            if message["event"] == "error":
                self._said_why = said_by(message)
                return
            message = places.here(message)
            if message["event"] == "end":
                self._outcome = message
            self._pass_on(message)

        self._works_on = work
        if self.stopping:
            threading.Thread(target=self._tell_to_stop, daemon=True).start()
        try:
            return follow(self._chosen, record.folder, work, take, self._pause)
        finally:
            self._works_on = None
            output.file.close()

    def _failure(self, ended: dict[str, Any], asked_to_end: bool) -> str:
        if ended["state"] == "interrupted":
            return "it was cut off, as by a restart of the machine. cryotrans resume goes on from its last checkpoint."
        if ended["state"] != "ended":
            folder = self._record.folder if self._record is not None else "the run"
            return f"nothing has begun in {folder}, or it was removed. Train it anew."
        if "submit" in ended:
            return f"{ended['submit']}."
        return sentence_for(self._said_why, int(ended.get("exit", 0)), str(ended.get("printed", "")), asked_to_end)

    # Connections that are cut

    def _pause(self, trouble: Trouble, seconds: float) -> bool:
        self._tell_status(f"no connection, the run goes on there; next try in {seconds:.0f} s")
        self._awake.wait(seconds)
        return not self.leaving

    def _often(self, act: Callable[[], _T], most: float = _N_TRIES) -> _T:
        """Try it again where that may help, so often at most."""
        for number in itertools.count(1):
            try:
                return act()
            except Trouble as trouble:
                seconds = PAUSES[min(number, len(PAUSES)) - 1]
                if not trouble.passes or number >= most or not self._pause(trouble, seconds):
                    raise
        raise AssertionError

    def _tell_to_stop(self) -> None:
        work, record = self._works_on, self._record
        if work is None or record is None or work == self._told_to_stop:
            return  # told when it has begun
        self._told_to_stop = work
        n_tries = 0
        while not self.leaving and self._works_on == work:
            try:
                self._chosen.ask("stop", folder=record.folder, work=work)
                return
            except Trouble:
                self._awake.wait(PAUSES[min(n_tries, len(PAUSES) - 1)])
                n_tries += 1

    def _tell_status(self, text: str) -> None:
        if not self._messages.qsize():
            self.tell("moving", text=text)

    # On the main thread

    def _take_up_moving(self, message: Message) -> None:
        self._status(f"{self._remote.machine}: {message['text']}")

    def finish(self) -> None:
        if self.leaving and self._record is not None and self._record.works and self._record.state != "fetched":
            command = f"cryotrans runs fetch {quoted(self.folder)}"
            self._log(f"It goes on on {self._remote.machine}. Later: {link(command)}", is_html=True)
        super().finish()
