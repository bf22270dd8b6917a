"""What is done on the other machine when it is asked.

This file is sent over with each request and run by a Python there that needs nothing beside its own library: so it is
always of our version.  It reads the request, a line of JSON, and what belongs to it on standard input, and prints the
answer after MARK, for a login shell may print as well.  Once its standard input is closed, the connection is gone, and
what it has begun for that connection alone ends.

    ~/.cryotrans/venv            a Python environment with PyTorch, made by `cryotrans install host ...`
    ~/.cryotrans/engines/DIGEST  the programs, by the digest of their files; runs may be at work in an older one
    ~/.cryotrans/runs/NAME/run   a run, as its folder is here
    ~/.cryotrans/runs/NAME/WORK  one program at work on it, see keeper.py
    ~/.cryotrans/submit          if it is there: the shell line that runs {command} on a cluster
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MARK = b"cryotrans agent\n"
PARTIAL = ".part"  # ends the name of a file that is on its way
_OURS = Path.home() / ".cryotrans"
_PIECE = 1 << 20  # bytes
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_SIGNS = 5.0  # of life
_SECONDS_TO_BEGIN = 20.0
_SECONDS_TO_ANSWER = 60  # of a Python asked what it has
_QUESTION = """
import importlib.util, json, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(json.dumps({"version": list(sys.version_info[:2]), "missing": missing}))
"""


def _say(sign: bytes, content: object) -> None:
    """A line: = a JSON answer, + a line of a program, . a sign of life."""
    line = content if isinstance(content, bytes) else json.dumps(content).encode() + b"\n"
    sys.stdout.buffer.write(sign + line)
    sys.stdout.buffer.flush()


# What there is


def ask(given: BinaryIO, python: str, packages: list[str], digest: str) -> dict[str, Any]:
    """Which Python would run the programs and what it lacks; whether they are here."""
    path = os.path.expanduser(python) if python else str(_OURS / "venv" / "bin" / "python")
    answer: dict[str, Any] = {"home": str(_OURS), "own": sys.executable, "python": path, "problem": None}
    answer["engine"] = (_OURS / "engines" / digest / "version.json").is_file()
    if not os.path.isfile(path):
        return {**answer, "problem": "none" if not python else "no such file"}
    try:
        done = subprocess.run(
            [path, "-c", _QUESTION, *packages],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS_TO_ANSWER,
            check=False,
        )
        found = json.loads(done.stdout)
        version, missing = tuple(found["version"]), found["missing"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        return {**answer, "problem": "does not answer as a Python does"}
    if version < (3, 9):
        return {**answer, "problem": f"is Python {version[0]}.{version[1]}"}
    return {**answer, "problem": f"has no {' and no '.join(missing)}" if missing else None}


def engine(given: BinaryIO, digest: str, version: str, size: int) -> dict[str, Any]:
    """Take in the programs, as a tar."""
    folder = _OURS / "engines" / digest
    beside = folder.with_name(f".{digest}.{os.getpid()}")
    content = given.read(size)
    if len(content) != size:
        raise ConnectionError
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(beside, filter="data")
            else:
                tar.extractall(beside)
        (beside / "version.json").write_text(json.dumps({"version": version, "digest": digest}) + "\n")
        if not (folder / "version.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return {}


# Files


def digest_of(path: Path) -> str:
    """SHA-256 of what is in a file, as hexadecimal digits."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            total.update(piece)
    return total.hexdigest()


