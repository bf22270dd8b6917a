"""One option: what stands in the tables of options about it, and what follows from that.

Front ends make from it what is typed: the programs their flags, ChimeraX its keywords, both their help and their
bounds.  An option is the field of a dataclass; its metadata hold the `Option`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, named

_FAR_BEYOND_USE = 1e7  # a bound so large is there against faults, not for users


@dataclass(frozen=True)
class Option:
    """What there is to say of an option.

    Attributes:
        kind: int, float or bool; str for a word; "file", "folder", "times" for what their names say.
        flags: of the programs, the one that messages name first.
        help: for --help.
        keyword: of the ChimeraX commands, as their functions have it; None where the command has no such thing.
        spoken: what messages call it, "learning rate".
        metavar: stands for the value in --help.
        choices: the words that it takes.
        least, above, most, below: bounds of a number, `least` and `most` included.
        unit: after the bounds in messages.
        several: may be given several times.
        n_values: that follow the flag.
        by_hand: a recipe that chooses for itself chooses this too.
        on_resume: same, it must be as the run was begun; free, it may be another.
    """

    kind: Any
    flags: tuple[str, ...]
    help: str
    keyword: str | None = None
    spoken: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    unit: str = ""
    several: bool = False
    n_values: int = 1
    by_hand: bool = False
    on_resume: str = "same"

    @property
    def flag(self) -> str:
        return self.flags[0]

    @property
    def typed_keyword(self) -> str | None:
        """As it is typed in ChimeraX, "learningRate"."""
        if self.keyword is None:
            return None
        first, *others = self.keyword.split("_")
        return first + "".join(word.capitalize() for word in others)

    def check(self, name: str, value: Any) -> None:
        """Say what is wrong with a value.

        Args:
            name: of the field.
            value: None where nothing was chosen, which is never wrong.
        Raises:
            InputError: a number out of its bounds, or a word that is none of the choices.
        """
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise InputError(
                f"The {self.spoken} ({named(name)}) must be one of {', '.join(self.choices)}, not {value!r}."
            )
        if self.kind in (int, float) and (isinstance(value, bool) or not isinstance(value, (int, self.kind))):
            what = "a whole number" if self.kind is int else "a number"
            raise InputError(f"The {self.spoken} ({named(name)}) must be {what}, not {value!r}.")
        if self.kind in (int, float) and not self._is_within(value):
            raise InputError(
                f"The {self.spoken} ({named(name)}) must be {self._bounds_text(value)}, not {_number(value)}."
            )

    def _is_within(self, value: float) -> bool:
        bounds = (self.least, self.above, self.most, self.below)
        return all(bound is None for bound in bounds) or (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def _bounds_text(self, value: float) -> str:
        """What is wanted; a bound far beyond use is said only of a value that passes it."""
        unit = f" {self.unit}" if self.unit else ""
        most = self.most
        if most is not None and most >= _FAR_BEYOND_USE:
            if value > most:
                return f"{_number(most)}{unit} or less"
            most = None
        if self.least is not None:
            return (
                f"from {_number(self.least)} to {_number(most)}{unit}"
                if most is not None
                else f"{_number(self.least)}{unit} or more"
            )
        bounds = (("above", self.above), ("at most", most), ("below", self.below))
        return " and ".join(f"{word} {_number(bound)}{unit}" for word, bound in bounds if bound is not None)


def option(default: Any, kind: Any, *flags: str, help: str = "", **about: Any) -> Any:
    """The field of a dataclass that is an option; `about` as the attributes of `Option`."""
    metadata = {"option": Option(kind, flags, help, **about)}
    if default is dataclasses.MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(table: Any) -> dict[str, Option]:
    """The options of a table, a dataclass, by the names of their fields."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(table) if "option" in f.metadata}


def check_each(chosen: Any) -> None:
    """Check the values of a table that has been filled in, a dataclass.

    Raises:
        InputError: see `Option.check`.
        TypeError: there is none of an option that has a default; users do not come to that.
    """
    for name, about in options_of(type(chosen)).items():
        value = getattr(chosen, name)
        if value is None and getattr(type(chosen), name, None) is not None:
            raise TypeError(f"{name} is None")
        about.check(name, value)


def command_line(values: Mapping[str, object], options: Mapping[str, Option]) -> list[str]:
    """How a program is told these values: None and False are left out, True stands as its flag alone.

    Args:
        values: by the names of options; a list is given value by value with an option that may come several times,
            else as one word with commas.
        options: of the program.
    """
    words: list[str] = []
    for name, value in values.items():
        about = options[name]
        for one in _each(value) if about.several else [value]:
            if one is None or one is False:
                continue
            words.append(about.flag)
            if about.n_values > 1:
                words += map(_text, _each(one))
            elif one is not True:
                words.append(",".join(map(_text, _each(one))))
    return words


def _each(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else [value]


def _text(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 2**64 else f"{value:g}"
