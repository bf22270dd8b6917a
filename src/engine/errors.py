"""The one kind of error that is written for the user."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user can mend: a file, a map, an option.

    Its text says what came, what is wanted and the way out, in a sentence or two that can be shown as it is.
    """
