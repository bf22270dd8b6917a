"""Types of arguments that several commands take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chimerax.core.commands import (
    Annotation,
    AnnotationError,
    BoolArg,
    Bounded,
    EnumOf,
    FloatArg,
    FloatsArg,
    IntArg,
    OpenFileNameArg,
    OpenFolderNameArg,
    Or,
    SaveFolderNameArg,
    StringArg,
    TupleOf,
    next_token,
)
from chimerax.core.errors import UserError
from chimerax.map.mapargs import MapArg, MapsArg
from chimerax.map_series import MapSeries

from ...engine.options.option import Option
from ..masks import MaskArg
from ..remote.machines import remote_in
from ..riders import RIGID, StructureToCarryArg
from ..segments import SegmentsArg

_ID = r"\d+(?:\.\d+)*"  # of a model, as 2 or 2.1


class DeviceArg(Annotation):
    """auto, cpu, mps, cuda, cuda:N or several GPUs, cuda:0,1; or a machine that ssh knows, ssh:MACHINE/cuda:1."""

    name = "one of 'auto', 'cpu', 'cuda', 'cuda:N', 'cuda:0,1', 'mps' or 'ssh:MACHINE'"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[str, str, str]:
        if not text:
            raise AnnotationError(f"Expected {cls.name}")
        token, text, rest = next_token(text)
        if not re.fullmatch(r"auto|cpu(,cpu)*|mps|cuda(:\d+(,\d+)*)?", token) and remote_in(token) is None:
            raise AnnotationError(f"Expected {cls.name}, got '{token}'")
        return token, text, rest


class PythonArg(OpenFileNameArg):
    """The file of a Python, of this machine or, as typed, of another."""

    name = "the file of a Python"
    check_existence = False

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[str, str, str]:
        typed = StringArg.parse(text, session)
        return OpenFileNameArg.parse(text, session) if typed[0] in ("browse", "browser") else typed


class OneMapArg(MapArg):
    """One map; a whole series is told how to name a frame."""

    @staticmethod
    def parse(text: str, session: Any) -> tuple[Any, str, str]:
        maps, used, rest = MapsArg.parse(text, session)
        _refuse_series(maps, used)
        return MapArg.parse(text, session) if len(maps) != 1 else (maps[0], used, rest)


def _refuse_series(maps: list[Any], used: str) -> None:
    """A series by its own number stands for all of its frames, which nobody means."""
    typed = re.findall(rf"#!?({_ID})", used)
    for series in {volume.parent for volume in maps if isinstance(volume.parent, MapSeries)}:
        if series.id_string in typed and len(series.maps) > 1:
            last = next(frame for frame in reversed(series.maps) if frame is not None)
            raise UserError(
                f"#{series.id_string} {series.name} is a series of {len(series.maps)} frames, where one map is wanted. "
                f"Name a frame, such as #{last.id_string}."
            )


class MapsInOrderArg(Annotation):
    """One map or several, models by their numbers in the order typed: #4,2,3 is #4, then #2, then #3."""

    name = "a density map specifier, or several in order"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[list[Any], str, str]:
        maps, used, rest = MapsArg.parse(text, session)
        _refuse_series(maps, used)
        if re.fullmatch(rf"#!?{_ID}([,#]+{_ID})+", used.strip()):
            numbers = re.findall(_ID, used)
            maps = [MapArg.parse(f"#{number}", session)[0] for number in numbers]
        if not maps:
            raise UserError("Must specify one map or more, got 0")
        return maps, used, rest


COUNT = Bounded(IntArg, min=1)
POSITIVE = Bounded(FloatArg, min=0, inclusive=False)
FRAMES = Bounded(IntArg, min=2, max=10_000)
PIXELS = TupleOf(Bounded(IntArg, min=2, max=16_384), 2)  # formats halve the resolution of colours


def keywords_of(options: Mapping[str, Option]) -> list[tuple[str, Any]]:
    """The keywords of a command, with the types of their arguments, from a table of options."""
    return [(about.keyword, _argument_of(about)) for about in options.values() if about.keyword is not None]


def _argument_of(about: Option) -> Any:
    if about.keyword in _OWN:
        return _OWN[about.keyword]
    if about.choices:
        return EnumOf(about.choices)
    if about.kind in (int, float):
        return _bounded(about)
    return {bool: BoolArg, str: StringArg, "file": OpenFileNameArg, "folder": SaveFolderNameArg, "times": FloatsArg}[
        about.kind
    ]


def _bounded(about: Option) -> Any:
    """ChimeraX's bounds are both included or both not; where they differ, the worker says what is left to say."""
    kind = IntArg if about.kind is int else FloatArg
    lower, upper = (about.least, about.most) if about.above is None else (about.above, about.below)
    if lower is None and upper is None:
        return kind
    limits = {name: about.kind(value) for name, value in (("min", lower), ("max", upper)) if value is not None}
    return Bounded(kind, **limits, inclusive=about.above is None)


_OWN = {
    "steps": COUNT,
    "device": DeviceArg,
    "half_maps": MapsInOrderArg,
    "domains": Or(COUNT, SegmentsArg, name=f"a number, {SegmentsArg.name}"),
    "mask": MaskArg,
    "to_mask": MaskArg,
    "relative_to": MaskArg,
    "run": OpenFolderNameArg,
    "model": StructureToCarryArg,
    "rigid": EnumOf(RIGID),
    "checkpoint": Or(EnumOf(("best", "last")), Bounded(IntArg, min=0), name="best, last, or a number from 0"),
}
