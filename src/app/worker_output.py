"""What a program prints, taken in bit by bit, whatever it is: garbage, or a line without an end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

Message = dict[str, Any]

LONGEST_LINE = 1 << 20  # bytes; what is longer comes in pieces, none of which is a message
_TAIL = 1 << 16  # bytes of a log in which the cause of a failure is looked for

_NUMBER = (int, float)
# What the bundle reads of each message (docs/progress.md); of `end`, by what ends.
_NEEDED: Mapping[str, Mapping[str, Any]] = {
    "program": {"version": str},
    "note": {"text": str},
    "warning": {"text": str},
    "error": {"text": str},
    "start": {"device": str},
    "step": {"step": int, "seconds_left": _NUMBER},
    "checkpoint": {"step": int, "seconds": _NUMBER},
    "frame": {"number": int},
    "end": {"state": str},
}
_MAY_BE_MISSING: Mapping[str, Any] = {"verdict": dict, "atoms": dict, "best": dict}
_OF_TRAINING = {"step": int, "n_steps": int, "loss": _NUMBER, "seconds": _NUMBER, "mass_outside": _NUMBER}
_OF_PREDICTION = {"directory": str, "files": list, "mass_outside": _NUMBER}


def lines_of(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Its lines, and whether each is whole; what is longer than LONGEST_LINE comes in pieces."""
    inside = False  # of a line that is too long
    while piece := stream.readline(LONGEST_LINE):
        ends = piece.endswith(b"\n")
        yield piece, not inside and (ends or len(piece) < LONGEST_LINE)
        inside = not ends


def message_in(line: bytes) -> Message | None:
    """The message of a worker that a line holds, with all that is read of it; None if it is something else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("event"), str):
        return None
    needed = dict(_NEEDED.get(message["event"], {}))
    if message["event"] == "end":
        needed |= _OF_TRAINING if "step" in message else _OF_PREDICTION
    if "leg" in message:
        needed |= {"leg": int, "n_legs": int}
    needed |= {name: kind for name, kind in _MAY_BE_MISSING.items() if message.get(name) is not None}
    return message if all(isinstance(message.get(name), kind) for name, kind in needed.items()) else None


def tail_of(path: Path, began: int) -> str:
    """The end of what has been added to a log since it had so many bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(began, path.stat().st_size - _TAIL))
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""
