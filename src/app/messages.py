"""The worker's lines: which of them are messages that the bundle can take up, see docs/progress.md.

A line that is none, or says something else than it should, is the output of whatever else runs there, and goes into the
log alone.
"""

from __future__ import annotations

from typing import Any

from ..engine.files.patterns import NUMBER, Pattern, check, count, parsed

Message = dict[str, Any]

_LEG: dict[str, Pattern] = {"leg?": count, "n_legs?": count}
_SAID: dict[str, Pattern] = {"text": str, "marked?": str, **_LEG}
_ATOMS: Pattern = {
    "path": str,
    "n_atoms": count,
    "n_outside": count,
    "bond_deviation": [(NUMBER, None)],
    "angle_deviation": [(NUMBER, None)],
}
_VERDICT: Pattern = {"word": str, "reasons?": [str], "advice?": [str]}
_END: dict[str, Pattern] = {"state": str, "text?": str, "mass_outside": NUMBER, **_LEG}
_PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "program": ({"version": str},),
    "note": (_SAID,),
    "warning": (_SAID,),
    "error": (_SAID,),
    "start": ({"device": str, "n_steps": count, **_LEG}, {"device": str, "n_frames": count}),
    "step": ({"step": count, "seconds_left": float, **_LEG},),
    "checkpoint": ({"step": count, "seconds": float, **_LEG},),
    "frame": ({"number": count},),
    "end": (
        {**_END, "step": count, "n_steps": count, "loss": NUMBER, "seconds": float, "verdict?": (_VERDICT, None)},
        {**_END, "directory": str, "files": [str], "atoms?": _ATOMS},
    ),
}


def message_of(line: bytes) -> Message | None:
    """The message that a line holds, None if it is something else; of events that are not known, as it is."""
    try:
        message: Message = parsed(line)
        check(message, {"event": str})
        check(message, _PATTERNS.get(message["event"], {}))
    except ValueError:
        return None
    return message
