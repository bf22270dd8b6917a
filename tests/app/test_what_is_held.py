"""What runs leave in the session, and sessions saved at any moment of a run; the worker computes nothing."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path

import pytest

from chimerax.cryotrans import __version__
from chimerax.cryotrans.app.runs import runs_of

SMALL = "depth 2 width 8 w2Iter 2 device cpu frames 2 wait false"
END = {"event": "end", "state": "stopped", "step": 4, "n_steps": 9, "loss": 0.5, "seconds": 1, "mass_outside": 0}
PROGRAM = {"event": "program", "version": __version__}
START = {"event": "start", "device": "cpu", "n_steps": 9}
WORKER = """
import json, sys

def say(message):
    print(json.dumps(message), flush=True)

if sys.argv[2] == "predict" or MOMENT == "before the first line":
    if MOMENT == "while predicting":
        say({"event": "note", "text": "here"})
    if MOMENT.startswith(("while predicting", "before")):
        sys.stdin.read()
    sys.exit(3)
say(PROGRAM)
say(START)
say({"event": "note", "text": "begun"})
if MOMENT != "while predicting":
    sys.stdin.read()
say(END)
"""


def _worker(moment=""):
    return f"MOMENT, PROGRAM, START, END = {moment!r}, {PROGRAM!r}, {START!r}, {END!r}\n{WORKER}"


def _held(session):
    handlers = sum(len(trigger._handlers) for trigger in session.triggers._triggers.values())
    counts = threading.active_count(), len(os.listdir("/proc/self/fd")), len(session.tasks.list()), handlers
    return (*counts, len(session.models.list()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts handles as Linux has them")
def test_trainings_started_and_stopped_leave_nothing(session, run, use_script, tmp_path, pair):
    use_script(_worker())
    run("close session")
    before, maps = None, []
    for number in range(6):
        for name in "AB":
            [model] = run(f'open "{tmp_path}/{name}.mrc"')
            maps.append(weakref.ref(model))
        job = run(f"cryotrans train #1 to #2 level 0.5 toLevel 0.5 steps 9 {SMALL}")
        if number % 2:
            assert session.ui.wait_for(lambda: any("begun" in text for text in session.test_log.texts("info")))
        (job.terminate if number % 3 else job.stop)()
        assert session.ui.wait_for(lambda job=job: job.done, 30)
        if job._thread is not None:
            job._thread.join()
        del job, model
        run("close session")
        session.ui.pump()
        session.test_log.entries.clear()
        if number == 1:
            before = _held(session)
    waiting = session._volume_update_manager  # ChimeraX keeps maps until they are drawn, which nothing is here
    waiting._volumes_to_update.clear()
    waiting._displayed_volumes_to_update.clear()
    gc.collect()
    # what other tests left may have gone meanwhile, so that it may be less
    assert all(now <= then for now, then in zip(_held(session), before))
    assert sum(ref() is not None for ref in maps) <= 2  # ChimeraX itself keeps those that were shown last


@pytest.mark.parametrize("moment", ["before the first line", "while training", "while predicting", "after stop"])
def test_a_session_saved_at_any_moment_opens(session, run, use_script, tmp_path, pair, moment):
    use_script(_worker(moment))
    folder = tmp_path / "run"
    job = run(f'cryotrans train #1 to #2 steps 9 {SMALL} directory "{folder}"')
    if moment in ("while training", "while predicting"):
        word = "begun" if moment == "while training" else "here"
        assert session.ui.wait_for(lambda: any(word in text for text in session.test_log.texts("info")), 30)
    if moment == "after stop":
        job.stop()
        assert session.ui.wait_for(lambda: job.done, 30)
    run(f'save "{tmp_path}/s.cxs"')
    assert job.done == (moment == "after stop")  # saving does not disturb it
    names = [model.name for model in session.models.list()]
    run("close session")
    assert session.ui.wait_for(lambda: job.done, 30)
    run(f'open "{tmp_path}/s.cxs"')
    assert [model.name for model in session.models.list()] == names
    [found] = runs_of(session)
    assert found.folder == folder and found.task is None and not found.is_active
    run("cryotrans runs")
    assert not any(
        "Unable" in text or "Traceback" in text for text in session.test_log.texts("warning", "error", "bug")
    )
