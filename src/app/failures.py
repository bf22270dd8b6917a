"""From what a program left behind when it failed to one sentence that a user can act on."""

from __future__ import annotations

import re
import signal

_TAIL = 4000  # characters; the end of what was printed tells the cause

_KNOWN = (
    (
        r"out of memory|OutOfMemory|MemoryError|bad_alloc|can't allocate|cannot allocate",
        "There is not enough memory for this run, on the GPU or in the computer. Use binning 2, a higher level, a "
        "smaller width, or device cpu.",
    ),
    (
        r"No module named '(torch|numpy)",
        "The Python that is to run CryoTRANS has no PyTorch any more. Type: cryotrans install",
    ),
    (
        r"CUDA error|CUDA driver|cuDNN error|no kernel image|NVIDIA driver",
        "The GPU or its driver failed. Update the driver, or use device cpu.",
    ),
    (r"No space left|Make room on the disk", "The disk is full. Make room on it, or use another directory."),
    (
        r"Another program is training",
        "Another program, perhaps another ChimeraX, is training in this folder. Wait for it, or use another directory.",
    ),
)


def sentence_for(said: str | None, status: int, printed: str, asked_to_end: bool) -> str:
    """Why a program did not do its work, and what to do.

    Args:
        said: its own words, if it had any, in the words of the commands.
        status: its exit status; -n where signal n ended it.
        printed: all that it printed.
        asked_to_end: it had been asked to end.
    """
    for pattern, sentence in _KNOWN:
        if re.search(pattern, said if said is not None else printed[-_TAIL:], re.IGNORECASE):
            return sentence
    if said is not None:
        return said
    if asked_to_end:
        return "The worker was ended before it had saved."
    if status < 0 or status in (128 + 9, 128 + 15):
        number = -status if status < 0 else status - 128
        return (
            f"The worker was killed ({_signal_name(number)}). If nobody did so, the system may have run out of memory: "
            f"use binning 2 or a higher level, or close other programs."
        )
    lines = [line for line in printed.splitlines() if line.strip() and not line.startswith(("$ ", "{"))]
    last = f": {lines[-1].strip()}" if lines else ""
    return f"The worker crashed (exit status {status}){last}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
