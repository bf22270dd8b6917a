"""Asking another machine, by the OpenSSH of this one as its user has set it up: keys, ~/.ssh/config, jump hosts.

Each request is one ssh, which never asks for anything (BatchMode).  A machine is called as ssh calls it, "workstation"
or "me@workstation".  Another configuration than ~/.ssh/config is named by the environment variable
CRYOTRANS_SSH_CONFIG.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..processes import kill, start
from .agent import MARK

MACHINE = r"[\w\[][\w.@%+:\[\]-]*"  # as ssh calls it; nothing that ssh would take for an option
_HERE = Path(__file__).parent
_TAIL = 1 << 14  # bytes of what ssh says
_LONGEST_LINE = 1 << 24  # bytes of an answer
_OPTIONS = (
    *("BatchMode=yes", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=3"),
    *("RemoteCommand=none", "ClearAllForwardings=yes", "PermitLocalCommand=no", "LogLevel=ERROR"),
)
_SECONDS_TO_END = 5.0  # of an ssh whose other side has ended
_BOOT = "exec(open(0,'rb',0,closefd=False).readline())"  # no letter of it means anything to any shell, between "
# Run first, by any Python 3: where it is an old one, a newer one goes on.
_FIRST = f"""
import os, shutil, sys
if sys.version_info < (3, 9):
    for number in range(20, 8, -1):
        newer = shutil.which("python3.%d" % number)
        if newer:
            os.execv(newer, [newer, "-E", "-c", {_BOOT!r}])
    print("python is %d.%d" % sys.version_info[:2])
    sys.exit(93)
exec(open(0, "rb", 0, closefd=False).readline())
"""
_TOO_OLD, _NOT_FOUND = 93, (126, 127)


class Trouble(Exception):
    """Why a machine did not do what it was asked, in a sentence.

    Attributes:
        passes: it may be another time, without anybody's doing.
    """

    def __init__(self, text: str, passes: bool = False) -> None:
        super().__init__(text)
        self.passes = passes


class Connection:
    """Requests to one machine, from any thread.

    Attributes:
        machine: as ssh calls it.
        python: which Python answers there; "" for python3.
    """

    def __init__(self, machine: str, python: str = "") -> None:
        if not re.fullmatch(MACHINE, machine):
            raise Trouble(f"{machine} is no name of a machine. Name it as ssh does: workstation, or me@workstation.")
        self.machine, self.python = machine, python
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def command(self) -> list[str]:
        """The command line of ssh."""
        ssh = shutil.which("ssh")
        if ssh is None:
            raise Trouble("There is no ssh here. Install OpenSSH, which every system has, and try again.")
        config = os.environ.get("CRYOTRANS_SSH_CONFIG")
        python = f'"{self.python}"' if self.python and self.python[0] != "~" else self.python or "python3"
        words = [word for option in _OPTIONS for word in ("-o", option)]
        return [ssh, *(["-F", config] if config else []), "-T", *words, "--", self.machine, f'{python} -E -c "{_BOOT}"']

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One answer to one request.

        Raises:
            Trouble: there is none, or it is that it cannot be done.
        """
        with self.talk(do, **request) as talk:
            return talk.answer()

    @contextlib.contextmanager
    def talk(self, do: str, **request: Any) -> Iterator[Talk]:
        """A request to which more belongs than a line each way.

        Raises:
            Trouble: as `ask`.
        """
        command = self.command()
        with self._lock:
            if self._closed:
                raise Trouble(f"The connection to {self.machine} was closed.")
            process = start(command, subprocess.PIPE, Path.home(), os.environ)
            self._processes.add(process)
        talk = Talk(self.machine, self.python, process)
        try:
            talk.send(_line(_FIRST) + _line((_HERE / "agent.py").read_text(encoding="utf-8")))
            talk.send(json.dumps({"do": do, **request}).encode() + b"\n")
            yield talk
        finally:
            with self._lock:
                self._processes.discard(process)
            if process.poll() is None:
                kill(process)
                process.wait()
            talk.close()

    def close(self) -> None:
        """End all requests, and take none any more."""
        with self._lock:
            self._closed = True
        self.cut()

    def cut(self) -> None:
        """End all requests that are under way."""
        with self._lock:
            for process in self._processes:
                if process.poll() is None:
                    kill(process)


