"""The tool "CryoTRANS": two maps, one button, what comes of it.

It only types commands, so that the Log shows what was done and a script can do the same.  Its parts are widgets of
their own (parts.py, runs_list.py, curves.py); content.py says what stands in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.commands import run as run_command
from chimerax.core.errors import UserError
from chimerax.core.tools import ToolInstance
from Qt.QtCore import QTimer
from Qt.QtWidgets import QFileDialog, QHBoxLayout, QInputDialog, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from ..course import time_text
from ..job import PROGRESS, CryoTransJob
from ..markup import quoted
from ..runs import runs_of
from .content import (
    buttons_after,
    buttons_next,
    carry_command,
    chosen_pair,
    fields,
    frames_command,
    open_maps,
    outlook_text,
    said_of,
    structures_to_carry,
    train_command,
)
from .curves import Curves
from .first_time import FirstTime
from .parts import Folded, MapMenu, OptionsForm, Result, Scrolled
from .remembered import TOOL_NAME
from .runs_list import RunsList

_MILLISECONDS = 700  # from one look at the maps' levels and names to the next
_LEAST_HEIGHT, _HEIGHT = 210, 400  # pixels: the maps and the button are always seen
_EVENTS = ("add models", "remove models")


class CryoTransTool(ToolInstance):
    """One to a session.  What it holds goes into the session's metadata, as of all of this bundle: see series.py."""

    SESSION_ENDURING = False
    SESSION_SAVE = False
    help = "help:user/tools/cryotrans.html"

    def __init__(self, session: Any, tool_name: str = TOOL_NAME) -> None:
        super().__init__(session, tool_name)
        from chimerax.ui import MainToolWindow

        self._initial: Any = None
        self._target: Any = None
        self.job: CryoTransJob | None = None  # that it follows
        self._told_of: Any = None  # what the outlook is of
        self._ground = ""  # the colour of the panel, light or dark
        self._verdict: tuple[Path | None, dict[str, Any] | None] = (None, None)  # the latest, and the run that it is of
        self.tool_window = MainToolWindow(self)
        self._build(self.tool_window.ui_area)
        self.tool_window.manage(placement="side")
        self._handlers = [session.triggers.add_handler(name, self._on_models) for name in _EVENTS]
        if not session.triggers.has_trigger(PROGRESS):
            session.triggers.add_trigger(PROGRESS)
        self._handlers.append(session.triggers.add_handler(PROGRESS, self._on_progress))
        self._timer = QTimer(self.tool_window.ui_area)
        self._timer.timeout.connect(self._look_if_seen)
        self._timer.start(_MILLISECONDS)
        running = [job for job in session.tasks.find_by_class(CryoTransJob) if not job.done]
        if running:
            self._take(running[-1])
        self._look()

    def _build(self, area: Any) -> None:
        outer = QVBoxLayout(area)
        outer.setContentsMargins(0, 0, 0, 0)
        self._scroll = Scrolled(_LEAST_HEIGHT, _HEIGHT)
        outer.addWidget(self._scroll)
        inside = QWidget()
        self._scroll.setWidget(inside)
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(4)
        self.first_time = FirstTime(self.session, self._type)
        layout.addWidget(self.first_time.widget)
        self.initial_menu = MapMenu("Initial", "The map that is carried: the sharper one", self._choose_initial)
        self.target_menu = MapMenu(
            "Target", "The map of another conformation that it is carried onto", self._choose_target
        )
        layout.addWidget(self.initial_menu.widget)
        layout.addWidget(self.target_menu.widget)
        self.outlook = QLabel()
        self.outlook.setWordWrap(True)
        layout.addWidget(self.outlook)
        layout.addLayout(self._row_of_buttons())
        self.bar = QProgressBar()
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.curves = Curves()
        self.result = Result(self._type)
        for widget in (self.bar, self.state, self.result.widget, self.curves.widget):
            widget.hide()
            layout.addWidget(widget)
        self.form = OptionsForm(fields(), self._look)
        self.options = Folded("Options", self.form.widget)
        layout.addWidget(self.options.widget)
        self.runs = RunsList(self.session, self._type)
        self.runs_folded = Folded("Runs", self.runs.widget, self.runs.refresh)
        layout.addWidget(self.runs_folded.widget)
        layout.addStretch(1)

    def _row_of_buttons(self) -> Any:
        row = QHBoxLayout()
        self.train = QPushButton("Train")
        self.train.setDefault(True)
        self.train.clicked.connect(self._train_or_stop)
        self.show_now = QPushButton("Show now")
        self.show_now.setToolTip("Open the trajectory of the best checkpoint so far; the training goes on")
        self.show_now.clicked.connect(self._show_now)
        self.show_now.hide()
        swap = QPushButton("Swap maps")
        swap.setToolTip("The way back: the target becomes the initial map")
        swap.clicked.connect(self._swap)
        about = QPushButton("Help")
        about.clicked.connect(self.display_help)
        for button in (self.train, self.show_now, swap, about):
            row.addWidget(button)
        row.addStretch(1)
        return row

    # What the user does

    def _choose_initial(self, volume: Any) -> None:
        if volume is self._target:
            self._target = self._initial
        self._initial = volume
        self._look()

    def _choose_target(self, volume: Any) -> None:
        if volume is self._initial:
            self._initial = self._target
        self._target = volume
        self._look()

    def _swap(self) -> None:
        self._initial, self._target = self._target, self._initial
        self._look()

    def _train_or_stop(self) -> None:
        if self._runs_now():
            assert self.job is not None
            self._type(f"cryotrans stop {quoted(self.job.folder)}")
            return
        job = self._type(train_command(self._initial, self._target, self.form.chosen()))
        if isinstance(job, CryoTransJob):
            self._take(job)

    def _show_now(self) -> None:
        assert self.job is not None
        run = runs_of(self.session).find(self.job.folder)
        model = run.initial if run is not None else None
        if model is not None and not model.deleted:
            self._type(f"cryotrans predict #{model.id_string} run {quoted(self.job.folder)}")

    def _carry(self) -> None:
        assert self.job is not None
        found = structures_to_carry(self.session)
        run = runs_of(self.session).find(self.job.folder)
        if not found or run is None or run.initial is None or run.initial.deleted:
            self._say("Open an atomic model that fits the initial map, which has to be open too.")
            return
        name, chosen = QInputDialog.getItem(self.train, "Carry a model", "Which one?", list(found), 0, False)
        if chosen:
            self._type(carry_command(run.initial, self.job.folder, found[name]))

    def _save_frames(self) -> None:
        assert self.job is not None
        folder = QFileDialog.getExistingDirectory(self.train, "A folder for the images")
        if folder:
            self._type(frames_command(self.job.series, Path(folder)))

    def _type(self, command: str) -> Any:
        """Run a command as if it had been typed; what is wrong with it is said here and in the Log."""
        try:
            return run_command(self.session, command)
        except UserError as error:
            self._say(str(error))
            self.session.logger.error(str(error))
            return None

    # What it shows

    def _look(self) -> None:
        """Bring menus, pictures and the outlook up to what is open and shown now; cheap if nothing has changed."""
        if self.session is None:
            return
        maps = open_maps(self.session)
        self._initial, self._target = chosen_pair(maps, self._initial, self._target)
        self.initial_menu.show(maps, self._initial)
        self.target_menu.show(maps, self._target)
        options = self.form.chosen()
        state = (*(menu.look for menu in (self.initial_menu, self.target_menu)), tuple(options.items()))
        if self._told_of != state:
            self._told_of = state
            self.outlook.setText(outlook_text(self._initial, self._target, options))
        self.train.setText("Stop" if self._runs_now() else "Train")
        self.train.setEnabled(self._runs_now() or self._target is not None)
        self.first_time.look()
        ground = self.tool_window.ui_area.palette().window().color().name()
        if ground != self._ground:  # as when the system changes to its dark colours
            self._ground = ground
            self.curves.color()
            self.result.color()

    def _look_if_seen(self) -> None:
        if self.tool_window.ui_area.isVisible():
            self._look()

    def _runs_now(self) -> bool:
        return self.job is not None and not self.job.done

    def _take(self, job: CryoTransJob) -> None:
        """Follow a job from now on."""
        self.job = job
        self.curves.show(job.checkpoints)
        self.result.clear()
        self.bar.setRange(0, 0)  # it works, how far is not known yet
        self.bar.setVisible(not job.done)
        self._say(f"{job.name}: begins")
        self._look()

    def _on_models(self, *_: Any) -> None:
        self._look()

    def _on_progress(self, _: str, told: Any) -> None:
        job, message = told
        if job is not self.job:
            if message is None or (self.job is not None and not self.job.done):
                return
            self._take(job)
        if message is None:
            self._on_end(job)
        elif message["event"] == "step":
            self.bar.setRange(0, job.n_steps or 0)
            self.bar.setValue(message["step"])
            if not job.stopping:
                self._say(f"Step {message['step']} of {job.n_steps}, about {time_text(message['seconds_left'])} left")
        elif message["event"] == "checkpoint":
            self.curves.show(job.checkpoints)
            self.show_now.setVisible(message["step"] > 0)
        elif message["event"] == "note":
            self._say(str(message.get("text", "")))
        elif message["event"] == "frame":
            self.bar.setRange(0, 0)
            self._say(f"Frame {message['number'] + 1}")

    def _on_end(self, job: CryoTransJob) -> None:
        self.bar.hide()
        self.show_now.hide()
        self._say(job.error or "")
        if job.error is not None:
            self.first_time.ask_again()
        asking = [
            ("Carry a model…", "An atomic model that fits the initial map rides along", self._carry),
            ("Save frames…", "An image of each frame, as the window shows it", self._save_frames),
        ]
        there = job.series is not None and not job.series.deleted
        if job.verdict is not None:
            self._verdict = job.folder, job.verdict
        folder, verdict = self._verdict
        word, reasons, advice = said_of(verdict if folder == job.folder else None)  # new frames have that of their run
        buttons = [*buttons_after(job), *buttons_next(job, advice)]
        self.result.show(word, reasons, advice, buttons, asking if there else [])
        QTimer.singleShot(0, self._scroll_to_result)  # once it has its size
        self.runs_folded.refresh()
        self._look()

    def _scroll_to_result(self) -> None:
        if self.session is not None and self.result.widget.isVisible():
            self._scroll.verticalScrollBar().setValue(self.result.widget.y())

    def _say(self, text: str) -> None:
        self.state.setText(text)
        self.state.setVisible(bool(text))

    # Sessions, and the end

    def content(self) -> dict[str, Any]:
        """What comes back with a session."""
        ids = [volume.id_string if volume is not None else None for volume in (self._initial, self._target)]
        return {"maps": ids, "options": self.form.chosen(), "folded": not self.options.is_open}

    def take_content(self, content: dict[str, Any]) -> None:
        """Show what a session had."""
        by_id = {volume.id_string: volume for volume in open_maps(self.session)}
        self._initial, self._target = (by_id.get(name) for name in content["maps"])
        self.form.set(content["options"])
        self.options.open(not content["folded"])
        self._look()

    def delete(self) -> None:
        """Closing the panel leaves the training alone."""
        self._timer.stop()
        for handler in self._handlers:
            handler.remove()
        super().delete()


def panel_of(session: Any) -> CryoTransTool:
    """The session's panel, made if there is none, and shown."""
    found: list[CryoTransTool] = session.tools.find_by_class(CryoTransTool)
    if found:
        found[0].display(True)
        return found[0]
    return CryoTransTool(session, TOOL_NAME)
