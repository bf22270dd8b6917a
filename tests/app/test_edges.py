"""What lies at the edge of a command: odd names, a full log, a refusal, a slow Python, a disk without locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
from chimerax.core.errors import UserError
from processes import exists

from chimerax.cryotrans.app import background, worker_python
from chimerax.cryotrans.app import job as job_module
from chimerax.cryotrans.app.commands.arguments import MapsInOrderArg
from chimerax.cryotrans.app.job import CryoTransJob
from chimerax.cryotrans.app.markup import link, quoted
from chimerax.cryotrans.app.runs import Run, open_command, runs_of
from chimerax.cryotrans.app.settings import user_settings

SMALL = "steps 2 depth 2 width 8 w2Iter 2 device cpu frames 2"


def _tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Words of commands


@pytest.mark.parametrize(
    ("path", "typed"),
    [("/a;b", '"/a;b"'), ("/a;b c", '"/a;b c"'), ("/plain", "/plain"), ("/it's; mine", '"/it\'s; mine"'), ("", '""')],
)
def test_a_semicolon_in_a_path_ends_no_command(path, typed):
    assert quoted(path) == typed


@pytest.mark.parametrize("name", ["one;two", "a; close session", "runs;v2;"])
def test_commands_that_are_offered_reach_folders_with_semicolons(session, run, home, pair, a_run, name):
    folder = Path(shutil.copytree(a_run, a_run.parent / name))
    with pytest.raises(UserError, match=r"has done its 4 steps\. To go on beyond, give more: ") as caught:
        run(f"cryotrans resume {quoted(folder)}")
    offered = str(caught.value).split("give more: ")[1]
    run(f"{offered.replace('steps 8', 'steps 5')} open false frames 2 wait true")
    assert json.loads((folder / "run.json").read_text())["step"] == 5
    assert "%3B" in link(offered)
    run("close session")
    run(open_command(folder / "frames"))
    assert any(len(getattr(model, "maps", ())) == 2 for model in session.models.list())


@pytest.mark.parametrize(
    ("typed", "ids"),
    [
        ("#2.1,1.1", ["2.1", "1.1"]),
        ("#1.2,2.1,1.1", ["1.2", "2.1", "1.1"]),
        ("#3,1.2", ["3", "1.2"]),
        ("#2.1#1.1", ["2.1", "1.1"]),
        ("#1.1,2.1", ["1.1", "2.1"]),
    ],
)
def test_maps_below_others_keep_their_order(session, run, home, tmp_path, pair, typed, ids):
    for number in range(4):
        [model] = run(f'open "{tmp_path}/A.mrc"')
        session.models.assign_id(model, (10 + number,))
    run("close #1,2")
    for number, wanted in enumerate(("1.1", "1.2", "2.1", "3")):
        run(f"rename #{10 + number} id {wanted}")
    maps, used, rest = MapsInOrderArg.parse(typed, session)
    assert [model.id_string for model in maps] == ids and (used, rest) == (typed, "")


# The worker


def test_a_full_log_is_no_failure(session, run, home, pair, tmp_path):
    if not Path("/dev/full").exists():
        return  # only Linux has it
    (folder := tmp_path / "run").mkdir()
    (folder / "worker.log").symlink_to("/dev/full")
    job = run(f'cryotrans train #1 to #2 {SMALL} directory "{folder}" wait true')
    assert job.error is None and job.series is not None
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"
    said = [text for text in session.test_log.texts("warning") if "worker.log is not whole: No space left" in text]
    assert len(said) == 1


def test_a_log_that_cannot_be_opened_is_no_failure(session, run, home, pair, tmp_path):
    (tmp_path / "run" / "worker.log").mkdir(parents=True)
    job = run(f'cryotrans train #1 to #2 {SMALL} directory "{tmp_path}/run" wait true')
    assert job.error is None and job.series is not None
    assert any("worker.log is not whole" in text for text in session.test_log.texts("warning"))


def test_a_worker_that_nobody_listens_to_is_ended(session, run, home, pair, tmp_path, monkeypatch):
    """Whatever goes wrong where its output is read."""
    pids = []

    def broken(line, really=background.message_of):
        message = really(line)
        if message is not None and message["event"] == "checkpoint" and message["step"] == 20:
            [job] = session.tasks.find_by_class(CryoTransJob)
            pids.append(job._process.pid)
            raise RuntimeError("a mistake of ours")
        return message

    monkeypatch.setattr(background, "message_of", broken)
    folder = tmp_path / "run"
    words = SMALL.replace("steps 2", "steps 1000000 period 20")
    with pytest.raises(UserError, match="a mistake of ours"):
        run(f'cryotrans train #1 to #2 {words} directory "{folder}" wait true')
    assert len(pids) == 1 and not exists(pids[0])
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"  # it could save


# What was refused stands in nobody's way


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_training_leaves_no_folder_that_refuses_the_next(session, run, home, pair, tmp_path, there):
    folder = tmp_path / "some" / "where"
    if there:
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
    (tmp_path / "bad.pt").write_text("no weights")
    for _ in range(2):
        with pytest.raises(UserError, match=r"bad\.pt"):
            run(f'cryotrans train #1 to #2 {SMALL} weights "{tmp_path}/bad.pt" directory "{folder}"')
        assert _tree(folder) == (["notes.txt"] if there else []) + ["worker.log"]
    job = run(f'cryotrans train #1 to #2 {SMALL} directory "{folder}" wait true')
    assert job.error is None and (folder / "maps" / "initial.mrc").is_file()


@pytest.mark.parametrize("there", [False, True])
def test_maps_that_cannot_be_written_leave_nothing(session, run, home, pair, tmp_path, monkeypatch, there):
    folder = tmp_path / "some" / "where"
    if there:
        folder.mkdir(parents=True)

    def full(path, density_map, really=job_module.write_map):
        if path.name == "target.mrc":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        really(path, density_map)

    monkeypatch.setattr(job_module, "write_map", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        run(f'cryotrans train #1 to #2 {SMALL} directory "{folder}"')
    assert folder.exists() == there and (tmp_path / "some").exists() == there
    assert not there or _tree(folder) == []
    with pytest.raises(UserError, match="cannot be written"):
        run(f"cryotrans train #1 to #2 {SMALL}")
    assert not (home / "CryoTRANS").exists()


@pytest.mark.parametrize("command", ["train #1 to #2 {small}", "predict #1 run {run} frames 2"])
def test_maps_are_written_while_the_window_goes_on(session, run, home, pair, a_run, monkeypatch, command):
    threads = []

    def noted(path, density_map, really=job_module.write_map):
        threads.append((path.name, threading.current_thread() is threading.main_thread()))
        really(path, density_map)

    monkeypatch.setattr(job_module, "write_map", noted)
    job = run(f"cryotrans {command.format(small=SMALL, run=quoted(a_run))} wait false")
    assert session.ui.wait_for(lambda: job.done, 60) and job.error is None
    assert ("initial.mrc", False) in threads and not any(on_main for _, on_main in threads)


def test_a_refused_prediction_leaves_no_folder_that_refuses_the_next(run, home, pair, a_run, tmp_path):
    (tmp_path / "bad.pt").write_text("no weights")
    for _ in range(2):
        with pytest.raises(UserError, match=r"bad\.pt"):
            run(f'cryotrans predict #1 weights "{tmp_path}/bad.pt" level 0.5 directory "{tmp_path}/out"')
    series = run(f'cryotrans predict #1 weights "{a_run}/net.pt" level 0.5 frames 2 directory "{tmp_path}/out"')
    assert len(series.maps) == 2 and (tmp_path / "out" / "initial.mrc").is_file()


@pytest.mark.parametrize("name", ["strain.mrc", "report.html", "net.pt", "leg_1/net.pt"])
def test_a_folder_with_files_of_the_user_is_no_run(run, home, pair, tmp_path, name):
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=rf"mine holds {name}, which a new run would replace\. Move it away"):
        run(f'cryotrans train #1 to #2 {SMALL} directory "{tmp_path}/mine"')
    assert path.read_text() == "mine" and not (tmp_path / "mine" / "maps").exists()


# A Python that is slow to answer


@pytest.fixture
def window(session, home, monkeypatch):
    """A session with a window, as our commands see it; for ChimeraX's own code there is none, nor Qt."""
    ours = str(Path(worker_python.__file__).parent)
    monkeypatch.setattr(
        type(session.ui), "is_gui", property(lambda self: sys._getframe(1).f_code.co_filename.startswith(ours))
    )


