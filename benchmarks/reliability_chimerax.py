"""What becomes of ChimeraX, of its workers, and of what they hold, when one of them dies, floods, or falls silent.

    python benchmarks/reliability_chimerax.py [--kills N] [--seed N]

In the real ChimeraX libraries without a window (tests/app/headless.py).  Sessions are forked from one that is there,
start a training as a user does and are killed (SIGKILL) at a random moment of it; workers are killed, trainings started
and stopped in a row, and programs in the worker's place print what no worker should.  On Linux.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything is loaded: a process with threads cannot be forked

import argparse
import contextlib
import json
import random
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "app"), str(ROOT / "tests")]

import headless  # noqa: E402
import phantoms  # noqa: E402

_SMALL = "depth 2 width 8 w2Iter 2 device cpu frames 2 period 5 wait false"
_TRAINING = f"cryotrans train #1 to #2 level {phantoms.LEVEL} toLevel {phantoms.LEVEL} {_SMALL}"
_SECONDS_TO_LEAVE = 5.0
_PATIENCE = 120.0  # s
_NOISE_SECONDS = 5
_NOISES = {  # what stands in the worker's place prints
    "garbage": "while True: out.write(os.urandom(4096))",
    "garbage that is JSON": """while True: out.write(b'{"event": "step", "step": null}\\n[1, 2]\\n' * 100)""",
    "10,000 notes a second": """
number = 0
while True:
    for _ in range(100):
        number += 1
        out.write(b'{"event": "note", "text": "%d"}\\n' % number)
    out.flush()
    time.sleep(0.01)""",
    "as many notes as it can": """
number = 0
while True:
    number += 1
    out.write(b'{"event": "note", "text": "%d"}\\n' % number)""",
    "a line of 100 MB": "for _ in range(100): out.write(b'x' * 10**6)",
    "nothing": "time.sleep(1000)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill, stop, flood and save, and see what is left.")
    parser.add_argument("--kills", type=int, default=20, help="of each kind, and trainings started and stopped")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not headless.installed():
        print("Nothing of ChimeraX is tried: its libraries are not here (requirements-chimerax.txt).")
        return
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        session = session_in(Path(scratch))
        whole = _seconds_of_a_run(session, Path(scratch))
        faults = [
            _kill_sessions(session, Path(scratch), asked.kills, chance, whole),
            _kill_workers(session, Path(scratch), max(1, asked.kills // 10), chance, whole),
            _start_and_stop(session, Path(scratch), asked.kills, chance, whole),
            _save_at_any_moment(session, Path(scratch), max(1, asked.kills // 10), chance, whole),
            *(_noise(session, Path(scratch), name) for name in _NOISES),
        ]
    sys.exit(1 if any(faults) else 0)


def session_in(scratch: Path) -> Any:
    """A session that knows the bundle, and the maps of a training as files."""
    folder = scratch / "chimerax"
    os.environ["HOME"] = str(scratch / "home")
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch / "temporary")
    for place in (folder, scratch / "home", scratch / "temporary", scratch / "bundle"):
        place.mkdir()
    session = headless.start(folder)
    headless.link_bundle(session, ROOT, scratch / "bundle")
    from chimerax.cryotrans.app.settings import user_settings

    user_settings(session).python = sys.executable
    for name, at in (("A", 0.0), ("B", 1.0)):
        phantoms.write_mrc(scratch / f"{name}.mrc", phantoms.two_domains(at))
    return session


def _begin(session: Any, scratch: Path, options: str) -> Any:
    """Open both maps and start a training."""
    from chimerax.core.commands import run

    for name in "AB":
        run(session, f'open "{scratch}/{name}.mrc"', log=False)
    return run(session, f"{_TRAINING} {options}", log=False)


def close(session: Any) -> None:
    from chimerax.core.commands import run

    run(session, "close session", log=False)
    session.ui.pump()
    session.test_log.entries.clear()


def _seconds_of_a_run(session: Any, scratch: Path) -> float:
    began = time.monotonic()
    job = _begin(session, scratch, "steps 40")
    assert session.ui.wait_for(lambda: job.done, _PATIENCE) and job.series is not None, session.test_log.texts()
    close(session)
    seconds = time.monotonic() - began
    print(f"A training of 40 steps, with report and frames: {seconds:.0f} s", flush=True)
    return seconds


def forked(session: Any, act: Callable[[], object]) -> int:
    """The number of a process that has a copy of the session, and does something with it until it is killed."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            session.ui._main = threading.get_ident()
            act()
        os._exit(1)
    return child


