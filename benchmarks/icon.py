"""Draw the icon of the toolbar's button, src/icons/cryotrans.png: `python benchmarks/icon.py FILE`."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

_PIXELS = 96
_COLORS = ("#2b6fc2", "#8a7fb0", "#e08214")  # initial, on the way, target
_TURNS = (0.0, 28.0, 56.0)  # degrees that the upper lobe has turned


def _lobe(x: float, y: float, length: float, width: float, turn: float) -> np.ndarray:
    """The outline of an ellipse with one end at (x, y), (n, 2)."""
    t = np.linspace(0, 2 * np.pi, 80)
    points = np.stack([length / 2 * (1 + np.cos(t)), width / 2 * np.sin(t)], axis=1)
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ rotation.T + (x, y)


def draw(path: str) -> None:
    """A molecule of two lobes, of which one turns."""
    matplotlib.use("Agg")
    figure = Figure(figsize=(1, 1), dpi=_PIXELS)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.axis("off")
    for color, turn in zip(_COLORS, _TURNS):
        axes.add_patch(Polygon(_lobe(0.42, 0.42, 0.56, 0.24, 100 - turn), color=color, alpha=0.9, linewidth=0))
    axes.add_patch(Polygon(_lobe(0.62, 0.50, 0.58, 0.36, 215), color="#5a6472", linewidth=0))
    figure.savefig(path, transparent=True)


if __name__ == "__main__":
    draw(sys.argv[1])