def test_looking_for_a_python_holds_no_window(session, run, pair, home, window, monkeypatch, tmp_path):
    answer = threading.Event()
    threads = []

    def slow(python):
        threads.append(threading.current_thread())
        answer.wait(60)
        return "It is out of order."

    monkeypatch.setattr(worker_python, "trouble_with", slow)
    folder = tmp_path / "new" / "run"
    began = time.monotonic()
    job = run(f'cryotrans train #1 to #2 {SMALL} open false directory "{folder}"')
    assert time.monotonic() - began < 30 and not job.done
    answer.set()
    assert session.ui.wait_for(lambda: job.done, 60)
    assert threads and threading.main_thread() not in threads
    assert "It is out of order. Type: cryotrans install" in job.error and "worker.log" not in job.error
    assert "cxcmd:cryotrans%20install" in "\n".join(session.test_log.texts("info"))
    assert not (tmp_path / "new").exists() and runs_of(session).find(folder) is None


def test_the_python_that_was_found_runs_the_worker(session, run, pair, home, window, tmp_path):
    job = run(f'cryotrans train #1 to #2 {SMALL} open false directory "{tmp_path}/run"')
    assert session.ui.wait_for(lambda: job.done, 120)
    assert job.error is None and len(list((tmp_path / "run" / "frames").glob("*.mrc"))) == 2


def test_naming_a_python_holds_no_window(session, run, home, window, monkeypatch, tmp_path):
    answer = threading.Event()
    from chimerax.cryotrans.app import installation

    monkeypatch.setattr(installation, "trouble_with", lambda python: answer.wait(60) and "It is out of order.")
    (tmp_path / "python").touch()
    task = run(f'cryotrans install python "{tmp_path}/python"')
    assert not task.done
    answer.set()
    assert session.ui.wait_for(lambda: task.done, 60)
    assert "It is out of order. Nothing was changed." in task.error
    assert user_settings(session).python != str(tmp_path / "python")


# Who is at work


def _say_running(folder):
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "state": "running"}))
    (folder / "run.lock").touch()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_on_a_disk_without_locks_nothing_is_claimed(session, run, home, a_run, monkeypatch, number):
    _say_running(a_run)
    assert Run(a_run).state() == "interrupted"

    def no_locks(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert Run(a_run).state() == "unknown"
    runs_of(session).add(session, Run(a_run))
    run("cryotrans runs")
    assert "<td>unknown<br>" in session.test_log.texts("info")[-1]
    assert "resume" not in session.test_log.texts("info")[-1]


def test_a_dead_run_in_a_folder_that_cannot_be_written_is_not_running(a_run, opening_to_write_fails):
    _say_running(a_run)
    before = _tree(a_run)
    opening_to_write_fails()
    assert Run(a_run).state() == "interrupted"
    assert _tree(a_run) == before