def _kill_sessions(session: Any, scratch: Path, kills: int, chance: random.Random, whole: float) -> bool:
    stayed, longest, with_worker = 0, 0.0, 0
    for number in range(kills):
        folder = scratch / f"killed_{number}"

        def train(folder: Path = folder) -> None:
            job = _begin(session, scratch, f'steps 40 directory "{folder}"')
            session.ui.wait_for(lambda: job.done, _PATIENCE)
            time.sleep(_PATIENCE)

        child = forked(session, train)
        time.sleep(chance.uniform(0, whole))
        with_worker += bool(_programs_with(folder))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed = time.monotonic()
        while _programs_with(folder) and time.monotonic() < killed + _SECONDS_TO_LEAVE:
            time.sleep(0.05)
        longest = max(longest, time.monotonic() - killed)
        left = _programs_with(folder)
        stayed += bool(left)
        for pid in left:
            print(f"    kill {number}: {pid} is there after {_SECONDS_TO_LEAVE:g} s: {_tail(folder)}")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    print(
        f"ChimeraX killed {kills} times, {with_worker} of them while a worker ran: workers left after "
        f"{_SECONDS_TO_LEAVE:g} s: {stayed} (the last one left after {longest:.1f} s)",
        flush=True,
    )
    return bool(stayed)


