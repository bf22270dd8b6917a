"""Runs a program on the other machine for hours, whether or not anybody is connected.

    python keeper.py keep FOLDER    in the background: runs it, here or by the line in ~/.cryotrans/submit
    python keeper.py run FOLDER     runs it here; on a cluster, where the queue wants it

Sent into the folder of the work, and run by a Python that needs nothing beside its own library.  FOLDER holds

    command.json   the program and its arguments
    output         all that it prints on standard output, whole lines; errors, what it prints on standard error
    stop           if it is there, the program is asked to save and end, by the end of its standard input
    keeper.lock    is locked as long as it is kept
    status.json    blank, of the length that it will have, so that a full disk does not hide how it ended; then that
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

_SUBMIT = Path.home() / ".cryotrans" / "submit"
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_SAVE = 600.0  # from the request to stop until it is killed
_SECONDS_FOR_FILES = 5.0  # until a network's folder shows what another node wrote
_STATUS_SIZE = 1 << 14  # bytes
_LONGEST_LINE = 1 << 20  # bytes; what is longer is no message, and is cut
_MOST_KEPT_BACK = 1 << 13  # bytes of lines that the disk did not take


def keep(folder: Path) -> None:
    import fcntl

    with (folder / "keeper.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another keeps it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if (folder / "status.json").is_file() and (folder / "status.json").read_bytes().strip():
            return
        (folder / "status.json").write_bytes(b" " * _STATUS_SIZE)
        if not _SUBMIT.is_file():
            run(folder)
            return
        script = folder / "go.sh"
        words = [sys.executable, "-E", str(folder / "keeper.py"), "run", str(folder)]
        script.write_bytes(os.fsencode(f"#!/bin/sh\nexec {' '.join(map(shlex.quote, words))}\n"))
        script.chmod(0o755)
        template = os.fsdecode(_SUBMIT.read_bytes()).splitlines()
        lines = [line for line in template if line.strip() and not line.startswith("#")]
        line = "\n".join(lines).replace("{command}", shlex.quote(str(script)))
        done = subprocess.run(["/bin/sh", "-c", line], cwd=folder, stdin=subprocess.DEVNULL, check=False)
        until = time.monotonic() + _SECONDS_FOR_FILES
        while not (folder / "status.json").read_bytes().strip():
            if done.returncode and time.monotonic() > until:
                said = (folder / "keeper.log").read_text(errors="replace").strip().splitlines()
                last = f": {said[-1]}" if said else ""
                text = f"The line in ~/.cryotrans/submit ended with status {done.returncode}{last}"
                _write_status(folder, {"exit": done.returncode, "submit": text})
                return
            time.sleep(1)


def run(folder: Path) -> None:
    command = json.loads((folder / "command.json").read_bytes())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if sys.platform == "darwin":
        environment["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"
    try:
        with (folder / "errors").open("ab") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder.parent / "run",
                env=environment,
            )
    except OSError as error:
        _write_status(folder, {"exit": 127, "submit": f"{command[0]} cannot be started: {error.strerror}"})
        return
    assert process.stdin is not None and process.stdout is not None
    kept_back: list[bytes] = []
    copying = threading.Thread(target=_copy, args=(process.stdout, folder / "output", kept_back))
    copying.start()
    asked = 0.0
    while process.poll() is None:
        if not asked and (folder / "stop").exists():
            asked = time.monotonic()
            process.stdin.close()
        if asked and time.monotonic() - asked > _SECONDS_TO_SAVE:
            process.kill()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    copying.join()
    rest = [line.decode(errors="replace") for line in kept_back]
    _write_status(folder, {"exit": process.returncode, "rest": rest})


def _copy(source: BinaryIO, path: Path, kept_back: list[bytes]) -> None:
    """Add each line to a file, whole; what the disk does not take is kept back, the latest of it."""
    with path.open("ab", buffering=0) as file:
        while line := source.readline(_LONGEST_LINE):
            kept_back.append(line if line.endswith(b"\n") else line + b"\n")
            while kept_back and _add(file, kept_back[0]):
                del kept_back[0]
            while sum(map(len, kept_back)) > _MOST_KEPT_BACK:
                del kept_back[0]


def _add(file: Any, line: bytes) -> bool:
    """Whether a line could be added, all of it."""
    began = os.fstat(file.fileno()).st_size
    done = 0
    try:
        while done < len(line):
            done += file.write(line[done:])
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(began)
        return False
    return True


def _write_status(folder: Path, status: dict[str, Any]) -> None:
    """In place, which takes no room on the disk."""
    with (folder / "status.json").open("r+b") as file:
        file.write(json.dumps(status).encode()[:_STATUS_SIZE].ljust(_STATUS_SIZE))


if __name__ == "__main__":
    {"keep": keep, "run": run}[sys.argv[1]](Path(sys.argv[2]))
