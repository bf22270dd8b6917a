"""A window for tests: PyQt6 without a screen, and as much of `chimerax.ui` as a tool needs to stand in it.

ChimeraX's `Qt` is a layer over PyQt6 whose names are those of PyQt6; here it is PyQt6 itself.  Of `chimerax.ui`, which
the libraries of PyPI lack, `MainToolWindow` is made up: it proves nothing of docking and of closing.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from typing import Any

_MODULES = ("QtCore", "QtGui", "QtWidgets")
_kept: list[Any] = []  # the application, which ends when nobody holds it


def application() -> Any:
    """The one QApplication of this process.

    Raises:
        ImportError: PyQt6, or a library of the system that it needs, is not here.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    widgets = importlib.import_module("PyQt6.QtWidgets")
    names = types.ModuleType("Qt")
    for name in _MODULES:
        sys.modules[f"Qt.{name}"] = importlib.import_module(f"PyQt6.{name}")
        setattr(names, name, sys.modules[f"Qt.{name}"])
    sys.modules.setdefault("Qt", names)
    ui = types.ModuleType("chimerax.ui")
    ui.MainToolWindow = MainToolWindow  # type: ignore[attr-defined]
    sys.modules.setdefault("chimerax.ui", ui)
    if not _kept:
        _kept.append(widgets.QApplication.instance() or widgets.QApplication([]))
    return _kept[0]


def withdraw() -> None:
    """Take the modules away again: to the rest of ChimeraX there is no window."""
    for name in ("chimerax.ui", "Qt", *(f"Qt.{name}" for name in _MODULES)):
        sys.modules.pop(name, None)


class MainToolWindow:
    """A window of its own in the place of a docked one."""

    def __init__(self, tool: Any) -> None:
        from PyQt6.QtWidgets import QWidget

        self.tool_instance = tool
        self.ui_area = QWidget()
        self.shown = False

    def manage(self, placement: str | None = None) -> None:
        self.shown = True
        self.ui_area.resize(480, 700)
        self.ui_area.show()
