"""Where PyTorch is not there yet: a button that installs it, and what happens meanwhile."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from Qt.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..installation import Installation
from ..markup import quoted
from ..pytorch_build import download_text, may_have_nvidia_gpu
from ..settings import user_settings
from ..worker_python import WHOLE, default_folder

_TEXT = (
    "CryoTRANS computes with PyTorch, which is not here yet. To be downloaded: {size}. It goes into a folder of its "
    "own, ChimeraX stays as it is."
)


class FirstTime:
    """Hidden as soon as there is a Python that has PyTorch, as far as can be seen without asking it."""

    def __init__(self, session: Any, typed: Callable[[str], Any]) -> None:
        self._session, self._typed = session, typed
        self.widget = QWidget()
        column = QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 6)
        self._said = _TEXT.format(size=download_text(may_have_nvidia_gpu()))
        self.text = QLabel(self._said)
        self.text.setWordWrap(True)
        column.addWidget(self.text)
        row = QHBoxLayout()
        self.install = QPushButton("Install PyTorch")
        self.install.clicked.connect(self._install_or_stop)
        self.choose = QPushButton("Use a Python that has it…")
        self.choose.clicked.connect(self._choose)
        row.addWidget(self.install)
        row.addWidget(self.choose)
        row.addStretch(1)
        column.addLayout(row)
        self._is_ready: bool | None = None  # None: the disk is to be asked

    def ask_again(self) -> None:
        """Something has changed, or failed: look at the disk the next time."""
        self._is_ready = None

    def look(self) -> None:
        """Bring it up to date; cheap, as the disk is asked only until PyTorch is there."""
        task = self._task()
        if not self._is_ready:
            self._is_ready = seems_ready(user_settings(self._session).python)
        needed = task is not None or not self._is_ready
        self.widget.setVisible(needed)
        self.install.setText("Stop" if task is not None else "Install PyTorch")
        self.choose.setEnabled(task is None)
        self.text.setText(f"Installing: {task.line}" if task is not None and task.line else self._said)

    def _task(self) -> Installation | None:
        running = [task for task in self._session.tasks.find_by_class(Installation) if not task.done]
        return running[0] if running else None

    def _install_or_stop(self) -> None:
        task = self._task()
        if task is not None:
            task.terminate()
        else:
            self._typed("cryotrans install")
        self.look()

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self.widget, "A Python that has PyTorch")
        if path:
            self._typed(f"cryotrans install python {quoted(path)}")


def seems_ready(chosen: str) -> bool:
    """Is there a Python that has been tried, or made whole, or ChimeraX's own with PyTorch?"""
    if chosen:
        return Path(chosen).is_file()
    return (default_folder() / WHOLE).is_file() or importlib.util.find_spec("torch") is not None
