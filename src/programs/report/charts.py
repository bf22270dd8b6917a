"""The charts of the report: SVG that matplotlib draws in colours which stand for those of the page's style sheet."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .contents import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _FIRST, _SECOND, _MARK = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_STYLE_OF = {_INK: "--ink", _FAINT: "--faint", _FIRST: "--first", _SECOND: "--second", _MARK: "--mark"}
_CHART = (4.7, 2.7)  # inches of 72 pixels
_MARGINS = {"left": 0.13, "right": 0.97, "bottom": 0.16, "top": 0.96}  # set: finding them takes as long as drawing
_MOST_VERTICES = 800  # of a line in a chart
_FEW = 40  # checkpoints whose dots can be told apart


def chart(title: str, draw: Callable[[Axes], None]) -> str:
    """One chart as a figure of HTML."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "cryotrans", "font.size": 8.5, "path.simplify": True}
    colours = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    settings |= dict.fromkeys(colours, _INK) | {"legend.frameon": False, "axes.linewidth": 0.6}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=_CHART)
        figure.subplots_adjust(**_MARGINS)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=_FAINT, linewidth=0.5)
        axes.set_axisbelow(True)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    for colour, variable in _STYLE_OF.items():
        svg = svg.replace(colour, f"var({variable})")
    return f"<figure><figcaption>{title}</figcaption>{svg}</figure>"


def draw_losses(axes: Axes, losses: Sequence[float], stages: Iterable[tuple[int, str]], step: int) -> None:
    values = np.asarray(losses, dtype=float)
    every = max(1, math.ceil(len(values) / _MOST_VERTICES))
    axes.plot(np.arange(len(values))[::every], values[::every], color=_FIRST, linewidth=1)
    if len(values) and values.min() > 0:
        axes.set_yscale("log")
    for begin, _ in stages:
        if begin:
            axes.axvline(begin, color=_INK, linewidth=0.7, linestyle=":", alpha=0.6)
    _mark(axes, step)


def draw_measures(axes: Axes, told: Run, names: Sequence[tuple[str, str]]) -> None:
    rows = told.rows[:: max(1, math.ceil(len(told.rows) / _MOST_VERTICES))]
    steps, drawn = [row.step for row in rows], 0
    for (name, label), colour in zip(names, (_FIRST, _SECOND)):
        values = [getattr(row, name) for row in rows]
        if not all(math.isnan(value) for value in values):
            dots = "." if len(rows) <= _FEW else None
            axes.plot(steps, values, color=colour, linewidth=1.2, marker=dots, markersize=4, label=label)
            drawn += 1
    if drawn > 1:
        axes.legend(fontsize=8)
    _mark(axes, told.row.step)


def _mark(axes: Axes, step: int) -> None:
    axes.axvline(step, color=_MARK, linewidth=1.2, linestyle="--")
    axes.set_xlabel("step")


def draw_shells(axes: Axes, told: Run) -> None:
    first, row = told.rows[0], told.row
    for step, colour in ((first.step, _SECOND), (row.step, _FIRST)):
        if step in told.curves:
            axes.plot(told.frequencies, told.curves[step], color=colour, linewidth=1.2, label=f"step {step}")
    axes.axhline(0.5, color=_MARK, linewidth=1, linestyle="--")
    axes.set_ylim(min(0.0, *axes.get_ylim()), 1.02)
    axes.set_xlim(0, None)
    axes.set_xlabel("resolution, Å")
    axes.xaxis.set_major_formatter(lambda value, _: f"{1 / value:.3g}" if value > 0 else "∞")
    axes.legend(fontsize=8)


def draw_histogram(axes: Axes, values: np.ndarray, weights: np.ndarray, mark: float | None) -> None:
    finite = np.isfinite(values)
    low, high = np.percentile(values[finite], (0.2, 99.8)) if finite.any() else (0.0, 1.0)
    if mark is not None:
        low, high = min(low, mark - 0.5), max(high, mark + 0.5)
    clipped = np.clip(values[finite], low, high)
    shares = weights[finite] / weights.sum()
    axes.hist(
        clipped, bins=48, range=(min(low, 0.0), high) if mark is None else (low, high), weights=shares, color=_FIRST
    )
    if mark is not None:
        axes.axvline(mark, color=_MARK, linewidth=1.2, linestyle="--")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value >= 0.01 or value == 0 else f"{value:.1%}")
