"""Widgets of the panel that know nothing of training: a menu of maps, a form of options, what comes after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from Qt.QtCore import Qt
from Qt.QtGui import QImage, QPixmap
from Qt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .button_grid import ButtonGrid
from .content import PICTURE, Button, Field, map_text, picture_of

_WORDS = {  # on a light ground, as in the report, and on a dark one
    "good": ("#1d7d46", "#5fd08a"),
    "doubtful": ("#a56a00", "#e8b04b"),
    "poor": ("#b3261e", "#ff8a80"),
}
_FORM_HEIGHT = 210  # pixels; the rest is scrolled


class Scrolled(QScrollArea):  # type: ignore[misc] # Qt has no types here
    """What is taller than the panel is scrolled, so that a long panel does not push the window off the screen."""

    def __init__(self, least: int, wanted: int) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setMinimumHeight(least)
        self._wanted = wanted

    def sizeHint(self) -> Any:
        hint = super().sizeHint()
        hint.setHeight(self._wanted)
        return hint


class MapMenu:
    """A picture of a map and a menu of all that are open."""

    def __init__(self, title: str, help: str, chosen: Callable[[Any], None]) -> None:
        self.widget = QWidget()
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        self.picture = QLabel()
        self.picture.setFixedSize(PICTURE, PICTURE)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        row.addWidget(self.picture)
        column = QVBoxLayout()
        column.setSpacing(1)
        label = QLabel(f"<b>{title}</b>")
        self.menu = QComboBox()
        self.menu.setToolTip(help)
        self.menu.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)  # long names do not widen it
        self.menu.setMinimumWidth(120)
        self.menu.activated.connect(self._on_activated)
        label.setBuddy(self.menu)
        column.addStretch(1)
        column.addWidget(label)
        column.addWidget(self.menu)
        column.addStretch(1)
        row.addLayout(column, 1)
        self._chosen, self._maps = chosen, []  # type: ignore[var-annotated]
        self.look: Any = None  # of what the picture shows

    def show(self, maps: Sequence[Any], present: Any) -> None:
        """Bring it up to the maps that are open, one of them chosen."""
        texts = [map_text(volume) for volume in maps]
        if texts != [self.menu.itemText(i) for i in range(self.menu.count())]:
            self.menu.clear()
            self.menu.addItems(texts)
        self._maps = list(maps)
        at = self._maps.index(present) if present in self._maps else -1
        if self.menu.currentIndex() != at:
            self.menu.setCurrentIndex(at)
        look = None if present is None else (present, texts[at], tuple(s.rgba for s in present.surfaces))
        if look != self.look:
            self.look = look
            self._draw(present)

    def _on_activated(self, index: int) -> None:
        self._chosen(self._maps[index])

    def _draw(self, volume: Any) -> None:
        if volume is None:
            self.picture.clear()
            return
        pixels = picture_of(volume)
        height, width, _ = pixels.shape
        image = QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888)
        how = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        self.picture.setPixmap(QPixmap.fromImage(image.copy()).scaled(PICTURE, PICTURE, *how))


class Folded:
    """A title that opens what is below it."""

    def __init__(self, title: str, inside: Any, opened: Callable[[], None] | None = None) -> None:
        self.widget = QWidget()
        column = QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setCheckable(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setAutoRaise(True)
        self.button.toggled.connect(self.open)
        column.addWidget(self.button)
        column.addWidget(inside)
        self._inside, self._opened = inside, opened
        self.open(False)

    @property
    def is_open(self) -> bool:
        return bool(self.button.isChecked())

    def open(self, wanted: bool) -> None:
        self.button.setChecked(wanted)
        self.button.setArrowType(Qt.ArrowType.DownArrow if wanted else Qt.ArrowType.RightArrow)
        self._inside.setVisible(wanted)
        if wanted:
            self.refresh()

    def refresh(self) -> None:
        """Have what is shown brought up to date."""
        if self.is_open and self._opened is not None:
            self._opened()


class OptionsForm:
    """A line for each option; what is left empty is left to the recipe."""

    def __init__(self, fields: Sequence[Field], changed: Callable[[], None]) -> None:
        self.widget = QScrollArea()
        self.widget.setWidgetResizable(True)
        self.widget.setFixedHeight(_FORM_HEIGHT)
        lines = QWidget()
        self.widget.setWidget(lines)
        form = QFormLayout(lines)
        self.inputs: dict[str, Any] = {}
        for field in fields:
            tip = f"{field.keyword}: {field.help}"
            if field.choices:
                box = QComboBox()
                box.addItems(["", *field.choices])
                box.currentTextChanged.connect(changed)
            else:
                box = QLineEdit()
                box.editingFinished.connect(changed)
            box.setToolTip(tip)
            label = QLabel(field.label)
            label.setToolTip(tip)
            label.setBuddy(box)
            form.addRow(label, box)
            self.inputs[field.keyword] = box

    def chosen(self) -> dict[str, str]:
        """The options that have a value, by their keywords."""
        texts = {
            keyword: box.currentText() if isinstance(box, QComboBox) else box.text()
            for keyword, box in self.inputs.items()
        }
        return {keyword: text.strip() for keyword, text in texts.items() if text.strip()}

    def set(self, options: Mapping[str, str]) -> None:
        for keyword, box in self.inputs.items():
            text = options.get(keyword, "")
            box.setCurrentText(text) if isinstance(box, QComboBox) else box.setText(text)


class Result:
    """The verdict, why, what to do next, and what can be looked at."""

    def __init__(self, typed: Callable[[str], Any]) -> None:
        self.widget = QWidget()
        column = QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self.word, self.reasons = QLabel(), QLabel()
        self.reasons.setWordWrap(True)
        self.reasons.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._grid = ButtonGrid(before=self.reasons)
        column.addWidget(self.word)
        column.addWidget(self._grid)
        column.addWidget(self.reasons)
        self._typed = typed
        self._said = ""
        self.clear()

    @property
    def buttons(self) -> list[Any]:
        return self._grid.buttons

    def clear(self) -> None:
        self._grid.clear()
        self.widget.hide()

    def color(self) -> None:
        """Have the word in the colour that it has in the report, or a lighter one on a dark ground."""
        dark = self.widget.palette().window().color().lightness() < 128
        color = _WORDS.get(self._said, ("grey", "grey"))[dark]
        self.word.setText(f'<span style="font-size:18px; color:{color}"><b>{self._said}</b></span>')

    def show(
        self,
        word: str,
        reasons: Sequence[str],
        advice: Sequence[str],
        buttons: Sequence[Button],
        asking: Sequence[tuple[str, str, Callable[[], None]]] = (),
    ) -> None:
        """Show what was said and what can be done; `asking`: buttons that ask for more before they type."""
        self.clear()
        self.word.setVisible(bool(word))
        self._said = word
        self.color()
        lines = [f"• {text}" for text in reasons] + ([*(f"→ {text}" for text in advice)])
        self.reasons.setVisible(bool(lines))
        self.reasons.setText("\n".join(lines))
        for about in buttons:
            typed = partial(self._typed, about.command)
            self._grid.add(about.text, f"{about.help}: {about.command}", typed)
        for text, help, act in asking:
            self._grid.add(text, help, act)
        self.widget.setVisible(bool(word or buttons))
