"""cryotrans arrows: from where density starts to where it ends."""

from __future__ import annotations

from typing import Any

from ..arrows import SPACING, arrows_of, draw_arrows, read_motion
from ..coloring import grid_of, map_path, place_of, subject_of
from .folders import folder_named
from .known_run import path_of_map

_ARROW_COLOR = (30, 30, 30, 255)  # r, g, b, a


def arrows(
    session: Any,
    maps: list[Any],
    run: str | None = None,
    spacing: float = SPACING,
    color: Any = None,
    scale: float = 1.0,
) -> Any:
    """Draw arrows from where the density of the initial map starts to where it ends."""
    subject = subject_of(session, maps, "initial", folder_named(run))
    start, end = read_motion(map_path(subject.run, "motion.npz"))
    tails, tips = arrows_of(start, end, spacing)
    place = place_of(grid_of(path_of_map(subject.run, "initial")), subject.like)
    rgba = color.uint8x4() if color is not None else _ARROW_COLOR
    return draw_arrows(session, f"Motion of {subject.run.title()}", tails, tips, place, spacing, scale, rgba)
