"""JSON that others may have written: read, and held against a pattern of what is wanted.

A pattern is str, int, bool or float (int and float: numbers that are finite; float takes whole ones too), NUMBER (a
number or NaN), None, a compiled expression for a whole text, a function that is true of what fits, [pattern] for a list
of any length, (pattern, pattern, ...) for one of several, or a dict of patterns by key.  Keys that end in "?" may be
missing, keys that the pattern has not are let be, and the key ANY stands for every other one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Union

import numpy as np

Pattern = Union[type, None, "re.Pattern[str]", list, tuple, Mapping, Callable[[Any], bool]]

ANY = "*"
_DEEPEST = 200
_LARGEST = 2**53  # whole numbers beyond are no counts, and no float holds them


def read_json(path: Path, pattern: Pattern) -> Any:
    """What a file says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or does not fit the pattern; the text says where.
    """
    content = parsed(path.read_bytes())
    check(content, pattern)
    return content


def parsed(content: bytes) -> Any:
    """
    Raises:
        ValueError: it is no JSON.
    """
    # Not left to Python's own limit: who has raised that, as libraries do, would crash.
    if content.count(b"[") + content.count(b"{") > _DEEPEST and _depth(content) > _DEEPEST:
        raise ValueError("it is nested too deeply")
    return json.loads(content.decode("utf-8"))


def _depth(content: bytes) -> int:
    """How deep brackets lie in brackets; those in texts count too, so it may be more than it is."""
    characters = np.frombuffer(content, np.uint8)
    steps = np.isin(characters, np.frombuffer(b"[{", np.uint8)).astype(np.int32)
    steps -= np.isin(characters, np.frombuffer(b"]}", np.uint8))
    return int(np.cumsum(steps).max())


def check(value: Any, pattern: Pattern, place: str = "it") -> None:
    """
    Raises:
        ValueError: a value does not fit; the text says which.
    """
    if isinstance(pattern, dict):
        if not isinstance(value, dict):
            raise _misfit(place, value)
        for key, inner in pattern.items():
            name = key.rstrip("?")
            if key == ANY:
                named = {each.rstrip("?") for each in pattern}
                for other in set(value) - named:
                    check(value[other], inner, other)
            elif name in value:
                check(value[name], inner, name)
            elif not key.endswith("?"):
                raise ValueError(f"{name} is missing")
    elif isinstance(pattern, list):
        if not isinstance(value, list):
            raise _misfit(place, value)
        for each in value:
            check(each, pattern[0], place)
    elif isinstance(pattern, tuple):
        if not any(_fits(value, each) for each in pattern):
            raise _misfit(place, value)
    elif not _is(value, pattern):
        raise _misfit(place, value)


def NUMBER(value: Any) -> bool:
    """A number, or NaN where there was nothing to measure."""
    return _is(value, float) or (isinstance(value, float) and math.isnan(value))


def vector(value: Any) -> bool:
    """Three numbers."""
    return isinstance(value, list) and len(value) == 3 and all(_is(each, float) for each in value)


def count(value: Any) -> bool:
    """A whole number that is not negative."""
    return _is(value, int) and value >= 0


def _fits(value: Any, pattern: Pattern) -> bool:
    try:
        check(value, pattern)
    except ValueError:
        return False
    return True


def _is(value: Any, pattern: Any) -> bool:
    if pattern is None:
        return value is None
    if pattern is bool:
        return isinstance(value, bool)
    if pattern is str:
        return isinstance(value, str) and _can_be_said(value)
    if pattern in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
        return whole or (pattern is float and isinstance(value, float) and math.isfinite(value))
    if isinstance(pattern, re.Pattern):
        return isinstance(value, str) and pattern.fullmatch(value) is not None
    return bool(pattern(value))


def _can_be_said(text: str) -> bool:
    """Whether files and models may be called so; half a character of UTF-16, or a zero, is nobody's name."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _misfit(place: str, value: Any) -> ValueError:
    said = ascii(value)
    return ValueError(f"{place} is {said if len(said) < 40 else said[:40] + '…'}")
