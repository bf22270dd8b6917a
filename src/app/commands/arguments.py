"""Types of arguments that several commands take."""

from __future__ import annotations

import re
from typing import Any

from chimerax.core.commands import Annotation, AnnotationError, Bounded, FloatArg, IntArg, TupleOf, next_token
from chimerax.core.errors import UserError
from chimerax.map.mapargs import MapArg, MapsArg


class DeviceArg(Annotation):
    """auto, cpu, mps, cuda or cuda:N."""

    name = "one of 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[str, str, str]:
        if not text:
            raise AnnotationError(f"Expected {cls.name}")
        token, text, rest = next_token(text)
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", token):
            raise AnnotationError(f"Expected {cls.name}, got '{token}'")
        return token, text, rest


_ID = r"\d+(?:\.\d+)*"  # of a model, as 2 or 2.1


class MapsInOrderArg(Annotation):
    """One map or several, models by their numbers in the order typed: #4,2,3 is #4, then #2, then #3."""

    name = "a density map specifier, or several in order"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[list[Any], str, str]:
        maps, used, rest = MapsArg.parse(text, session)
        if re.fullmatch(rf"#!?{_ID}([,#]+{_ID})+", used.strip()):
            numbers = re.findall(_ID, used)
            maps = [MapArg.parse(f"#{number}", session)[0] for number in numbers]
        if not maps:
            raise UserError("Must specify one map or more, got 0")
        return maps, used, rest


COUNT = Bounded(IntArg, min=1)
POSITIVE = Bounded(FloatArg, min=0, inclusive=False)
NOT_NEGATIVE = Bounded(FloatArg, min=0)
SEED = Bounded(IntArg, min=0, max=2**63 - 1)
FRAMES = Bounded(IntArg, min=2, max=10_000)
PIXELS = TupleOf(Bounded(IntArg, min=2, max=16_384), 2)  # formats halve the resolution of colours
