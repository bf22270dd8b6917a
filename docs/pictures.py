"""The pictures of the panel, taken in ChimeraX: ChimeraX --script "docs/pictures.py FOLDER".

From two open maps to a playing morph in three clicks: the toolbar's button, Train, Play.  A window is needed; without a
screen, Xvfb makes one.  PyTorch must be there: cryotrans install.
"""

import sys
import traceback
from pathlib import Path

from chimerax.core.commands import run
from Qt.QtCore import QTimer

_SIZE = (1240, 860)  # pixels
_LONGEST = 600_000  # ms


class _Pictures:
    """One step after another, with time between them for the window to be drawn."""

    def __init__(self, session, folder):
        self.session, self.folder = session, folder
        self.panel = None
        QTimer.singleShot(_LONGEST, lambda: run(session, "exit"))
        self.later(3000, self.begin)

    def later(self, milliseconds, act):
        def attempt():
            try:
                act()
            except Exception:
                (self.folder / "failed.txt").write_text(traceback.format_exc())
                run(self.session, "exit")

        QTimer.singleShot(milliseconds, attempt)

    def picture(self, name):
        """The window as it is on the screen."""
        window = self.session.ui.main_window
        window.screen().grabWindow(window.winId()).save(str(self.folder / f"{name}.png"))

    def begin(self):
        self.session.ui.main_window.setGeometry(0, 0, *_SIZE)
        run(self.session, "log clear")  # of what belongs to this computer
        run(self.session, "cryotrans demo")
        self.later(1000, self.make_room)

    def make_room(self):
        arrange = "ui tool hide 'Volume Viewer' ; ui tool hide Models ; lighting simple ; view ; zoom 0.85"
        run(self.session, arrange, log=False)
        self.later(1000, self.first_click)

    def first_click(self):
        from chimerax.cryotrans.bundle import bundle_api

        self.panel = bundle_api.run_provider(self.session, "cryotrans-panel", None)  # as the toolbar's button does
        self.later(3000, self.second_click)

    def second_click(self):
        self.picture("panel_maps")
        self.panel.train.click()
        self.later(1000, self.until_it_runs)

    def until_it_runs(self):
        job = self.panel.job
        if len(job.checkpoints) > 6 or job.done:
            self.picture("panel_running")
            self.later(1000, self.until_it_ends)
        else:
            self.later(500, self.until_it_runs)

    def until_it_ends(self):
        self.later(3000, self.third_click) if self.panel.job.done else self.later(1000, self.until_it_ends)

    def third_click(self):
        run(self.session, "ui tool hide 'Volume Viewer'", log=False)
        [play] = [button for button in self.panel.result.buttons if button.text() == "Play"]
        play.click()
        self.later(2500, self.color)

    def color(self):
        self.picture("panel_morph")
        series = f"#{self.panel.job.series.id_string}"
        run(self.session, f"vseries stop {series} ; cryotrans color {series} ; cryotrans arrows {series}")
        run(self.session, "ui tool hide 'Volume Viewer'", log=False)
        self.later(3000, self.end)

    def end(self):
        self.picture("panel_motion")
        run(self.session, "exit")


_Pictures(session, Path(sys.argv[1] if len(sys.argv) > 1 else ".").absolute())  # noqa: F821 - ChimeraX gives it
