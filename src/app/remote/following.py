"""What a program on another machine prints, line by line, whatever becomes of the connection.

Each line once and in order: we know how many bytes of whole lines have come, and ask anew from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .connection import Connection, Trouble

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # s, between tries to connect again; the last for ever


def follow(
    connection: Connection,
    folder: str,
    work: str,
    take: Callable[[bytes], None],
    pause: Callable[[Trouble, float], bool],
) -> dict[str, Any] | None:
    """Take in all that a program prints, to its end.

    Args:
        folder: of the run, there.
        work: the name of the program's folder in it.
        take: is given each line.
        pause: is told why there is no connection, waits so many seconds, and says whether to try again.
    Returns:
        How it ended: `state`, ended or else; `exit`, its status; `printed`, the end of what it printed on standard
        error.  None if `pause` said to leave it.
    Raises:
        Trouble: there is no connection, and it does not come back by itself.
    """
    offset = n_tries = 0
    while True:
        try:
            with connection.talk("follow", folder=folder, work=work, offset=offset) as talk:
                while True:
                    sign, line = talk.line()
                    n_tries = 0
                    if sign == b"=":
                        ended = talk.checked(line)
                        for late in ended.get("rest", ()):  # which that machine's disk did not take
                            take(late.encode())
                        return ended
                    offset += len(line)
                    take(line)
        except Trouble as trouble:
            if not trouble.passes:
                raise
            if not pause(trouble, PAUSES[min(n_tries, len(PAUSES) - 1)]):
                return None
            n_tries += 1
