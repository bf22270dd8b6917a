"""A ChimeraX task that runs programs one after the other, outside ChimeraX, and takes up what they report.

Two threads.  The task's own starts the programs and reads their output; it puts what they say in a queue and touches
nothing of ChimeraX.  `process` takes the queue up, on the main thread only: ChimeraX is asked to call it whenever there
is something in it, and while a command waits, the command calls it itself.

ChimeraX's Task leaves some care to its subclasses (chimerax/core/tasks.py): `state` says RUNNING for ever if run() ends
before start() does or raises, `runtime` fails without an `end_time`, terminate() ends nothing, and a task outlives the
session that it belongs to.  Here `done` tells when all is over, and runs.py ends the tasks of a session that is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import subprocess
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from chimerax.core.errors import UserError
from chimerax.core.tasks import Task

from .failures import sentence_for
from .messages import Message, message_of
from .processes import Log, abandon, end_within, start
from .wording import said_by
from .worker_output import lines_of, tail_of

SECONDS_TO_SAVE = 120.0  # from the request to stop until a program is killed
SECONDS_TO_QUIT = 10.0  # the same where ChimeraX ends
_SECONDS_BETWEEN_LOOKS = 0.05
_IN_HASTE = b"leave\n"  # to a worker: save and end, what follows from the training is left to resuming
_SECONDS_AT_ONCE, _SECONDS_BETWEEN = 0.02, 0.02  # of taking up, while the window waits, and of the window's own
_MOST_WAITING = 1000  # messages; beyond, no more is read until some have been taken up
_MOST_STEPS_WAITING = 50  # messages beyond which news of steps are left out: later ones tell more


class Outcome(NamedTuple):
    """How a program ended.

    Attributes:
        end: its message of that name, None if it sent none.
        failure: a sentence for the user, None if it did what it was for or was not to start any more.
    """

    end: Message | None
    failure: str | None


class BackgroundTask(Task):
    """Work on a thread of its own; subclasses give it by `work` and take reports up by `take_up`.

    Attributes:
        name: what it is doing, for the user.
        done: all is over and taken up; nothing more will come.
        error: the sentence that says why it failed, None if it has not.
        belongs_to_session: it ends with the session.
        is_waited_for: a command waits for it, and raises its error.
    """

    belongs_to_session = True

    def __init__(self, session: Any, name: str) -> None:
        super().__init__(session)
        self.name = name
        self.done = False
        self.error: str | None = None
        self._messages: queue.Queue[Message] = queue.Queue()
        self._started = threading.Event()
        self.is_waited_for = False
        self._is_processing = False
        self._is_asked = False  # `process` is to be called
        self._over: Message | None = None  # the last message, which no worker can send
        self._lock = threading.Lock()  # of what is below
        self._process: subprocess.Popen[bytes] | None = None  # what runs now
        self._can_save = False  # it saves and ends when its standard input is closed
        self._stopping = False  # it is to end
        self._leaving = False  # and no other is to follow
        _tasks.add(self)
        self._handlers = [
            session.triggers.add_handler("new frame", self.process),  # in a script, `wait 10` makes frames
            session.triggers.add_handler("app quit", end_all),
        ]

    def __str__(self) -> str:
        return f"CryoTRANS {self.name}, task {self.id}"

    # For subclasses

    def work(self) -> None:
        """On the task's thread: run programs.

        Raises:
            UserError: what went wrong, in a sentence.
        """
        raise NotImplementedError

    def take_up(self, message: Message) -> None:
        """On the main thread: act on a message of a program or of `tell`."""

    def finish(self) -> None:
        """On the main thread, once, after the last message; `error` is set if it failed."""

    def tell(self, event: str, **facts: Any) -> None:
        """Have `take_up` called on the main thread with this message."""
        self._put({"event": event, **facts})

    def _put(self, message: Message) -> None:
        self._messages.put(message)
        if not self._is_asked:  # once is enough for all that wait
            self._ask()

    def _ask(self) -> None:
        self._is_asked = True
        if (session := self.session) is not None:
            session.ui.thread_safe(self.process)

    @property
    def leaving(self) -> bool:
        """Is the task to end without doing more?"""
        return self._leaving

    @property
    def stopping(self) -> bool:
        """Is what runs now to save and end?"""
        return self._stopping

    def run_program(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str], reports: bool = True
    ) -> Outcome:
        """On the task's thread: run a program to its end; what it prints is added to `log`.

        Args:
            command: the program and its arguments.
            log: a file, in the folder where the program is run.
            environment: all the environment variables that it gets.
            reports: it is a worker, whose lines are JSON messages, which are told, and which saves and ends when its
                standard input is closed; else its lines are told as {"event": "line"}, and it is killed.
        """
        if not log.parent.is_dir():
            return Outcome(None, f"The folder {log.parent} is gone.")
        began = log.stat().st_size if log.exists() else 0
        output = Log(log)
        try:
            output.write(f"$ {subprocess.list2cmdline([str(word) for word in command])}\n".encode(errors="replace"))
            try:
                process = self._start(command, output.file, log.parent, environment, reports)
            except OSError as error:
                return Outcome(None, f"{command[0]} cannot be started: {error.strerror}.")
            if process is None:
                return Outcome(None, None)
            try:
                end, said = self._listen(process, output, reports)
                status = process.wait()
            except BaseException:  # nobody reads any more what it prints: it would wait for ever, with all that it has
                abandon(process, SECONDS_TO_SAVE if reports else 0)
                raise
            finally:
                with self._lock:
                    asked_to_end = self._stopping
                    self._process, self._stopping = None, self._leaving
        finally:
            output.file.close()
            if output.trouble is not None:
                self.tell("warning", text=f"{log} is not whole: {output.trouble.strerror}.")
        if end is not None or (not reports and status == 0):
            return Outcome(end, None)
        return Outcome(None, sentence_for(said, status, tail_of(log, began), asked_to_end))

    def _listen(
        self, process: subprocess.Popen[bytes], output: Log, reports: bool
    ) -> tuple[Message | None, str | None]:
        """Take in what a program prints until it prints no more: its message "end", and what it says of an error."""
        end = said = None
        assert process.stdout is not None
        for line, is_whole in lines_of(process.stdout):
            if not reports:
                self.tell("line", text=line.decode(errors="replace"))
            message = message_of(line) if reports and is_whole else None
            if message is None or message["event"] != "step":  # of these there are very many
                output.write(line)
            if message is None:
                continue
            if message["event"] == "error":
                said = said_by(message)
                continue
            if message["event"] == "end":
                end = message
            self._pass_on(message)
        process.stdout.close()
        return end, said

    def _pass_on(self, message: Message) -> None:
        """Have it taken up; the worker waits where it tells more than can be."""
        n_waiting = self._messages.qsize()
        if message["event"] == "step" and n_waiting > _MOST_STEPS_WAITING:
            return
        while self._messages.qsize() > _MOST_WAITING and not self._leaving:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        if message["event"] == "end" or self._messages.qsize() <= _MOST_WAITING:
            self._put(message)

    # For those who use it

    def start(self, *args: Any, **kw: Any) -> None:
        super().start(*args, **kw)
        self._started.set()

    def wait(self) -> None:
        """On the main thread: start, and come back when all is over.  Ctrl-C saves and ends.

        Raises:
            UserError: it failed, or was stopped by Ctrl-C.
        """
        self.is_waited_for = True
        self.start()
        interrupted = False
        while not self.done:
            try:
                self.process()
                self._let_window_draw()
                if self._messages.empty():
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            except KeyboardInterrupt:
                interrupted = True
                self.terminate()
        if self.error is not None:
            raise UserError(self.error)
        if interrupted:
            raise UserError(f"CryoTRANS {self.name}: stopped by Ctrl-C.")

    def _let_window_draw(self) -> None:
        """What commands before this one have opened, and the status line; mouse and keys wait."""
        if self.session.ui.is_gui:
            from Qt.QtCore import QEventLoop

            self.session.ui.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)

    def process(self, *_: Any) -> None:
        """Take up what has been told, a part of it if it is much; does nothing on a thread that is not the main one."""
        # Where ChimeraX has no event loop yet, thread_safe() calls at once on the thread that asks for it.
        if threading.current_thread() is not threading.main_thread():
            self._is_asked = False
            return
        if self._is_processing:  # a message in the status line lets ChimeraX's event loop run, which calls this again
            return
        self._is_processing = self._is_asked = True
        until = time.monotonic() + _SECONDS_AT_ONCE
        try:
            while not self._messages.empty() and time.monotonic() < until:
                self._process_one(self._messages.get())
        finally:
            self._is_processing = self._is_asked = False
        if not self._messages.empty():  # asked for at once, it would come before keys and mouse
            self._is_asked = True
            again = threading.Timer(_SECONDS_BETWEEN, self._ask)
            again.daemon = True
            again.start()

    def stop(self) -> None:
        """Ask the program that runs now to save and end; kill it if it takes too long."""
        with self._lock:
            self._stopping = True
            self._close_input(SECONDS_TO_SAVE)

    def terminate(self) -> None:
        """Ask for the end of all of it; what runs is saved.  ChimeraX takes the task off its list at once."""
        self.leave(SECONDS_TO_SAVE)
        session = self.session
        if session is not None and self.id in session.tasks:
            super().terminate()

    def leave(self, seconds: float, in_haste: bool = False) -> None:
        """Have what runs now save and end within so many seconds, and nothing follow it; in haste, do no more."""
        with self._lock:
            self._leaving = self._stopping = True
            self._close_input(seconds, in_haste)

    def wait_for_program(self, seconds: float) -> None:
        """Come back when the program that runs has ended, killed after so many seconds."""
        with self._lock:
            process = self._process
        if process is not None:
            end_within(process, seconds)

    # On the main thread

    def _process_one(self, message: Message) -> None:
        try:
            if message is self._over:
                self.error = self.error or message["failure"]
                self.done = True
                self._forget()
                self.finish()
            else:
                self.take_up(message)
        except UserError as error:
            self._fail(str(error))
        except Exception:
            self._fail(f"CryoTRANS {self.name}: an error in the bundle itself.\n{traceback.format_exc()}")

    def _forget(self) -> None:
        _tasks.discard(self)
        for handler in self._handlers:
            handler.remove()

    def _fail(self, text: str) -> None:
        self.error = text
        if self.done and not self.is_waited_for and self.session is not None:
            self.session.logger.error(text)

    # On the task's thread

    def run(self, *args: Any, **kw: Any) -> None:
        self._started.wait()
        failure: str | None = None
        try:
            self.work()
        except UserError as error:
            failure = str(error)
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            failure = f"Cannot write or read{where}: {error.strerror or error}."
        except BaseException:
            failure = f"CryoTRANS {self.name}: an error in the bundle itself.\n{traceback.format_exc()}"
        self.end_time = datetime.now()
        self._over = {"event": "over", "failure": failure}
        self._put(self._over)

    def _start(
        self, command: Sequence[str | Path], log: Any, folder: Path, environment: Mapping[str, str], reports: bool
    ) -> subprocess.Popen[bytes] | None:
        """Start a program, unless the task is to end."""
        with self._lock:
            if self._leaving:
                return None
            self._process = start(command, log if reports else subprocess.STDOUT, folder, environment)
            self._can_save = reports
            if self._stopping:
                self._close_input(SECONDS_TO_SAVE)
            return self._process

    def _close_input(self, seconds: float, in_haste: bool = False) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # closed already
            if in_haste and self._can_save:
                process.stdin.write(_IN_HASTE)
            process.stdin.close()
        seconds = seconds if self._can_save else 0
        threading.Thread(target=end_within, args=(process, seconds), daemon=True).start()

    # Sessions are saved without their tasks

    def take_snapshot(self, session: Any, flags: int) -> dict[str, Any]:
        return {}

    @classmethod
    def restore_snapshot(cls, session: Any, data: dict[str, Any]) -> None:
        return None


_tasks: set[BackgroundTask] = set()  # that are not over


def end_all(*_: Any) -> None:
    """Have every program of every task save and end, as ChimeraX does itself; come back when none is left."""
    tasks = list(_tasks)
    for task in tasks:
        task.leave(SECONDS_TO_QUIT, in_haste=True)
    for task in tasks:
        task.wait_for_program(SECONDS_TO_QUIT)


atexit.register(end_all)  # without windows there is no "app quit"


def run_task(session: Any, task: BackgroundTask, wait: bool | None) -> bool:
    """Start it; wait for it if so asked, or by default in scripts and without windows.  Returns whether it waited."""
    if wait is None:
        wait = bool(session.in_script) or not session.ui.is_gui
    if wait:
        task.wait()
    else:
        task.start()
    return wait
