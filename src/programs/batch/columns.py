"""The columns of a table of pairs: its own, and one for each option of the two programs.

An option's column is called as its long flag: `recipe`, `seed`, `n_steps`, `frames`.  Capitals do not count, and blank,
hyphen and underscore are one: "initial level", "initial-level".  Where both programs have an option of one name it is
the training's, and prediction does as the training did; where to compute, and whether to report, is told to both.
"""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from ...engine.errors import InputError
from ...engine.options.option import Option
from ...engine.options.prediction import PREDICTION
from ...engine.options.training import TRAINING

NAME, MEMORY, MINUTES = "name", "memory", "minutes"
OWN = {"initial_map": "initial", "target_map": "target", "initial_level": "initial level"}
OWN |= {"target_level": "target level"}
_LEFT_OUT = ("directory", "prefix", "resume", "overwrite", "progress", "stop_with_input", "run", "inverse")
_OF_TRAINING_ALONE = ("weight", "initial_map", "initial_level", "depth", "width", "conditioning")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


class Column(NamedTuple):
    """What a column is.

    Attributes:
        title: as it is written.
        option: the name of the option; "" for a column that is none.
        about: the option.
        trains, predicts: which programs are told.
    """

    title: str
    option: str = ""
    about: Option | None = None
    trains: bool = False
    predicts: bool = False


def _columns() -> dict[str, Column]:
    columns = {plain(title): Column(title) for title in (NAME, MEMORY, MINUTES)}
    for options, is_training in ((TRAINING, True), (PREDICTION, False)):
        for name, about in options.items():
            if name in _LEFT_OUT or (not is_training and name in _OF_TRAINING_ALONE):
                continue
            title = OWN.get(name, about.flags[-1].lstrip("-"))
            before = columns.get(plain(title), Column(title, name, about))
            columns[plain(title)] = before._replace(trains=True) if is_training else before._replace(predicts=True)
    return columns


def plain(title: str) -> str:
    """A title as titles are compared."""
    return re.sub(r"[\s_-]+", "-", title.strip().lower())


COLUMNS = _columns()


def titled(option: str) -> str:
    """How texts name an option to who writes a table."""
    return next((f"“{column.title}”" for column in COLUMNS.values() if column.option == option), f"“{option}”")


def column_of(title: str) -> Column:
    """
    Raises:
        InputError: there is no such column.
    """
    column = COLUMNS.get(plain(title))
    if column is None:
        near = difflib.get_close_matches(plain(title), COLUMNS, 1)
        hint = f" Is “{COLUMNS[near[0]].title}” meant?" if near else ""
        raise InputError(
            f"There is no column “{title.strip()}”.{hint} Columns are name, {', '.join(OWN.values())}, model, and "
            f"the long flags of cryotrans-train and cryotrans-predict."
        )
    return column


def value_of(column: Column, text: str, folder: Path) -> Any:
    """What a cell says, as the programs' parsers would have it; None for an empty one.

    Args:
        folder: from which relative paths lead.
    Raises:
        InputError: it is no such value.
    """
    about, text = column.about, text.strip()
    if not text or about is None:
        return text or None
    if about.kind is bool:
        if text.lower() not in _YES + _NO:
            raise InputError(f"“{column.title}” must be yes or no, not {text!r}.")
        return True if text.lower() in _YES else None
    if about.n_values > 1:
        words = [word.strip() for word in text.split(";")]
        if len(words) != about.n_values or not all(words):
            raise InputError(f"“{column.title}” takes {about.n_values} files with a semicolon between, not {text!r}.")
        return [_one(column, about, word, folder) for word in words]
    value = _one(column, about, text, folder)
    if about.kind in (int, float, str):
        about.check(column.option, value)
    return value


def _one(column: Column, about: Option, text: str, folder: Path) -> Any:
    if about.kind in ("file", "folder"):
        return str(folder / Path(text).expanduser())
    if about.kind == "times":
        return [_number(column, float, word, "numbers with commas between") for word in text.split(",")]
    if about.kind in (int, float):
        return _number(column, about.kind, text, "a whole number" if about.kind is int else "a number")
    return text


def _number(column: Column, kind: Any, text: str, wanted: str) -> Any:
    try:
        value = kind(text)
        if not math.isfinite(value):
            raise ValueError
        return value
    except ValueError as error:
        raise InputError(f"“{column.title}” must be {wanted}, not {text.strip()!r}.") from error
