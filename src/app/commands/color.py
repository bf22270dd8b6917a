"""cryotrans color: a surface by where it moves, and how far to believe it."""

from __future__ import annotations

from typing import Any

from ..coloring import color_surface, subject_of
from ..palettes import Palette
from .folders import folder_named


def color(
    session: Any,
    maps: list[Any],
    by: str = "displacement",
    run: str | None = None,
    palette: Palette | None = None,
    range: tuple[float, float] | None = None,
    key: bool = True,
) -> Any:
    """Color a map by one of the maps that its run has left; returns that map, which is open and hidden."""
    end = "target" if by == "residual" else "initial"
    subject = subject_of(session, maps, end, folder_named(run))
    return color_surface(session, subject, by, palette, range, key)
