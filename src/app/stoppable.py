"""What holds the window for a while can be stopped: a small window says how far it is and has a button.

While it stands, nothing else takes clicks or keys, so that no command comes between those that are run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from chimerax.core.errors import UserError


@contextmanager
def stoppable(session: Any, title: str, n_steps: int) -> Iterator[Callable[[int, str], None]]:
    """Give a function to call with the number of steps done and a text; without a window the status line has it.

    The function raises a `UserError` once the button has been pressed, or Escape.
    """
    if not session.ui.is_gui:
        yield lambda done, text: session.logger.status(text)
        return
    from Qt.QtCore import Qt
    from Qt.QtWidgets import QProgressDialog

    dialog = QProgressDialog(title, "Stop", 0, n_steps, getattr(session.ui, "main_window", None))
    dialog.setWindowTitle("CryoTRANS")
    dialog.setWindowModality(Qt.WindowModality.ApplicationModal)
    dialog.setMinimumDuration(0)
    dialog.setAutoReset(False)

    def tell(done: int, text: str) -> None:
        session.logger.status(text)
        dialog.setLabelText(text)
        dialog.setValue(done)  # takes clicks and keys
        if dialog.wasCanceled():
            raise UserError(f"{title}: stopped.")

    try:
        yield tell
    finally:
        dialog.close()
        dialog.deleteLater()
