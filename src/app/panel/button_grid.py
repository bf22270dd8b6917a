"""Buttons in as many columns as there is room for: a panel docked at the side is narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from Qt.QtCore import QSize
from Qt.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

_MOST_COLUMNS = 3


class ButtonGrid(QWidget):  # type: ignore[misc] # Qt has no types here
    """Never wider than its widest button has to be."""

    def __init__(self, before: QWidget | None = None) -> None:
        """
        Args:
            before: a widget that the Tab key leaves for the first button; by default those made before these.
        """
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self._before = before
        self.buttons: list[Any] = []
        self._columns = 0

    def add(self, text: str, help: str, act: Callable[[], Any]) -> Any:
        button = QPushButton(text)
        button.setToolTip(help)
        button.clicked.connect(lambda _=False: act())
        before = self.buttons[-1] if self.buttons else self._before
        self.buttons.append(button)
        self._columns = 0
        self._lay_out()
        if before is not None:
            QWidget.setTabOrder(before, button)
        return button

    def clear(self) -> None:
        for button in self.buttons:
            button.setParent(None)
            button.deleteLater()
        self.buttons = []

    def minimumSizeHint(self) -> Any:
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), self._widest()), hint.height())

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._lay_out()

    def _widest(self) -> int:
        return max((button.sizeHint().width() for button in self.buttons), default=0)

    def _lay_out(self) -> None:
        gap = self._grid.spacing()
        columns = (self.width() + gap) // (self._widest() + gap)
        columns = max(1, min(_MOST_COLUMNS, columns))
        if columns != self._columns:
            self._columns = columns
            for number, button in enumerate(self.buttons):
                self._grid.addWidget(button, number // columns, number % columns)
            for column in range(_MOST_COLUMNS):
                self._grid.setColumnStretch(column, 1 if column < columns else 0)
