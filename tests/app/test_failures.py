"""ChimeraX's half of docs/failures.md: each failure is provoked, and what is said is compared with the document."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import shutil
import sys
from pathlib import Path

import pytest
from chimerax.core.errors import UserError
from failure_table import Failure, compare, plain

from chimerax.cryotrans.app import background
from chimerax.cryotrans.app.settings import user_settings
from chimerax.cryotrans.app.worker_python import default_folder
from chimerax.cryotrans.engine.files.run_directory import RunDirectory

SMALL = "depth 2 width 8 w2Iter 2 device cpu frames 2"
_BEFORE = "before anything is begun"


class Place:
    """Where failures are provoked: two open maps, #1 and #2, and a finished run of theirs."""

    def __init__(self, session, run, folder, a_run, patch):
        self.session, self.run, self.folder, self.finished, self.patch = session, run, folder, a_run, patch

    def error(self, command):
        with pytest.raises(UserError) as caught:
            self.run(command)
        return self.plain(str(caught.value))

    def plain(self, said):
        named = {"RUN": self.folder / "new", "FOLDER": self.folder}
        said = said.replace(str(self.finished), "RUN").replace("CryoTRANS A → B: ", "")
        return plain(said.replace(sys.executable, "PYTHON"), named).replace("FOLDER/", "")

    def train(self, more="steps 2", wait="true"):
        return f'cryotrans train #1 to #2 {SMALL} {more} directory "{self.folder}/new" wait {wait}'

    @contextlib.contextmanager
    def python_that_runs(self, code):
        """Workers are this Python code; "" for the user who has not chosen any."""
        script, python = self.folder / "worker.py", self.folder / "python"
        script.write_text(code)
        python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || set -- "{script}" "$@"\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        settings = user_settings(self.session)
        before, settings.python = settings.python, str(python) if code else ""
        try:
            yield
        finally:
            settings.python = before

    def worker(self, code, command=None):
        with self.python_that_runs(code):
            return self.error(command or self.train())

    def edited(self, **facts):
        path = self.finished / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))

    def resume(self, steps=8):
        return self.error(f'cryotrans resume "{self.finished}" steps {steps} open false wait true')


# Real steps, then the worker is killed: its own run is left with its last checkpoint.
KILLED = """
import os, runpy, signal, sys
from chimerax.cryotrans.engine.training.training import Training
update = Training.update
def killed(self):
    if self.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    update(self)
Training.update = killed
sys.argv = sys.argv[1:]
from chimerax.cryotrans.programs.command_line import main
sys.exit(main(sys.argv[1:]))
"""


def _no_pytorch(place):
    shutil.rmtree(default_folder(), ignore_errors=True)
    with place.python_that_runs(""):
        return place.error(place.train())


def _hung(place):
    place.patch.setattr(background, "SECONDS_TO_SAVE", 0.5)
    code = 'import time; print(\'{"event": "note", "text": "hangs"}\', flush=True); time.sleep(1000)'
    with place.python_that_runs(code):
        job = place.run(place.train(wait="false"))
    said = place.session.test_log
    assert place.session.ui.wait_for(lambda: any("hangs" in text for text in said.texts("info")))
    place.run("cryotrans stop")
    assert place.session.ui.wait_for(lambda: job.done, 30)
    return place.plain(job.error)


def _locked(place):
    with RunDirectory(place.finished).locked():
        return place.resume()


def _full(place):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        return place.error(place.train())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _log(place):
    (place.folder / "new" / "worker.log").mkdir(parents=True)
    place.run(place.train("steps 1 open false"))
    [said] = [text for text in place.session.test_log.texts("warning") if "not whole" in text]
    return place.plain(said.strip())


def _closed(place):
    job = place.run(place.train("steps 1000000 period 20", wait="false"))
    assert place.session.ui.wait_for(lambda: (job.folder / "net_1.pt").is_file(), 60)
    place.run("close #1")
    place.run("cryotrans stop")
    assert place.session.ui.wait_for(lambda: job.done, 60)
    last = place.session.test_log.texts("info")[-1]
    return next(text for text in _without_html(last) if "closed" in text)


def _apart(place):
    place.run("move x 500 models #2")
    said = place.error(place.train())
    place.run("move x -500 models #2")
    return said


def _without_html(text):
    return [part.strip() for part in re.sub(r"<[^>]+>", "\n", text).splitlines() if part.strip()]


