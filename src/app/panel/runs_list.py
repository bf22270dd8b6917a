"""The table of runs in the panel, and what can be done with the one that is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from Qt.QtCore import QUrl
from Qt.QtGui import QDesktopServices
from Qt.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QMessageBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...engine.errors import InputError
from ..markup import quoted, shortened
from ..removal import delete, forget
from ..runs import Run, known_runs, open_command
from .button_grid import ButtonGrid

_HEAD = ("Maps", "State", "Steps", "Folder")


class RunsList:
    """Runs of this session and recent ones of this user, the latest first."""

    def __init__(self, session: Any, typed: Callable[[str], Any]) -> None:
        self._session, self._typed = session, typed
        self._runs: list[Run] = []
        self.widget = QWidget()
        column = QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        self.table = QTableWidget(0, len(_HEAD))
        self.table.setHorizontalHeaderLabels(list(_HEAD))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setStretchLastSection(True)
        self.table.setMinimumHeight(120)
        self.table.itemSelectionChanged.connect(self._enable)
        column.addWidget(self.table)
        grid = ButtonGrid()
        self.buttons: dict[str, Any] = {}
        for text, help, act in (
            ("Open", "Its latest trajectory", self._open),
            ("Resume", "Go on from its last checkpoint", self._resume),
            ("Report", "All of it on one page", self._report),
            ("Show in folder", "In the system's file manager", self._show_in_folder),
            ("Forget", "Take it off this list; its folder stays", self._forget),
            ("Delete…", "Remove what it has made, after a question", self._delete),
        ):
            self.buttons[text] = grid.add(text, help, act)
        column.addWidget(grid)

    def refresh(self) -> None:
        """Read anew what the runs say."""
        chosen = self.chosen()
        self._runs = known_runs(self._session)
        self.table.setRowCount(len(self._runs))
        for number, run in enumerate(self._runs):
            for place, text in enumerate(_cells(run)):
                self.table.setItem(number, place, QTableWidgetItem(text))
            if chosen is not None and run.folder == chosen.folder:
                self.table.selectRow(number)
        self._enable()

    def chosen(self) -> Run | None:
        rows = self.table.selectionModel().selectedRows()
        return self._runs[rows[0].row()] if rows and rows[0].row() < len(self._runs) else None

    def _enable(self) -> None:
        run = self.chosen()
        state = run.state() if run is not None else ""
        can = {
            "Open": run is not None and bool(run.frames()),
            "Resume": run is not None and run.can_go_on and state in ("interrupted", "stopped", "failed"),
            "Report": run is not None and (run.folder / "report.html").is_file(),
            "Show in folder": run is not None and run.folder.is_dir(),
            "Forget": run is not None and state != "running",
            "Delete…": run is not None and state != "running" and not state.startswith("on "),
        }
        for text, button in self.buttons.items():
            button.setEnabled(can[text])

    def _open(self) -> None:
        if run := self.chosen():
            self._typed(open_command(run.frames()[-1]))

    def _resume(self) -> None:
        if run := self.chosen():
            self._typed(f"cryotrans resume {quoted(run.folder)}")

    def _report(self) -> None:
        if run := self.chosen():
            self._typed(f"open {quoted(run.folder / 'report.html')}")

    def _show_in_folder(self) -> None:
        if run := self.chosen():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(run.folder)))

    def _forget(self) -> None:
        if run := self.chosen():
            forget(self._session, run)
            self.refresh()

    def _delete(self) -> None:
        run = self.chosen()
        if run is None:
            return
        asked = QMessageBox.question(
            self.widget,
            "Delete a run",
            f"Delete the run {run.title()} with its trajectories?\n{run.folder}\nThis cannot be taken back.",
        )
        if asked == QMessageBox.StandardButton.Yes:
            delete(self._session, run)
            self.refresh()


def _cells(run: Run) -> tuple[str, str, str, str]:
    try:
        content = run.content()
    except InputError:
        content = {}
    steps = f"{content['step']} of {content['n_steps']}" if content else ""
    return run.title(), run.state(), steps, shortened(run.folder)
