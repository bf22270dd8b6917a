"""How correlation, resolution and strain go while a training runs, drawn by matplotlib, which ChimeraX brings."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

from Qt.QtWidgets import QVBoxLayout, QWidget

_DRAWN = (("correlation", "Correlation"), ("resolution", "Resolution, Å"), ("strain", "Strain"))
_HEIGHT = 105  # pixels


class Curves:
    """Three small charts beside each other; nothing where matplotlib is missing."""

    def __init__(self) -> None:
        self.widget = QWidget()
        self.widget.setFixedHeight(_HEIGHT)
        self._layout = QVBoxLayout(self.widget)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._figure: Any = None
        self.canvas: Any = None
        self._shown: Sequence[Mapping[str, Any]] = ()

    def show(self, checkpoints: Sequence[Mapping[str, Any]]) -> None:
        """Draw what has been measured so far, in the colours that the panel has now."""
        self._shown = checkpoints
        there = [message for message in checkpoints if "correlation" in message]
        if len(there) < 2 or importlib.util.find_spec("matplotlib") is None:
            self.widget.hide()
            return
        if self.canvas is None:
            from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
            from matplotlib.figure import Figure

            self._figure = Figure(figsize=(4, 1.05), dpi=100)
            self.canvas = FigureCanvasQTAgg(self._figure)
            self._layout.addWidget(self.canvas)
        palette = self.widget.palette()
        ink, paper = palette.text().color().name(), palette.window().color().name()
        self._figure.clear()
        self._figure.set_facecolor(paper)
        for place, (key, title) in enumerate(_DRAWN, start=1):
            axes = self._figure.add_subplot(1, 3, place)
            values = [message.get(key) for message in there]
            points = [
                (message["step"], value)
                for message, value in zip(there, values)
                if isinstance(value, (int, float)) and math.isfinite(value)
            ]
            if points:
                axes.plot(*zip(*points), linewidth=1.2, color="#2b7fd4")
            axes.set_title(title, fontsize=7, color=ink)
            axes.tick_params(labelsize=6, colors=ink, length=2)
            axes.set_facecolor(paper)
            axes.spines[["top", "right"]].set_visible(False)
            axes.spines[["left", "bottom"]].set_color(ink)
        self._figure.subplots_adjust(left=0.08, right=0.98, bottom=0.2, top=0.8, wspace=0.35)
        self.canvas.draw_idle()
        self.widget.show()

    def color(self) -> None:
        """Take on other colours of the panel."""
        self.show(self._shown)