_FAILURES = {
    Failure(
        "PyTorch is not there yet",
        _BEFORE,
        "the link that is offered",
        "app/test_edges.py::test_looking_for_a_python_holds_no_window",
    ): _no_pytorch,
    Failure(
        "the Python that was named is none",
        "it is asked what it has",
        "another one; the one of before stays",
        "app/test_edges.py::test_naming_a_python_holds_no_window",
    ): lambda place: place.error("cryotrans install python /bin/true"),
    Failure(
        "PyTorch has been removed since",
        "by what the worker says",
        "the command that is named",
        "app/test_job.py::test_worker_that_fails_at_once",
    ): lambda place: place.worker("raise ModuleNotFoundError(\"No module named 'torch'\")"),
    Failure(
        "a level is too high",
        _BEFORE,
        "the level that is named, or another",
        "app/test_volumes.py::test_bad_levels_are_refused_with_what_to_type",
    ): lambda place: place.error(place.train("level 5")),
    Failure(
        "the maps do not overlap, as they are displayed",
        _BEFORE,
        "what is named",
        "app/test_volumes.py::test_the_remedies_against_no_overlap_work",
    ): lambda place: (
        place.run("move x 500 models #2"),
        place.error(place.train()),
        place.run("move x -500 models #2"),
    )[1],
    Failure(
        "the folder holds a run",
        _BEFORE,
        "one of the two ways that are named",
        "app/test_commands.py::test_train_refuses_a_folder_that_holds_a_run",
    ): lambda place: place.error(f'cryotrans train #1 to #2 directory "{place.finished}"'),
    Failure(
        "the disk is full when the maps are handed over",
        "the system refuses a write; what was begun is removed",
        "make room, the same command again",
        "app/test_edges.py::test_maps_that_cannot_be_written_leave_nothing",
    ): _full,
    Failure(
        "the disk is full while the worker runs",
        "the worker says it; its last checkpoint stays",
        "make room, `cryotrans resume`",
        "app/test_job.py::test_worker_that_fails_at_once",
    ): lambda place: place.worker("raise OSError(28, 'No space left on device')"),
    Failure(
        "the worker is killed",
        "its pipe ends, and its exit status",
        "the command that is named",
        "app/test_job.py::test_killed_worker",
    ): lambda place: place.worker(KILLED, place.train("steps 9 period 2")),
    Failure(
        "the worker crashes",
        "its exit status, and the last line that it printed",
        "look into worker.log",
        "app/test_job.py::test_worker_that_fails_at_once",
    ): lambda place: place.worker("import sys; print('Illegal instruction'); sys.exit(3)"),
    Failure(
        "the worker hangs",
        "it has not ended two minutes after it was asked to; then it is killed with all that it started",
        "`cryotrans resume` from the last checkpoint, if there is one",
        "app/test_job.py::test_hung_worker_is_killed_with_its_children",
    ): _hung,
    Failure(
        "the GPU's driver fails",
        "by what the worker prints",
        "update it, or `device cpu`",
        "app/test_job.py::test_known_failures_have_sentences",
    ): lambda place: place.worker("raise RuntimeError('CUDA error: device-side assert triggered')"),
    Failure(
        "another program, or another ChimeraX, trains in the folder",
        "by the lock",
        "wait, or another directory",
        "app/test_job.py::test_known_failures_have_sentences",
    ): _locked,
    Failure(
        "the map is closed while the run goes on",
        "at its end; all is saved",
        "the link that is offered",
        "app/test_job.py::test_map_closed_on_the_way",
    ): _closed,
    Failure(
        "worker.log cannot be written",
        "at the end, as a warning; the run ends well",
        "nothing is lost but the log",
        "app/test_edges.py::test_a_log_that_cannot_be_opened_is_no_failure",
    ): _log,
    Failure(
        "there is no run in the folder",
        _BEFORE,
        "`cryotrans runs` lists them",
        "app/test_commands.py::test_resume_says_what_is_wrong",
    ): lambda place: place.error(f'cryotrans resume "{place.folder}/elsewhere"'),
    Failure(
        "the run is of another version",
        _BEFORE,
        "train anew",
        "app/test_commands.py::test_resume_says_what_is_wrong",
    ): lambda place: (place.edited(device={}), place.resume())[1],
    Failure(
        "the run has done its steps",
        _BEFORE,
        "the command that is named",
        "app/test_edges.py::test_commands_that_are_offered_reach_folders_with_semicolons",
    ): lambda place: place.error(f'cryotrans resume "{place.finished}"'),
    Failure(
        "nothing runs that could be stopped",
        "at once",
        "nothing",
        "app/test_job.py::test_stop_saves_and_opens_what_there_is",
    ): lambda place: place.error("cryotrans stop"),
}


def test_what_is_said_is_what_the_document_has(session, run, home, pair, finished_run, tmp_path, monkeypatch):
    rows = {}
    for number, (failure, provoke) in enumerate(_FAILURES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        a_run = Path(shutil.copytree(finished_run, folder / "a run"))
        for path in (a_run / "run.json", a_run / "maps" / "models.json"):
            path.write_text(path.read_text().replace(str(finished_run), str(a_run)))
        session.test_log.entries.clear()
        with monkeypatch.context() as patch:
            rows[failure] = provoke(Place(session, run, folder, a_run, patch))
        assert rows[failure] and "Traceback" not in rows[failure]
        if pair[0].deleted:
            run(f'open "{tmp_path}/A.mrc" name A id 1; volume #1 style surface level 0.5')
    compare("ChimeraX", rows)
