"""What is left of a run whose disk or folder fails it, whether it goes on as if nothing had been, and what was said.

    python benchmarks/disks.py [--times N] [--seed N]

Each failure is a real one: a file system of a few MB that is full, a folder that is removed or closed to its user under
the run, system calls that fail (strace does that to a program), files from the future, programs that begin at the same
moment in one folder.  Then every file that bears its name must be whole, going on must end with the same losses and
weights, bit for bit, as the run that nobody broke (CPU, one thread), and all that the user saw was a sentence.  Linux;
what needs root or strace is left out without, and said so.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from broken_runs import KINDS, Kind, damaged_files, make_maps, remove, start, wait
from measures import machine_text

from chimerax.cryotrans.engine.files import writing

_NOBODY = 65534
_STRACE = shutil.which("strace")
_IS_ROOT = os.geteuid() == 0
_SENTENCES = r"Cannot|Computing failed|The folder|The directory|Another|Ended where|.* already holds"


class Broken(NamedTuple):
    """How a broken program ended.

    Attributes:
        status: its exit status.
        said: the last line that it said.
        is_plain: it said no more than that and what every run says.
    """

    status: int
    said: str
    is_plain: bool


Break = Callable[[list[str], Path, random.Random, float], Broken]


class Row(NamedTuple):
    """One failure.

    Attributes:
        name: as the table has it.
        break_it: runs the program in a folder and breaks it, given about how many seconds it would need.
        place: makes the file system that the run's folder is on.
        lacks: what it needs and this machine has not.
    """

    name: str
    break_it: Break
    place: Callable[[Path], contextlib.AbstractContextManager[object]] = lambda folder: contextlib.nullcontext()
    lacks: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Have disks fail programs and see what is left.")
    parser.add_argument("--times", type=int, default=5, help="of each failure and kind of work")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(machine_text())
    print("| failure | work | times | damaged files | went on otherwise | said otherwise than by a sentence |")
    print("|---|---|---|---|---|---|")
    failed, said = False, collections.Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        maps, chance = make_maps(Path(scratch)), random.Random(asked.seed)
        for row in _ROWS:
            if row.lacks:
                print(f"| {row.name} | left out: {row.lacks} | | | | |")
                continue
            for kind in KINDS:
                if kind.name in ("training, published settings", "several targets", "prediction"):
                    failed = _row(row, kind, maps, Path(scratch), asked.times, chance, said) or failed
        failed = _at_once(maps, Path(scratch), 10 * asked.times, said) or failed
    print("\nWhat was said:\n")
    for sentence, count in sorted(said.items()):
        print(f"* {sentence} ({count})")
    sys.exit(1 if failed else 0)


def _row(
    row: Row, kind: Kind, maps: Path, scratch: Path, times: int, chance: random.Random, said: collections.Counter[str]
) -> bool:
    whole = scratch / "whole"
    began = time.monotonic()
    wait(start(kind.begin(maps, whole)))
    seconds, expected = time.monotonic() - began, kind.outcome(whole)
    damaged = otherwise = not_plain = 0
    for number in range(times):
        place = scratch / "place"
        place.mkdir()
        with row.place(place):
            run = place / f"run_{number}"
            broken = row.break_it(kind.begin(maps, run), run, chance, seconds)
            bad = damaged_files(run)
            wait(start(kind.go_on(maps, run)))
            same = kind.outcome(run) == expected
            if bad or not same or not broken.is_plain:
                print(f"    {row.name}, {kind.name}, {number}: damaged {bad}, the same {same}, {broken}")
            remove(run)
        damaged, otherwise, not_plain = damaged + bool(bad), otherwise + (not same), not_plain + (not broken.is_plain)
        said[_general(broken.said, run)] += 1
        place.rmdir()
    remove(whole)
    print(f"| {row.name} | {kind.name} | {times} | {damaged} | {otherwise} | {not_plain} |", flush=True)
    return bool(damaged or otherwise or not_plain)


def _general(said: str, run: Path) -> str:
    """A sentence without what differs from run to run."""
    said = said.replace(str(run), "RUN").replace(str(run.parent), "FOLDER")
    said = re.sub(r"\b(net|frame)_\d+\b", r"\1_K", said)
    return re.sub(r"\b(step|leg|leg_|frames,|Leg) ?\d+", r"\1 N", said)


def _ended(child: int, log: Path) -> Broken:
    status = wait(child)
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    log.unlink()
    of_one = [line for line in lines if re.match(_SENTENCES, line)]
    plain = "Traceback" not in text and "Exception" not in text and len(of_one) <= 1
    plain = plain and status in (0, 2, 128 + signal.SIGINT)
    return Broken(status, lines[-1] if lines else "", plain and (status == 0 or bool(lines)))


def _plainly(words: list[str], run: Path, prepare: Callable[[], object] = lambda: None) -> tuple[int, Path]:
    log = Path(tempfile.mkstemp(prefix="said_")[1])
    return start(words, prepare, log), log


# The failures


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(words: list[str], run: Path, chance: random.Random, seconds: float) -> Broken:
    """Of a disk no more is left than some part of what the run needs."""
    filler = run.parent / "filler"
    free = shutil.disk_usage(run.parent).free
    filler.write_bytes(bytes(free - chance.randrange(4096, 200_000)))
    ended = _ended(*_plainly(words, run))
    filler.unlink()
    return ended


def _remove_folder(words: list[str], run: Path, chance: random.Random, seconds: float) -> Broken:
    child, log = _plainly(words, run)
    time.sleep(chance.uniform(0, seconds))
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)  # what was written while the first one looked
    ended = _ended(child, log)
    shutil.rmtree(run, ignore_errors=True)
    return ended


def _close_folder(words: list[str], run: Path, chance: random.Random, seconds: float) -> Broken:
    os.chown(run.parent, _NOBODY, _NOBODY)

    def as_nobody() -> None:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)

    child, log = _plainly(words, run, as_nobody)
    time.sleep(chance.uniform(0, seconds))
    closed = [folder for folder in (run.parent, *run.rglob("*"), run) if folder.is_dir()]
    for folder in closed:
        folder.chmod(0o500)
    ended = _ended(child, log)
    for folder in closed:
        folder.chmod(0o755)
    return ended


def _failing(calls: str, error: str, when: tuple[int, int]) -> Break:
    """System calls of a program that fail from the so-and-so-many-th on."""

    def break_it(words: list[str], run: Path, chance: random.Random, seconds: float) -> Broken:
        first = chance.randint(*when)
        log = Path(tempfile.mkstemp(prefix="said_")[1])
        inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={first}+"]
        command = [str(_STRACE), "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, *inject]
        with open(log, "w", encoding="utf-8") as said:
            program = [sys.executable, "-m", "chimerax.cryotrans", *words]
            process = subprocess.Popen([*command, *program], stdout=said, stderr=said)
        return _ended(process.pid, log)

    return break_it


def _stall(words: list[str], run: Path, chance: random.Random, seconds: float) -> Broken:
    """From some file on writing does not come back.  The user waits, asks for the end, and asks again."""
    fifo = run.parent / "fifo"
    os.mkfifo(fifo)
    child, log = _plainly(words, run, lambda: _stall_from(chance.randint(1, 20), fifo))
    for pause in (seconds + 1, 2):
        time.sleep(pause)
        os.kill(child, signal.SIGINT)  # until it is waited for, its number is not another's
    ended = _ended(child, log)
    back = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    time.sleep(0.1)  # for what waits at it
    os.close(back)
    fifo.unlink()
    return ended


def _stall_from(number: int, fifo: Path) -> None:
    """Have this process wait in the kernel for ever, out of reach of signals, where it would rename the number-th file.

    glibc's posix_spawn keeps signals back until the new process has opened its files, here a pipe with no other end.
    """
    libc, act, count = ctypes.CDLL(None), writing._try_for_a_second, 0

    def stall(rename: Callable[[], object]) -> None:
        nonlocal count
        count += 1
        if count >= number:
            actions, words = ctypes.create_string_buffer(256), (ctypes.c_char_p * 2)(b"true", None)
            libc.posix_spawn_file_actions_init(actions)
            for file in range(3):
                libc.posix_spawn_file_actions_addopen(actions, file, os.fsencode(fifo), os.O_RDONLY, 0)
            libc.posix_spawn(ctypes.byref(ctypes.c_int()), b"/bin/true", actions, None, words, words)
        act(rename)

    writing._try_for_a_second = stall


def _from_the_future(words: list[str], run: Path, chance: random.Random, seconds: float) -> Broken:
    """Killed, with files that a clock set back has left in the future."""
    child, log = _plainly(words, run)
    time.sleep(chance.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    wait(child)
    log.unlink()
    for path in (run, *run.rglob("*")) if run.exists() else ():
        os.utime(path, (4_000_000_000, 4_000_000_000))
    return Broken(-9, "(killed)", True)


def _at_once(maps: Path, scratch: Path, times: int, said: collections.Counter[str]) -> bool:
    """Two programs that begin in one folder at the same moment: one works, the other says a sentence."""
    kind, wrong = KINDS[0], 0
    whole = scratch / "whole"
    wait(start(kind.begin(maps, whole)))
    expected = kind.outcome(whole)
    for number in range(times):
        run = scratch / "run"
        words = [word for word in kind.begin(maps, run) if word != "--overwrite"]
        if number % 2:  # in going on
            wait(start([*words, "-n", "10"]))
            words = ["train", "--resume", "-d", str(run), "-n", "30", "--progress", "none"]
        both = [_plainly(words, run) for _ in range(2)]
        ends = sorted((_ended(*one) for one in both), key=lambda end: end.status)
        bad = damaged_files(run) or kind.outcome(run) != expected
        if bad or [end.status for end in ends] != [0, 2] or not all(end.is_plain for end in ends):
            print(f"    two at once, {number}: {bad}, {ends}")
            wrong += 1
        said[_general(ends[1].said, run)] += 1
        remove(run)
    remove(whole)
    print(f"| two programs at once | {kind.name} | {times} | {wrong} | {wrong} | {wrong} |", flush=True)
    return bool(wrong)


_NO_ROOT = "" if _IS_ROOT else "needs root"
_NO_GLIBC = "" if sys.platform == "linux" else "needs glibc"
_NO_STRACE = "" if _STRACE else "needs strace"
_ROWS = (
    Row("the disk is full", _fill, _small_disk, _NO_ROOT),
    Row("the folder is removed", _remove_folder),
    Row("the folder is closed to its user", _close_folder, lacks=_NO_ROOT),
    Row("files are from the future", _from_the_future),
    Row("the disk fails (EIO)", _failing("fsync", "EIO", (1, 20)), lacks=_NO_STRACE),
    Row("the network folder is lost (ESTALE)", _failing("rename", "ESTALE", (1, 20)), lacks=_NO_STRACE),
    Row("the disk does not answer", _stall, lacks=_NO_GLIBC),
    Row("the disk knows no locks (ENOLCK)", _failing("flock", "ENOLCK", (1, 1)), lacks=_NO_STRACE),
)

if __name__ == "__main__":
    main()
