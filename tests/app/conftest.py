"""Fixtures for tests inside ChimeraX: a headless session of its real libraries, see headless.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import headless
import phantoms
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


@pytest.fixture
def home(session, tmp_path, monkeypatch) -> Path:
    """The user's home, empty, and settings as a new user has them, but for a Python that runs the worker."""
    from chimerax.cryotrans.app.settings import user_settings

    home = tmp_path / "home of user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    settings = user_settings(session)
    settings.reset()
    settings.python = sys.executable
    return home


@pytest.fixture
def use_script(session, home, tmp_path):
    """use_script(code) has workers run this Python code; the real one's folder is the first of the arguments."""

    def use_script(code: str) -> None:
        path = tmp_path / "worker.py"
        path.write_text(code)
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || set -- "{path}" "$@"\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        from chimerax.cryotrans.app.settings import user_settings

        user_settings(session).python = str(python)

    return use_script


@pytest.fixture
def pair(session, run, tmp_path):
    """Two small maps of a known motion, open and shown at their level, as #1 and #2."""
    models = []
    for name, time in (("A", 0.0), ("B", 1.0)):
        path = phantoms.write_mrc(tmp_path / f"{name}.mrc", phantoms.two_domains(time))
        [model] = run(f'open "{path}" name {name}')
        run(f"volume #{model.id_string} style surface level {phantoms.LEVEL}")
        models.append(model)
    return models


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A folder with a run of 4 steps on the maps of `pair`, for tests to copy: see `a_run`."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "maps").mkdir()
    initial = phantoms.write_mrc(folder / "maps" / "initial.mrc", phantoms.two_domains(0.0))
    target = phantoms.write_mrc(folder / "maps" / "target.mrc", phantoms.two_domains(1.0))
    level = str(phantoms.LEVEL)
    maps = ["-i0", initial, "-t0", level, "-i1", target, "-t1", level, "-d", folder]
    small = ["--depth", "2", "--width", "8", "--w2_iter", "2", "--device", "cpu", "--progress", "none"]
    subprocess.run(
        [sys.executable, ROOT / "src", "train", *maps, "-n", "4", "-p", "2", *small], check=True, timeout=120
    )
    models = {"initial": {"name": "A", "path": None}, "target": {"name": "B", "path": None}}
    (folder / "maps" / "models.json").write_text(json.dumps(models))
    return folder


@pytest.fixture
def a_run(finished_run, tmp_path) -> Path:
    """A finished run of 4 steps in a folder of the test's own."""
    folder = Path(shutil.copytree(finished_run, tmp_path / "a run"))
    for path in (folder / "run.json", folder / "maps" / "models.json"):
        path.write_text(path.read_text().replace(str(finished_run), str(folder)))
    return folder