def put(given: BinaryIO, folder: str, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Take in files: says how much of each is here, gets the rest of each in turn, and says which came out wrong."""
    have = []
    for about in files:
        path = Path(folder, about["path"])
        partial = path.with_name(path.name + PARTIAL)
        if path.is_file() and path.stat().st_size == about["size"] and digest_of(path) == about["sha256"]:
            have.append(about["size"])
        else:
            have.append(min(partial.stat().st_size, about["size"]) if partial.is_file() else 0)
    _say(b"=", {"have": have})
    wrong = []
    for about, begun in zip(files, have):
        path = Path(folder, about["path"])
        partial = path.with_name(path.name + PARTIAL)
        if begun == about["size"] and not partial.is_file() and path.is_file():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("r+b" if partial.is_file() else "wb") as file:
            file.truncate(begun)
            file.seek(begun)
            left = about["size"] - begun
            while left:
                piece = given.read(min(left, _PIECE))
                if not piece:
                    raise ConnectionError
                file.write(piece)
                left -= len(piece)
        if digest_of(partial) == about["sha256"]:
            partial.replace(path)
        else:
            partial.unlink()
            wrong.append(about["path"])
    return {"wrong": wrong}


def pull(given: BinaryIO, folder: str) -> dict[str, Any]:
    """Give files: says which there are, is told from which byte on each is wanted, and gives those."""
    root = Path(folder)
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (PARTIAL, ".lock"):
            about = {"path": path.relative_to(root).as_posix(), "size": path.stat().st_size, "sha256": digest_of(path)}
            found.append(about)
    _say(b"=", {"files": found})
    for name, begun in json.loads(given.readline() or b"[]"):
        with (root / name).open("rb") as file:
            left = os.fstat(file.fileno()).st_size - begun
            file.seek(begun)
            _say(b"=", {"path": name, "size": left})
            while left:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    raise ConnectionError
                sys.stdout.buffer.write(piece)
                left -= len(piece)
    return {}


# Programs


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def start(given: BinaryIO, folder: str, work: str, command: list[str], keeper: str) -> dict[str, Any]:
    """Start a program that goes on when the connection is gone; nothing if it has been started."""
    place = Path(folder, work)
    place.mkdir(parents=True, exist_ok=True)
    Path(folder, "run").mkdir(exist_ok=True)
    if not (place / "command.json").is_file():
        (place / "keeper.py").write_text(keeper, encoding="utf-8")
        beside = place / "command.json.part"
        beside.write_text(json.dumps(command) + "\n", encoding="utf-8")
        beside.replace(place / "command.json")
    if _state(place) not in ("running", "ended"):
        with (place / "keeper.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-E", str(place / "keeper.py"), "keep", str(place)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=place,
                env=_environment(),
                start_new_session=True,
            )
        until = time.monotonic() + _SECONDS_TO_BEGIN
        while _state(place) not in ("running", "ended"):
            if time.monotonic() > until:
                said = (place / "keeper.log").read_text(errors="replace").strip().splitlines()
                return {"error": f"Nothing could be started{': ' + said[-1] if said else ''}."}
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return {}


def _state(place: Path) -> str:
    """running, ended, interrupted (as by a restart of the machine), not begun, or gone."""
    import fcntl

    if not place.is_dir():
        return "gone"
    if _status(place) is not None:
        return "ended"
    try:
        with (place / "keeper.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return "not begun"
    except OSError:
        return "running"
    return "ended" if _status(place) is not None else "interrupted"


def _status(place: Path) -> dict[str, Any] | None:
    """How a program ended, None if it has not: the file is there before, and blank."""
    try:
        return json.loads((place / "status.json").read_bytes())
    except (OSError, ValueError):
        return None


def state(given: BinaryIO, folders: list[list[str]]) -> dict[str, Any]:
    """Of several works, (folder, work): how they are, and the last message that has a step."""
    answers = []
    for folder, work in folders:
        place = Path(folder, work)
        answer: dict[str, Any] = {"state": _state(place)}
        with contextlib.suppress(OSError):
            with (place / "output").open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - (1 << 16)))
                for line in file.read().splitlines():
                    with contextlib.suppress(ValueError):
                        message = json.loads(line)
                        if isinstance(message, dict):
                            known = {
                                key: message[key] for key in ("step", "n_steps", "leg", "n_legs") if key in message
                            }
                            answer.update(known)
        answers.append(answer)
    return {"states": answers}


def stop(given: BinaryIO, folder: str, work: str) -> dict[str, Any]:
    """Ask a program to save and end."""
    Path(folder, work, "stop").touch()
    return {}


def follow(given: BinaryIO, folder: str, work: str, offset: int) -> dict[str, Any]:
    """Tell what a program prints, line by line from a byte on, until it has ended and all is told."""
    place = Path(folder, work)
    signed = time.monotonic()
    gone = _gone(given)
    while not gone.is_set():
        now = _state(place)  # before reading: what it printed last is then read
        told = False
        for line in _lines(place / "output", offset):
            _say(b"+", line)
            offset += len(line)
            told = True
        if now != "running" and not told:
            printed = b""
            with contextlib.suppress(OSError):
                name = "errors" if (place / "errors").is_file() else "keeper.log"
                printed = (place / name).read_bytes()[-(1 << 14) :]
            ended: dict[str, Any] = {"state": now, "printed": printed.decode(errors="replace")}
            return {**ended, **(_status(place) or {})}
        if time.monotonic() - signed > _SECONDS_BETWEEN_SIGNS:
            signed = time.monotonic()
            _say(b".", b"\n")
        if not told:
            gone.wait(_SECONDS_BETWEEN_LOOKS)
    raise ConnectionError


def _lines(path: Path, offset: int) -> Iterator[bytes]:
    """Those that are whole."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        file.seek(offset)
        while (line := file.readline()).endswith(b"\n"):
            yield line


def _gone(given: BinaryIO) -> threading.Event:
    """Set when the connection is."""
    gone = threading.Event()

    def wait() -> None:
        while not gone.is_set():
            select.select([0], [], [])
            if not os.read(0, 4096):
                gone.set()

    threading.Thread(target=wait, daemon=True).start()
    return gone


def run(given: BinaryIO, command: list[str]) -> dict[str, Any]:
    """Run a program to its end, which comes with that of the connection at the latest; tells what it prints."""
    process = subprocess.Popen(
        [os.path.expanduser(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        start_new_session=True,
    )
    gone = _gone(given)

    def kill() -> None:
        gone.wait()
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    assert process.stdout is not None
    for line in process.stdout:
        _say(b"+", line if line.endswith(b"\n") else line + b"\n")
    return {"status": process.wait()}


def remove(given: BinaryIO, folder: str) -> dict[str, Any]:
    """Remove a folder of ours."""
    path = Path(os.path.expanduser(folder))
    if _OURS in path.parents:
        shutil.rmtree(path, ignore_errors=True)
    return {}


def _main() -> None:
    given = open(0, "rb", buffering=_PIECE, closefd=False)  # noqa: SIM115
    request = json.loads(given.readline())
    sys.stdout.buffer.write(MARK)
    sys.stdout.buffer.flush()
    do = {act.__name__: act for act in (ask, engine, put, pull, start, state, stop, follow, run, remove)}
    try:
        _say(b"=", do[request.pop("do")](given, **request))
    except (BrokenPipeError, ConnectionError):
        pass
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _say(b"=", {"error": f"Cannot write or read{where}: {error.strerror or error}.", "errno": error.errno})
    except Exception as error:  # a Python that lacks a part of its library, or a fault of ours
        _say(b"=", {"error": f"{type(error).__name__}: {error}."})
    with contextlib.suppress(OSError):
        sys.stdout.buffer.flush()
    os._exit(0)  # threads may wait for what never comes


if __name__ == "__main__":
    _main()