class Talk:
    """One request under way."""

    def __init__(self, machine: str, python: str, process: subprocess.Popen[bytes]) -> None:
        self._machine, self._python, self._process = machine, python, process
        self._said = b""
        self._begun = False
        self._draining = threading.Thread(target=self._drain, daemon=True)
        self._draining.start()

    def _drain(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stderr:
                self._said = (self._said + line)[-_TAIL:]

    def send(self, content: bytes) -> None:
        """Bytes that belong to the request.  Whether they arrived, the answer tells."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def line(self) -> tuple[bytes, bytes]:
        """The next line: its sign, = for an answer, + for a line of a program, and the line.

        Raises:
            Trouble: the connection ended before.
        """
        assert self._process.stdout is not None
        while not self._begun:
            self._begun = self._read() == MARK  # before it, a login shell may say what it likes
        line = self._read()
        while line[:1] == b".":
            line = self._read()
        return line[:1], line[1:]

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline(_LONGEST_LINE)
        except (OSError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            raise self._lost()
        return line

    def answer(self) -> dict[str, Any]:
        """The next answer; lines of a program before it are passed over.

        Raises:
            Trouble: as `line`, or the answer is that it cannot be done.
        """
        sign, line = self.line()
        while sign == b"+":
            sign, line = self.line()
        return self.checked(line)

    def checked(self, line: bytes) -> dict[str, Any]:
        """The answer that a line holds.

        Raises:
            Trouble: it is that it cannot be done.
        """
        answer = json.loads(line)
        if "error" in answer:
            text = str(answer["error"])
            if answer.get("errno") in _FULL:
                text = f"{text[:-1]}. Make room on its disk, and try again."
            raise Trouble(f"On {self._machine}: {text}")
        return answer

    def read(self, size: int) -> bytes:
        """Bytes that belong to an answer, so many at most.

        Raises:
            Trouble: the connection ended before.
        """
        assert self._process.stdout is not None
        piece = self._process.stdout.read(size)
        if not piece:
            raise self._lost()
        return piece

    def _lost(self) -> Trouble:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS_TO_END)
        self._draining.join(1.0)
        return trouble_of(self._machine, self._python, self._process.poll(), self._said.decode(errors="replace"))

    def close(self) -> None:
        self._draining.join(1.0)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


_FULL = (27, 28, 122)  # file too large, no space left, over quota, on Linux


def _line(code: str) -> bytes:
    """Code as one line of Python that runs it."""
    return f"exec({code!r})\n".encode()


_KNOWN = (  # what ssh says; what it means; whether that may pass
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        "The key of {machine} is another than the one that ssh knows: it was installed anew, or is not the machine "
        "that it says. Ask who runs it; if it is right, type in a terminal ssh-keygen -R {host} and then ssh {machine}",
        False,
    ),
    (
        "Host key verification failed|No .* host key is known",
        "ssh does not know {machine} yet. Type once in a terminal: ssh {machine}  and confirm its key.",
        False,
    ),
    (
        "Permission denied|Too many authentication failures",
        "{machine} does not let ssh in without a password, which CryoTRANS never asks for. Set up a key: type in a "
        "terminal ssh-copy-id {machine}  (ssh-add, if the key has a passphrase), until ssh {machine} asks nothing.",
        False,
    ),
    (
        "Could not resolve hostname|Name or service not known|not known|No address associated",
        "There is no machine {machine}, or no network. Name it as in ssh {machine}, or put it into ~/.ssh/config.",
        True,
    ),
    (
        "Connection refused|timed out|No route to host|Network is unreachable|Connection reset|Connection closed|"
        "Broken pipe|closed by remote host|port 65535|not responding|banner exchange",
        "{machine} cannot be reached by ssh: {last}. Is it on, is the network or VPN? Try in a terminal: ssh {machine}",
        True,
    ),
)


def trouble_of(machine: str, python: str, status: int | None, said: str) -> Trouble:
    """Why an ssh ended without an answer.

    Args:
        status: its exit status.
        said: what it printed on standard error.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1].rstrip(".") if lines else "it said nothing"
    if status in _NOT_FOUND or (status == 1 and re.search("command not found", said, re.IGNORECASE)):  # as csh says it
        what = f"no Python {python}" if python else "no python3"
        return Trouble(
            f"{machine} has {what}. Install Python 3.9 or later there, or say where it is: cryotrans install host "
            f"{machine} python PATH"
        )
    if status == _TOO_OLD:
        return Trouble(
            f"The python3 of {machine} is older than 3.9, and no newer one was found. Install one there, or say where "
            f"it is: cryotrans install host {machine} python PATH"
        )
    if status == 255:
        for pattern, sentence, passes in _KNOWN:
            if re.search(pattern, said, re.IGNORECASE):
                host = machine.rpartition("@")[2]
                return Trouble(sentence.format(machine=machine, host=host, last=last), passes)
        if not lines:
            return Trouble(f"The connection to {machine} was cut.", True)
        return Trouble(f"ssh to {machine} failed: {last}. Try in a terminal: ssh {machine}")
    if status is None or status <= 0:
        return Trouble(f"The connection to {machine} was cut.", True)
    return Trouble(f"{machine} did not answer as it should (status {status}): {last}. Try in a terminal: ssh {machine}")
