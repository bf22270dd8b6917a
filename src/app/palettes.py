"""Which colours a map of a run is shown in, and over which range.

displacement.mrc    how far the density there moves from start to end, Å
strain.mrc          how much its surroundings change shape, 0 where they move as one rigid body
volume_change.mrc   det F, how much its surroundings grow, 1 where they do not
without_partner.mrc 1 in parts of the initial map that have no partner in the target, -1 in such of the target
confidence.mrc      how far to believe the morph there, from 0 to 1
witness.mrc         Å, where docked pieces doubt the flow: how far away they fit better
residual.mrc        density of the target that no motion explains, map units of the target
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from chimerax.core.commands import Annotation, ColormapArg
from chimerax.core.errors import UserError
from chimerax.map import Volume

from .markup import quoted

_STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)  # at which a range may end
_PERCENTILE = 98  # of the values on the surface: a few odd ones do not take the colours from all others


class Measure(NamedTuple):
    """One map of a run, and how it is shown.

    Attributes:
        file: its name in the run's folder.
        title: of the colour key, with the unit.
        colors: at equal distances over the range.
        middle: what the middle colour stands for; None for a range that begins with zero.
        end: what the last colour stands for; None for what the values on the surface say.
    """

    file: str
    title: str
    colors: tuple[str, ...]
    middle: float | None = None
    end: float | None = None


MEASURES = {
    "displacement": Measure("displacement.mrc", "Displacement (Å)", ("#f0f0f0", "#fdbb63", "#e0452b", "#7a0020")),
    "strain": Measure("strain.mrc", "Strain (0: rigid)", ("#f0f0f0", "#a9c4e0", "#8362b0", "#43054f")),
    "volume": Measure("volume_change.mrc", "Volume change (1: none)", ("#2a62b0", "#f4f4f4", "#b5402a"), 1.0),
    "partner": Measure("without_partner.mrc", "No partner (1)", ("#f4f4f4", "#f4f4f4", "#d9772b")),
    "witness": Measure("witness.mrc", "Docked elsewhere (Å)", ("#f4f4f4", "#e08214", "#7f2704")),
    "confidence": Measure("confidence.mrc", "Confidence (1: full)", ("#5a1a00", "#e08214", "#f4f4f4"), end=1.0),
    "residual": Measure(
        "residual.mrc", "Unexplained density (+ missing, − too much)", ("#7b3f98", "#f4f4f4", "#1f7f44"), 0.0
    ),
}


class Palette(NamedTuple):
    """A palette of ChimeraX, and what the user typed."""

    text: str
    has_values: bool


class PaletteArg(Annotation):
    """A palette as `color sample` takes it."""

    name = ColormapArg.name

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[Palette, str, str]:
        colormap, used, rest = ColormapArg.parse(text, session)
        return Palette(quoted(used), colormap.values_specified), used, rest


def check_limits(limits: tuple[float, float], measure: Measure | None) -> None:
    low, high = limits
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"A range of {low:g},{high:g} cannot be used: the smaller value comes first.")
    if measure is not None and measure.middle is not None and not low < measure.middle < high:
        raise UserError(
            f"A range of {low:g},{high:g} leaves out {measure.middle:g}, the middle of the palette. Widen it, or give "
            "a palette."
        )


def palette_text(
    values: Volume, surfaces: list[Any], measure: Measure, palette: Palette | None, limits: tuple[float, float] | None
) -> str:
    """What `color sample` takes after the word palette."""
    if limits is None:
        if palette is not None and palette.has_values:
            return palette.text
        limits = (0.0, measure.end) if measure.end is not None else _limits(values, surfaces, measure.middle)
    low, high = limits
    if palette is not None:
        return f"{palette.text} range {low:.6g},{high:.6g}"
    n = len(measure.colors)
    stops = np.linspace(low, high, n) if measure.middle is None else (low, measure.middle, high)
    return ":".join(f"{stop:.6g},{color}" for stop, color in zip(stops, measure.colors))


def _limits(values: Volume, surfaces: list[Any], middle: float | None) -> tuple[float, float]:
    """Of the values on the surfaces; from zero, or equally far to both sides of the middle."""
    found = [values.interpolated_values(surface.vertices, surface.scene_position) for surface in surfaces]
    zero = 0.0 if middle is None else middle
    reach = float(np.percentile(np.abs(np.concatenate(found) - zero), _PERCENTILE))
    reach = _round(max(reach, 1e-3 * abs(zero)) or 1.0)
    return (zero if middle is None else zero - reach), zero + reach


def _round(reach: float) -> float:
    """A number of one or two digits near it, a little above rather than below."""
    size: float = 10.0 ** math.floor(math.log10(reach))
    return (
        next(step for step in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if step >= 0.97 * reach / size) * size
    )


def key_labels(stops: Sequence[float]) -> list[str]:
    """What a colour key says beside colours that stand for these values: no more than it needs to be read.

    At equal distances the first, the last, and one in the middle; else all, since then they say where colours lie.
    """
    texts = [f"{stop:.3g}" for stop in stops]
    distances = np.diff(stops)
    if len(stops) > 3 and np.allclose(distances, distances[0], rtol=1e-3):
        last = len(stops) - 1
        return [text if i in (0, last) or 2 * i == last else "" for i, text in enumerate(texts)]
    return texts
