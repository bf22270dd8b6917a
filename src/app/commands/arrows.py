"""cryotrans arrows: from where density starts to where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrows import SHORTEST, SPACING, arrows_of, draw_arrows, read_motion
from ..coloring import grid_of, map_path, place_of, subject_of
from ..volumes import model_text
from .folders import folder_named
from .known_run import path_of_map

_ARROW_COLOR = (255, 170, 0, 255)  # r, g, b, a; stands out from black, from white and from a grey map


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
    model = draw_arrows(session, f"Motion of {subject.run.title()}", tails, tips, place, spacing, scale, rgba)
    lengths = np.linalg.norm(tips - tails, axis=1)
    n_drawn = int(np.count_nonzero(scale * lengths >= SHORTEST))
    lengthened = f", drawn {scale:g} times as long" if scale != 1 else ""
    session.logger.info(
        f"{model_text(model)}: {n_drawn} arrows, one for each {spacing:g} Å; the longest motion is "
        f"{lengths.max():.1f} Å{lengthened}."
    )
    return model
