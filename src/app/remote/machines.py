"""Other machines that this user computes on: which Python runs the programs there, and whether it can."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..settings import user_settings
from ..worker_python import PACKAGES
from .connection import MACHINE, Connection, Trouble
from .engine import engine_digest, send_engine

_DEVICE = re.compile(rf"ssh:(?P<machine>{MACHINE})(?:/(?P<device>auto|cpu(?:,cpu)*|cuda(?::\d+(?:,\d+)*)?))?")


class Remote(NamedTuple):
    """Where something is to be computed.

    Attributes:
        machine: as ssh calls it.
        device: in the words of the programs.
    """

    machine: str
    device: str


class Found(NamedTuple):
    """What a machine that can compute has.

    Attributes:
        home: our folder there.
        python: runs the programs.
        engine: the folder of the programs, of our version.
    """

    home: str
    python: str
    engine: str


def remote_in(device: str) -> Remote | None:
    """The machine that an option `device` names, None if it names none: "ssh:workstation", "ssh:workstation/cuda:1"."""
    named = _DEVICE.fullmatch(device)
    return Remote(named["machine"], named["device"] or "auto") if named else None


def connection_to(session: Any, machine: str) -> Connection:
    """A connection as `cryotrans install host` has found that it works."""
    return Connection(machine, user_settings(session).machines.get(machine, ""))


def prepared(connection: Connection) -> Found:
    """Have it ready to compute: its Python is looked at, and the programs are sent if others are there.

    Raises:
        Trouble: it is not, and what to do.
    """
    digest = engine_digest()
    answer = asked(connection, digest)
    if answer["problem"] is not None:
        raise Trouble(problem_text(connection, answer))
    if not answer["engine"]:
        send_engine(connection, digest)
    return Found(answer["home"], answer["python"], f"{answer['home']}/engines/{digest}")


def asked(connection: Connection, digest: str) -> dict[str, Any]:
    """What a machine says of itself, see agent.py."""
    return connection.ask("ask", python=connection.python, packages=list(PACKAGES), digest=digest)


def problem_text(connection: Connection, answer: dict[str, Any]) -> str:
    """Why a machine cannot compute, and the way out."""
    machine, problem, python = connection.machine, answer["problem"], answer["python"]
    if problem == "none":
        return f"CryoTRANS is not installed on {machine}. Type: cryotrans install host {machine}"
    what = (
        f"There is no Python {python} on {machine}" if problem == "no such file" else f"{python} on {machine} {problem}"
    )
    return (
        f"{what}. Type: cryotrans install host {machine}  or name a Python there that has it: "
        f"cryotrans install host {machine} python PATH"
    )
