"""Fixtures for tests inside ChimeraX: a headless session of its real libraries, see headless.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import headless
import pytest

ROOT = Path(__file__).resolve().parents[2]

if headless.installed():
    headless.claim_namespace()  # before the test modules are imported, which import chimerax at their top


def pytest_configure(config):
    # The application does the same; its code is not ours to warn of.
    config.addinivalue_line("filterwarnings", r"ignore::DeprecationWarning:chimerax\.(?!cryotrans).*")


class _WithoutChimeraX(pytest.File):
    """Stands for a test module that cannot be imported here."""

    def collect(self):
        yield _Skipped.from_parent(self, name="without_chimerax")


class _Skipped(pytest.Item):
    def runtest(self):
        pytest.skip("needs the ChimeraX libraries (Python 3.11 on Linux x86_64)")


def pytest_pycollect_makemodule(module_path, parent):
    return None if headless.installed() else _WithoutChimeraX.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def chimerax_session(tmp_path_factory):
    """The one ChimeraX session of this process (ChimeraX keeps global state)."""
    return headless.start(tmp_path_factory.mktemp("chimerax"))


@pytest.fixture(scope="session")
def cryotrans_bundle(chimerax_session, tmp_path_factory):
    """The BundleInfo of this repository's bundle, known to the session and run from src/."""
    return headless.link_bundle(chimerax_session, ROOT, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel that ChimeraX's bundle builder makes of this repository."""
    return headless.build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def session(chimerax_session, cryotrans_bundle):
    """A ChimeraX session with our bundle and without models, tasks or waiting calls."""
    chimerax_session.test_log.entries.clear()
    yield chimerax_session
    for task in chimerax_session.tasks.list():
        thread = task._thread
        task.terminate()
        if thread is not None:
            thread.join(timeout=10)
    chimerax_session.ui.pump()
    from chimerax.core.commands import run

    run(chimerax_session, "close session", log=False)
    chimerax_session.ui.pump()


@pytest.fixture
def run(session) -> Callable[[str], object]:
    """run("command"), as typed by a user; returns what the command returns."""
    from chimerax.core.commands import run as chimerax_run

    return lambda command: chimerax_run(session, command)


@pytest.fixture
def frame(session) -> Callable[..., None]:
    """frame() does what the redraw timer does 60 times a second, less OpenGL."""

    def frame(count: int = 1) -> None:
        for _ in range(count):
            session.ui.pump()
            session.update_loop.draw_new_frame()

    return frame
