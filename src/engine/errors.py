"""The one kind of error that is written for the user, and how texts for users name options.

The engine does not know how an option is typed: --lr in a shell, learningRate in ChimeraX.  It names the option, by
`named`, and each front end says the text in its own words, by `worded`.  In between the name stands between two
characters of Unicode's private use, which nobody's file names hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_OPEN, _CLOSE = "\ue000", "\ue001"
_LONGEST = 200  # characters
_NAMED = re.compile(f"{_OPEN}([a-z0-9_]+){_CLOSE}")


class InputError(ValueError):
    """Something that the user can mend: a file, a map, an option.

    Its text says what came, what is wanted and the way out, in a sentence or two that can be shown as it is.

    Attributes:
        marked: the text with its options as `named` gives them; str() gives their plain names.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.marked = text

    def __str__(self) -> str:
        return worded(self.marked, lambda name: name)


def first_line(error: BaseException) -> str:
    """What a library says of an error, in one line that is not too long: some quote all that they were given."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= _LONGEST else f"{lines[0][:_LONGEST]}…"


def named(option: str) -> str:
    """An option, by the name of its field in options.py, in a text that front ends are to word."""
    return f"{_OPEN}{option}{_CLOSE}"


def is_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python or of PyTorch, says that memory has run out, on a GPU or in the computer."""
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("out of memory", "allocat", "enough mem")
    )


def worded(text: str, word: Callable[[str], str]) -> str:
    """The text with each option that it names said by `word`."""
    return _NAMED.sub(lambda match: word(match[1]), text)
