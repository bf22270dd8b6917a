"""Another machine over ssh: what a connection costs, and what is lost when it is cut.

    python benchmarks/remote.py [--cuts N] [--quits N] [--seed N]

The other machine is this one, by a real sshd on the loopback interface (tests/app/other_machine.py), so the figures
hold ssh, the programs of both sides and the disk, and no network.  A program there prints lines that bear the time;
its connection is cut (SIGKILL to ssh) at random moments.  And sessions of ChimeraX that train there are killed at
random moments, and another session looks for what has become of their runs.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything is loaded: a process with threads cannot be forked

import argparse
import contextlib
import json
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "app"), str(ROOT / "tests")]

import headless  # noqa: E402
import phantoms  # noqa: E402
from other_machine import NAME, OtherMachine, sshd_path  # noqa: E402

headless.claim_namespace()

import reliability_chimerax as killing  # noqa: E402
from measures import machine_text  # noqa: E402

from chimerax.cryotrans.app.remote.connection import Connection, Trouble  # noqa: E402
from chimerax.cryotrans.app.remote.files import pull, push  # noqa: E402
from chimerax.cryotrans.app.remote.following import follow  # noqa: E402
from chimerax.cryotrans.app.remote.places import Places  # noqa: E402

_N_CALLS = 20
_LINES_A_SECOND = 200
_TRAINING = (
    f"cryotrans train #1 to #2 level {phantoms.LEVEL} toLevel {phantoms.LEVEL} steps 40 period 5 "
    "depth 2 width 8 w2Iter 2 frames 2 wait false"
)
_KEEPER = (ROOT / "src" / "app" / "remote" / "keeper.py").read_text(encoding="utf-8")
_PRINTS = """
import json, os, select, time
number = 0
while not select.select([0], [], [], 1 / {rate})[0]:
    number += 1
    print(json.dumps({{"number": number, "time": time.time(), "more": "x" * (number * 7919 % 500)}}), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the connection to another machine, and see what is lost.")
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--quits", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if sshd_path() is None:
        sys.exit("There is no sshd here. Install OpenSSH's server, or name one: CRYOTRANS_SSHD=/path/to/sshd")
    print(machine_text())
    with tempfile.TemporaryDirectory() as scratch:
        other = OtherMachine(Path(scratch, "other"))
        os.environ["CRYOTRANS_SSH_CONFIG"] = str(other.config)
        other.start()
        try:
            chance = random.Random(asked.seed)
            faults = _quits(other, Path(scratch), asked.quits, chance)
            connection = Connection(NAME)
            _calls(connection)
            _files(connection, Path(scratch), other)
            faults += _cuts(connection, other, asked.cuts, chance)
        finally:
            other.stop()
    sys.exit(1 if faults else 0)


def _quits(other: OtherMachine, scratch: Path, quits: int, chance: random.Random) -> int:
    """Returns how many runs of sessions that were killed were lost."""
    from chimerax.core.commands import run
    from chimerax.core.errors import UserError

    from chimerax.cryotrans.app.remote.record import is_away
    from chimerax.cryotrans.app.settings import user_settings

    session = killing.session_in(scratch)
    user_settings(session).machines = {NAME: sys.executable}
    whole = _seconds_of_a_run(session, scratch)
    before = whole_again = lost = 0
    for number in range(quits):
        folder = scratch / f"killed_{number}"

        def train(folder: Path = folder) -> None:
            _train(session, scratch, folder)
            session.ui.wait_for(lambda: False, 600)

        child = killing.forked(session, train)
        time.sleep(chance.uniform(0.05, 1) * whole)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if is_away(folder) is None and not (folder / "run.json").is_file():
            before += 1  # nothing had been started there
            continue
        with contextlib.suppress(UserError):
            job = run(session, f'cryotrans runs fetch "{folder}" wait true', log=False)
            state = json.loads((folder / "run.json").read_text())
            if job.series is not None and (state["state"], state["step"]) == ("finished", 40):
                whole_again += 1
                killing.close(session)
                continue
        lost += 1
        print(f"    {folder.name}: {session.test_log.texts('error')[-1:]}")
        killing.close(session)
    print(
        f"ChimeraX killed {quits} times: {before} before anything had begun there, {whole_again} runs found again, "
        f"fetched and opened, {lost} lost",
        flush=True,
    )
    return lost


def _train(session: Any, scratch: Path, folder: Path) -> Any:
    from chimerax.core.commands import run

    for name in "AB":
        run(session, f'open "{scratch}/{name}.mrc"', log=False)
    return run(session, f'{_TRAINING} device ssh:{NAME}/cpu directory "{folder}"', log=False)


def _seconds_of_a_run(session: Any, scratch: Path) -> float:
    began = time.monotonic()
    job = _train(session, scratch, scratch / "whole")
    assert session.ui.wait_for(lambda: job.done, 300) and job.series is not None, session.test_log.texts()
    killing.close(session)
    return time.monotonic() - began


def _calls(connection: Connection) -> None:
    seconds = []
    for _ in range(_N_CALLS):
        began = time.monotonic()
        connection.ask("state", folders=[])
        seconds.append(time.monotonic() - began)
    print(f"a request and its answer: median {statistics.median(seconds):.2f} s, most {max(seconds):.2f} s")


def _files(connection: Connection, scratch: Path, other: OtherMachine) -> None:
    run = scratch / "run"
    (run / "maps").mkdir(parents=True)
    size = 1 << 28
    (run / "maps" / "initial.mrc").write_bytes(os.urandom(size))
    places = Places([(run, "run")], str(other.home / ".cryotrans" / "runs" / "files"))
    for what, act in (("sent", push), ("seen to be there", push), ("fetched", pull)):
        if act is pull:
            (run / "maps" / "initial.mrc").unlink()
        began = time.monotonic()
        push(connection, places, frozenset(), _nothing) if act is push else pull(connection, places, _nothing)
        print(f"256 MiB {what}: {time.monotonic() - began:.1f} s")


def _nothing(_: str) -> None:
    pass


def _cuts(connection: Connection, other: OtherMachine, n_cuts: int, chance: random.Random) -> int:
    """Returns how many lines were lost, doubled, out of order, or otherwise than they were printed."""
    folder = str(other.home / ".cryotrans" / "runs" / "cuts")
    command = [sys.executable, "-c", _PRINTS.format(rate=_LINES_A_SECOND)]
    connection.ask("start", folder=folder, work="work", command=command, keeper=_KEEPER)
    lines: list[bytes] = []
    late: list[float] = []
    first: list[float] = []
    pauses: list[str] = []
    since_cut = [0]

    def take(line: bytes) -> None:
        since_cut[0] += 1
        if not first:
            first.append(time.time() - json.loads(line)["time"])
        if since_cut[0] > _LINES_A_SECOND:  # what was printed while there was no connection has come
            late.append(time.time() - json.loads(line)["time"])
        lines.append(line)

    def pause(trouble: Trouble, seconds: float) -> bool:
        pauses.append(str(trouble))
        time.sleep(seconds / 10)  # of the user's patience, which a benchmark does not need
        return True

    def cut() -> None:
        for number in range(n_cuts):
            began = len(lines)
            at = chance.uniform(0, 1.2)  # in connecting, at its first lines, or later
            until = time.monotonic() + at
            while time.monotonic() < until or (number % 3 == 0 and len(lines) == began):
                time.sleep(0.005)
            since_cut[0] = 0
            connection.cut()
        time.sleep(3)
        while True:
            try:
                Connection(NAME).ask("stop", folder=folder, work="work")
                return
            except Trouble:
                time.sleep(1)

    cutting = threading.Thread(target=cut)
    cutting.start()
    ended = follow(connection, folder, "work", take, pause)
    cutting.join()
    printed = (Path(folder) / "work" / "output").read_bytes()
    came = b"".join(lines)
    numbers = [json.loads(line)["number"] for line in lines]
    n_printed = printed.count(b"\n")
    lost, doubled = n_printed - len(set(numbers)), len(numbers) - len(set(numbers))
    same = "the same bytes" if came == printed else "OTHER bytes"
    print(
        f"{n_cuts} cuts, {len(pauses)} connections lost: {n_printed} lines printed, {lost} lost, {doubled} doubled, "
        f"{same}; the program ended with status {ended and ended.get('exit')}"
    )
    print(f"from the first line there to ours: {first[0]:.2f} s, in which we connect")
    if late:
        worst = sorted(late)[int(0.99 * len(late))]
        print(f"from a later line there to ours: median {statistics.median(late):.2f} s, 99 % {worst:.2f} s")
    return lost + doubled + (came != printed)


if __name__ == "__main__":
    main()
