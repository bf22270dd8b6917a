"""What a program prints, taken in bit by bit, whatever it is: garbage, or a line without an end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

LONGEST_LINE = 1 << 20  # bytes; what is longer comes in pieces, none of which is a message
_TAIL = 1 << 16  # bytes of a log in which the cause of a failure is looked for


def lines_of(stream: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Its lines, and whether each is whole; what is longer than LONGEST_LINE comes in pieces."""
    inside = False  # of a line that is too long
    while piece := stream.readline(LONGEST_LINE):
        ends = piece.endswith(b"\n")
        yield piece, not inside and (ends or len(piece) < LONGEST_LINE)
        inside = not ends


def tail_of(path: Path, began: int) -> str:
    """The end of what has been added to a log since it had so many bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(began, path.stat().st_size - _TAIL))
            return file.read(_TAIL).decode(errors="replace")
    except OSError:
        return ""