def _kill_workers(session: Any, scratch: Path, kills: int, chance: random.Random, whole: float) -> bool:
    faults = resumed = 0
    for number in range(kills):
        folder = scratch / f"worker_{number}"
        job = _begin(session, scratch, f'steps 40 open false directory "{folder}"')
        _turns(session, chance.uniform(0.3, 0.9) * whole)
        for pid in _programs_with(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert session.ui.wait_for(lambda job=job: job.done, _PATIENCE)
        errors = session.test_log.texts("error")
        said = job.error is None or (len(errors) == 1 and "The worker was killed (SIGKILL)" in errors[0])
        goes_on = True
        if job.error is not None and (folder / "state.pt").exists() and "frames" not in errors[0]:
            resumed += 1
            goes_on = _goes_on(session, folder)
        faults += not (said and goes_on)
        close(session)
    print(
        f"Workers killed: {kills}; the session did not go on, or said it otherwise than in a sentence: {faults}; "
        f"resumed to the end: {resumed}",
        flush=True,
    )
    return bool(faults)


def _goes_on(session: Any, folder: Path) -> bool:
    from chimerax.core.commands import run
    from chimerax.core.errors import UserError

    try:
        again = run(session, f'cryotrans resume "{folder}" open false wait true', log=False)
    except UserError as error:
        return "has done its 40 steps" in str(error)
    state = json.loads((folder / "run.json").read_text())
    return again.error is None and state["state"] == "finished" and state["step"] == 40


def _start_and_stop(session: Any, scratch: Path, times: int, chance: random.Random, whole: float) -> bool:
    before: dict[str, int] = {}
    for number in range(-2, times):  # what the first ones load stays
        if number == 0:
            before = _held(session, scratch)
        folder = scratch / f"stopped_{number}"
        job = _begin(session, scratch, f'steps 1000000 directory "{folder}"')
        _turns(session, chance.uniform(0, whole / 4))
        (job.terminate if number % 5 else job.stop)()
        assert session.ui.wait_for(lambda job=job: job.done, _PATIENCE)
        close(session)
        del job
    _turns(session, 1.0)
    after = _held(session, scratch)
    more = {name: after[name] - before[name] for name in before if name != "megabytes"}
    text = ", ".join(f"{name} {before[name]} and {after[name]}" for name in before)
    print(f"{times} trainings started and stopped, before and after: {text}", flush=True)
    return any(number > 0 for number in more.values())


def _held(session: Any, scratch: Path) -> dict[str, int]:
    """What this process has, and what ran for it."""
    handlers = sum(len(trigger._handlers) for trigger in session.triggers._triggers.values())
    return {
        "processes": len(_programs_with(scratch)),
        "threads": threading.active_count(),
        "file handles": len(os.listdir("/proc/self/fd")),
        "temporary folders": len(os.listdir(tempfile.gettempdir())),
        "models": len(session.models.list()),
        "tasks": len(session.tasks.list()),
        "handlers": handlers,
        "megabytes": _resident() >> 20,
    }


def _save_at_any_moment(session: Any, scratch: Path, times: int, chance: random.Random, whole: float) -> bool:
    from chimerax.core.commands import run

    faults = 0
    for number in range(times):
        folder, file = scratch / f"saved_{number}", scratch / f"saved_{number}.cxs"
        job = _begin(session, scratch, f'steps 40 directory "{folder}"')
        _turns(session, chance.uniform(0, 1.1 * whole))
        if number % 2:
            job.stop()
            session.ui.wait_for(lambda job=job: job.done, _PATIENCE)
        models = len(session.models.list())
        run(session, f'save "{file}"', log=False)
        run(session, f'open "{file}"', log=False)
        assert session.ui.wait_for(lambda job=job: job.done, _PATIENCE)
        from chimerax.cryotrans.app.runs import runs_of

        known = [each.folder for each in runs_of(session)]
        faults += len(session.models.list()) != models or known != [folder] or bool(session.test_log.texts("error"))
        close(session)
    print(f"Sessions saved at a random moment of a run and opened: {times}; not as they were: {faults}", flush=True)
    return bool(faults)


def _noise(session: Any, scratch: Path, name: str) -> bool:
    """Of what stands in the worker's place: the longest gap between two turns of the event loop, and memory."""
    from chimerax.cryotrans.app.settings import user_settings

    code = f"import os, sys, time\nout = sys.stdout.buffer\n{_NOISES[name]}"
    script, python = scratch / "noise.py", scratch / "noise"
    script.write_text(code)
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || set -- "{script}" "$@"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    settings = user_settings(session)
    before, settings.python = settings.python, str(python)
    folder = scratch / f"noise_{name.split()[-1]}_{len(os.listdir(scratch))}"
    job = _begin(session, scratch, f'directory "{folder}"')
    memory = _resident()
    gaps = list(_turns(session, _NOISE_SECONDS))
    most = max(0, _resident() - memory)
    job.terminate()
    for pid in _programs_with(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended = session.ui.wait_for(lambda: job.done, _PATIENCE)
    log = (folder / "worker.log").stat().st_size if (folder / "worker.log").exists() else 0
    settings.python = before
    close(session)
    print(
        f"{name}, {_NOISE_SECONDS} s: longest gap of the event loop {1000 * max(gaps):.0f} ms, memory "
        f"{most >> 20:+d} MB, log {log / 1e6:.0f} MB, {'ended' if ended else 'NOT ENDED'}",
        flush=True,
    )
    return max(gaps) > 0.5 or most > 200 << 20 or not ended


def _turns(session: Any, seconds: float) -> list[float]:
    """Turns of the event loop for so long; how long each took, s."""
    gaps, end = [], time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        session.ui.pump()
        session.update_loop.draw_new_frame()
        time.sleep(0.005)
        gaps.append(time.monotonic() - now)
    return gaps


def _programs_with(folder: Path) -> list[int]:
    """Programs other than this one whose command names the folder, or what is in it."""
    return [pid for pid, command in _commands() if str(folder) in command and pid != os.getpid()]


def _commands() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if (path / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                    yield int(path.name), words


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize()


def _tail(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return (folder / "worker.log").read_text()[-300:]
    return ""


if __name__ == "__main__":
    main()
