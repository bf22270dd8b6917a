"""Runs in the background: what is said on the way, and every way in which they can end."""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from chimerax.core.errors import UserError
from chimerax.core.tasks import FINISHED, RUNNING, Job, Task
from processes import exists

from chimerax.cryotrans.app import background
from chimerax.cryotrans.app.background import BackgroundTask
from chimerax.cryotrans.app.commands import beginning
from chimerax.cryotrans.app.course import time_text
from chimerax.cryotrans.app.failures import sentence_for
from chimerax.cryotrans.app.job import CryoTransJob
from chimerax.cryotrans.app.runs import Run, runs_of
from chimerax.cryotrans.app.settings import user_settings
from chimerax.cryotrans.app.wording import keyword, said_by
from chimerax.cryotrans.engine.errors import named
from chimerax.cryotrans.engine.options.prediction import PREDICTION
from chimerax.cryotrans.engine.options.training import TRAINING

SMALL = "depth 2 width 8 w2Iter 2 device cpu frames 2 wait false"
MARKED = {"event": "error", "text": "Use another --lr.", "marked": f"Use another {named('learning_rate')}."}
LONG = f"steps 1000000 period 20 {SMALL}"


@pytest.fixture
def begin(session, run, home, pair):
    """begin("options") starts a training of #1 to #2 that goes on for hours, and returns when it has checkpoints."""

    def begin(options: str = "", maps: str = "#1 to #2") -> CryoTransJob:
        job = run(f"cryotrans train {maps} {LONG} {options}")
        assert session.ui.wait_for(lambda: (job.folder / "net_3.pt").is_file(), 60)  # whose run.json says 40 at least
        return job

    return begin


def _ended(session, job, timeout=60):
    assert session.ui.wait_for(lambda: job.done, timeout), session.test_log.texts()
    assert job._process is None


def _content(job):
    return json.loads((job.folder / "run.json").read_text())


def _maps(session):
    return [model for model in session.models.list() if len(model.id) == 1]


# While it runs


def test_run_in_the_background_is_told_of(session, begin):
    threads = set()
    for name in ("info", "status"):
        say = getattr(session.logger, name)
        setattr(
            session.logger, name, lambda *a, say=say, **kw: (threads.add(threading.current_thread()), say(*a, **kw))
        )
    try:
        job = begin()
        assert job in session.tasks.list() and job.state == RUNNING and job.runtime.total_seconds() > 0
        assert session.ui.wait_for(lambda: any("left" in text for text in session.test_log.texts("status")))
    finally:
        del session.logger.info, session.logger.status
    status = next(text for text in session.test_log.texts("status") if "left" in text)
    assert re.fullmatch(r"CryoTRANS: step \d+ of 1000000, about [\d.]+ (s|min|h) left", status)
    assert threads == {threading.main_thread()}
    assert str(job) == f"CryoTRANS A → B, task {job.id}"
    output = (job.folder / "worker.log").read_text()
    assert output.startswith("$ ") and '"event": "checkpoint"' in output and '"event": "step"' not in output


def test_stop_saves_and_opens_what_there_is(session, run, begin):
    job = begin()
    run("close #2")  # the trajectory lies on the initial map, so that this does not matter
    assert run(f"cryotrans stop {job.id}") == [job]
    assert "stopping" in session.test_log.texts("status")[-1]
    _ended(session, job)
    assert not any("step" in text for text in session.test_log.texts("status")[-1:])
    content = _content(job)
    assert content["state"] == "stopped" and content["step"] >= 40 and job.error is None
    assert job.series in session.models.list() and len(job.series.maps) == 2
    assert job.state == FINISHED and job.runtime.total_seconds() > 0
    assert f"{content['step']} of 1000000 (stopped)" in "\n".join(session.test_log.texts("info"))
    assert "cxcmd:cryotrans%20resume" in session.test_log.texts("info")[-1]
    with pytest.raises(UserError, match="No job of CryoTRANS is running"):
        run("cryotrans stop")
    # It goes on from there, into new frames, for those of before are open.
    resumed = run(f'cryotrans resume "{job.folder}" steps {content["step"] + 3} frames 2 wait true')
    assert _content(resumed)["state"] == "finished" and _content(resumed)["step"] == content["step"] + 3
    assert [folder.name for folder in runs_of(session).find(job.folder).frames()] == ["frames", "frames_2"]


def test_two_runs_at_once(session, run, begin, tmp_path):
    first = begin(f'directory "{tmp_path}/first"')
    second = begin(f'directory "{tmp_path}/second" open false', "#2 to #1")
    with pytest.raises(UserError, match=r"Another run is being trained in .*first"):
        run(f'cryotrans train #1 to #2 {LONG} directory "{tmp_path}/first"')
    with pytest.raises(UserError, match="is being trained now"):
        run(f'cryotrans resume "{tmp_path}/first"')
    with pytest.raises(UserError, match="No job of CryoTRANS has the number or the folder /nowhere"):
        run("cryotrans stop /nowhere")
    statuses = session.test_log.texts("status")
    assert any(text.startswith("CryoTRANS A → B: step") for text in statuses)
    assert any(text.startswith("CryoTRANS B → A: step") for text in statuses)
    assert run(f'cryotrans stop "{tmp_path}/first"') == [first]
    _ended(session, first)
    assert not second.done
    assert run("cryotrans stop") == [second]
    _ended(session, second)
    assert first.series is not None and second.series is None
    assert _content(second)["state"] == "stopped"


# Maps, sessions and ChimeraX closed on the way


def test_map_closed_on_the_way(session, run, begin):
    job = begin()
    run("close #1")
    run("cryotrans stop")
    _ended(session, job)
    assert job.error is None and job.series is None
    assert [model.name for model in _maps(session)] == ["B"]
    assert len(list((job.folder / "frames").glob("*.mrc"))) == 2
    last = session.test_log.texts("info")[-1]
    assert "has been closed, so nothing was opened" in last and "vseries%20true" in last


@pytest.mark.parametrize("way", ["close session", "open another session"])
def test_closing_the_session_ends_its_runs(session, run, begin, tmp_path, way):
    if way == "open another session":
        run("close #2")
        run(f'save "{tmp_path}/other.cxs"')
        run(f'open "{tmp_path}/B.mrc"')
    job = begin()
    pid = job._process.pid
    run("close session" if way == "close session" else f'open "{tmp_path}/other.cxs"')
    assert job not in session.tasks.list()
    _ended(session, job)
    assert not exists(pid)
    assert _content(job)["state"] == "stopped" and (job.folder / "net.pt").is_file()
    assert not (job.folder / "frames").exists()
    assert [model.name for model in _maps(session)] == ([] if way == "close session" else ["A"])
    assert list(runs_of(session)) == []
    assert "cxcmd:cryotrans%20resume" in session.test_log.texts("info")[-1]


def test_terminate_saves_and_ends(session, run, begin):
    job = begin()
    pid = job._process.pid
    job.terminate()  # as the Task Manager does
    job.terminate()
    assert job not in session.tasks.list()
    _ended(session, job)
    assert not exists(pid) and job.series is None and job.error is None
    assert _content(job)["state"] == "stopped"
    assert "frames" not in {path.name for path in job.folder.iterdir()}


def test_quitting_leaves_no_worker(session, begin):
    job = begin()
    pid = job._process.pid
    session.triggers.activate_trigger("app quit", None)
    assert not exists(pid)
    assert _content(job)["state"] == "stopped"
    assert not (job.folder / "report.html").exists()  # left to resuming: the window is to close
    _ended(session, job)


# In a process of its own, which ends while a worker runs.
LEAVE = """
import os, sys, time
from pathlib import Path
import headless
session = headless.start(Path(sys.argv[1]) / "chimerax")
headless.link_bundle(session, Path(sys.argv[2]), Path(sys.argv[1]) / "bundle")
from chimerax.core.commands import run
from chimerax.cryotrans.app.settings import user_settings
user_settings(session).python = sys.executable
for name in ("A", "B"):
    run(session, f'open "{sys.argv[1]}/{name}.mrc"')
job = run(session, "cryotrans train #1 to #2 level 0.5 toLevel 0.5 steps 1000000 period 20 depth 2 width 8 w2Iter 2 "
                   f'wait false directory "{sys.argv[1]}/run"')
assert session.ui.wait_for(lambda: (job.folder / "net_1.pt").is_file(), 60)
print(job._process.pid, flush=True)
os._exit(1) if sys.argv[3] == "crash" else sys.exit(0)
"""


@pytest.mark.parametrize("way", ["exit", "crash"])
def test_end_of_chimerax_leaves_no_worker(pair, tmp_path, way):
    (tmp_path / "bundle").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, tmp_path, Path(__file__).parents[2], way],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path))},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == (1 if way == "crash" else 0), done.stderr
    pid = int(done.stdout.split()[-1])
    if way == "crash":  # the worker ends by itself, because its standard input has ended
        end = time.monotonic() + 30
        while exists(pid) and time.monotonic() < end:
            time.sleep(0.1)
    assert not exists(pid)
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["state"] == "stopped" and content["step"] >= 20


def test_ctrl_c_while_a_command_waits(session, run, home, pair, tmp_path):
    def interrupt():
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "net_1.pt").exists() and time.monotonic() < end:
            time.sleep(0.05)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(UserError, match="stopped by Ctrl-C"):
        run(f'cryotrans train #1 to #2 {LONG} wait true directory "{tmp_path}/run"'.replace("wait false", ""))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "stopped"
    assert len(_maps(session)) == 2
    assert f"cryotrans%20resume%20{tmp_path}/run" in session.test_log.texts("info")[-1]


# Failures


def test_killed_worker(session, run, begin):
    job = begin()
    os.kill(job._process.pid, signal.SIGKILL)
    _ended(session, job)
    [error] = session.test_log.texts("error")
    assert "The worker was killed (SIGKILL)" in error and "binning 2" in error
    assert "The last checkpoint is whole: cryotrans resume" in error and str(job.folder / "worker.log") in error
    assert job.error.strip() == error.strip() and job.series is None
    assert runs_of(session).find(job.folder).state() == "interrupted"
    step = _content(job)["step"]
    assert step >= 40
    run(f'cryotrans resume "{job.folder}" steps {step + 2} frames 2 open false wait true')
    assert _content(job)["step"] == step + 2


def test_worker_out_of_memory(session, run, use_script, pair):
    # The real worker, in which the GPU has too little memory from the third step on.
    use_script("""
import runpy, sys, torch
steps = []
def evaluate(self, *args, really=torch.Tensor.backward):
    steps.append(1)
    if len(steps) >= 3:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    return really(self, *args)
torch.Tensor.backward = evaluate
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
""")
    with pytest.raises(UserError, match=r"There is not enough memory for this run.*binning 2.*device cpu") as caught:
        run(f"cryotrans train #1 to #2 steps 9 period 1 {SMALL}".replace("wait false", ""))
    assert "The last checkpoint is whole" in str(caught.value) and "worker.log" in str(caught.value)
    [job] = session.tasks.find_by_class(CryoTransJob)
    assert _content(job)["state"] == "failed"
    assert "out of memory" in (job.folder / "worker.log").read_text().lower()
    assert session.test_log.texts("error") == []  # what a command raises, ChimeraX reports


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed (SIGSEGV)"),
        ("import sys; sys.exit(3)", "crashed (exit status 3)"),
        ("import nothing_of_that_name", "crashed (exit status 1): ModuleNotFoundError"),
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "Type: cryotrans install"),
        ("print('plain words')", "crashed (exit status 0): plain words"),
        ("raise OSError(28, 'No space left on device')", "The disk is full"),
        (f"print({json.dumps(json.dumps(MARKED))}); exit(2)", "Use another learningRate."),
    ],
)
def test_worker_that_fails_at_once(session, run, use_script, pair, code, sentence):
    use_script(code)
    job = run(f"cryotrans train #1 to #2 steps 9 {SMALL}")
    _ended(session, job)
    [error] = session.test_log.texts("error")
    assert sentence in error and f"The full output is in {job.folder}/worker.log." in error
    assert "checkpoint" not in error
    assert (job.folder / "worker.log").read_text().startswith("$ ")
    assert job.state == FINISHED and job.runtime.total_seconds() >= 0


def test_python_that_cannot_be_started(session, run, home, pair, tmp_path, monkeypatch):
    monkeypatch.setattr(beginning, "find_python", lambda session: tmp_path / "gone")
    with pytest.raises(UserError, match=r"gone cannot be started: No such file"):
        run("cryotrans train #1 to #2 wait true")


def test_failure_of_the_frames_keeps_the_training(session, run, use_script, pair):
    use_script("""
import runpy, sys
if sys.argv[2] == "predict":
    sys.exit(1)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
""")
    job = run(f"cryotrans train #1 to #2 steps 2 {SMALL}")
    _ended(session, job)
    assert "crashed" in job.error and "checkpoint" not in job.error and job.series is None
    assert _content(job)["state"] == "finished" and pair[0].display
    run("cryotrans runs")
    assert "cxcmd:cryotrans%20predict%20%231%20run" in session.test_log.texts("info")[-1]


def test_hung_worker_is_killed_with_its_children(session, run, use_script, pair, monkeypatch, tmp_path):
    monkeypatch.setattr(background, "SECONDS_TO_SAVE", 0.5)
    use_script(f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
print('{{"event": "note", "text": "hanging"}}', flush=True)
time.sleep(1000)
""")
    job = run(f"cryotrans train #1 to #2 {SMALL}")
    assert session.ui.wait_for(lambda: any("hanging" in text for text in session.test_log.texts("info")))
    run("cryotrans stop")
    _ended(session, job, 10)
    assert "The worker was ended before it had saved." in job.error
    assert not any(exists(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_stop_asked_before_the_worker_is_there(session, run, use_script, pair):
    end = {"event": "end", "state": "stopped", "step": 0, "n_steps": 9, "loss": 0, "seconds": 0, "mass_outside": 0}
    use_script(f"import sys; sys.stdin.read(); print({json.dumps(json.dumps(end))})")
    job = CryoTransJob(session, "A", Run(Path(user_settings(session).python).parent), sys.executable, {}, None)
    job.stop()
    job._python = Path(user_settings(session).python)
    job._take_up_end = lambda message: None
    job.start()
    _ended(session, job, 10)
    assert job.error is None


def test_stop_before_the_first_step_opens_nothing(session, run, home, pair):
    job = run(f"cryotrans train #1 to #2 {LONG}")
    run("cryotrans stop")
    _ended(session, job)
    assert job.error is None and job.series is None and _content(job)["step"] == 0
    assert not (job.folder / "frames").exists() and pair[0].display
    assert "cxcmd:cryotrans%20resume" in session.test_log.texts("info")[-1]


def test_advice_that_is_a_command_is_a_link(session, run, home, pair):
    job = run(f"cryotrans train #1 to #2 steps 2 open false wait true {SMALL.replace('wait false', '')}")
    assert job.verdict["word"] == "poor" and any("recipe" in text for text in job.verdict["advice"])
    assert "To try next: " in session.test_log.texts("info")[-1]
    assert "cxcmd:cryotrans%20train%20%231%20to%20%232%20recipe%20auto" in session.test_log.texts("info")[-1]


def test_notes_and_warnings_are_said_once(session, home, tmp_path):
    job = CryoTransJob(session, "A → B", Run(tmp_path), Path(sys.executable), None, None)
    for _ in range(2):
        marked = f"Some mass is lost; use another {named('learning_rate')}."
        job.take_up({"event": "warning", "text": "", "marked": marked})
        job.take_up({"event": "note", "text": "Computing."})
        job.take_up({"event": "unheard of"})
    assert session.test_log.texts("warning") == ["CryoTRANS A → B: Some mass is lost; use another learningRate.\n"]
    assert [text.strip() for text in session.test_log.texts("info")] == ["<b>CryoTRANS A → B</b><br/>", "Computing."]


@pytest.mark.parametrize(
    ("said", "status", "printed", "sentence"),
    [
        ("Out of memory. Use a binning (-b 2).", 2, "", "not enough memory"),
        (None, 1, "RuntimeError: CUDA out of memory. Tried to allocate", "not enough memory"),
        (None, 1, "MemoryError", "not enough memory"),
        (None, 1, "RuntimeError: CUDA error: device-side assert", "Update the driver"),
        (None, 1, "no kernel image is available for execution", "device cpu"),
        ("Another program is training in /x at this moment.", 2, "", "another ChimeraX"),
        ("Cannot write /x: No space left on device. Make room on the disk.", 2, "", "disk is full"),
        (None, -9, "", "killed (SIGKILL)"),
        (None, 137, "", "killed (SIGKILL)"),
        (None, -11, "", "killed (SIGSEGV)"),
        (None, 5, "$ python\n\nfirst\nlast\n{json\n", "crashed (exit status 5): last"),
    ],
)
def test_known_failures_have_sentences(said, status, printed, sentence):
    assert sentence in sentence_for(said, status, printed, asked_to_end=False)


def test_options_are_said_as_keywords():
    text = f"Use a smaller {named('learning_rate')} or {named('bin_size')} 2 for /a/--lr -b.mrc, or {named('gpu')}."
    said = "Use a smaller learningRate or binning 2 for /a/--lr -b.mrc, or device cuda:N."
    assert said_by({"text": "in the words of the program", "marked": text}) == said
    assert said_by({"text": "Two --lr."}) == "Two --lr."


def test_every_option_has_a_name_without_dashes():
    for name in (*TRAINING, *PREDICTION):
        assert not keyword(name).startswith("-") and "_" not in keyword(name)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (5400, "1.5 h")])
def test_times_are_short(seconds, text):
    assert time_text(seconds) == text


# What ChimeraX's tasks leave to care for


class _Brief(BackgroundTask):
    """Does what it is given, on the task's thread."""

    def __init__(self, session, work=lambda task: None):
        super().__init__(session, "brief")
        self._work, self.taken, self.finished = work, [], 0

    def work(self):
        self._work(self)

    def take_up(self, message):
        self.taken.append((message["event"], threading.current_thread()))

    def finish(self):
        self.finished += 1


def test_trap_1_a_task_that_ends_at_once_is_finished(session):
    tasks = [_Brief(session) for _ in range(200)]
    for task in tasks:
        task.start()
    assert session.ui.wait_for(lambda: all(task.done for task in tasks))
    for task in tasks:
        if task._thread is not None:
            task._thread.join()
    assert {task.state for task in tasks} == {FINISHED}


def test_trap_2_an_exception_ends_the_task(session):
    def fail(task):
        raise RuntimeError("unforeseen")

    task = _Brief(session, fail)
    task.start()
    assert session.ui.wait_for(lambda: task.done)
    assert "unforeseen" in task.error and "Traceback" in task.error and task.finished == 1
    waited = _Brief(session, fail)
    with pytest.raises(UserError, match="unforeseen"):
        waited.wait()


def test_trap_2_an_exception_on_the_main_thread_does_not_reach_the_event_loop(session):
    class Clumsy(_Brief):
        def take_up(self, message):
            raise RuntimeError("unforeseen")

        def finish(self):
            raise UserError("cannot open the series")

    task = Clumsy(session, lambda task: task.tell("news"))
    task.start()
    assert session.ui.wait_for(lambda: task.done)
    assert any("cannot open the series" in text for text in session.test_log.texts("error"))
    waited = Clumsy(session)
    with pytest.raises(UserError, match="cannot open the series"):
        waited.wait()


def test_trap_3_runtime_can_always_be_asked(session):
    task = _Brief(session)
    assert task.runtime.total_seconds() == 0
    task.start()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert task.runtime.total_seconds() >= 0
    session.ui.pump()
    assert task.state == FINISHED and task.end_time is not None
    task.terminate()
    assert task.runtime.total_seconds() >= 0


# Trap 4, terminate() ends nothing: see test_terminate_saves_and_ends and test_hung_worker_is_killed_with_its_children.


def test_trap_5_news_come_at_once(session):
    assert not issubclass(BackgroundTask, Job) and issubclass(BackgroundTask, Task)  # a Job looks every 5 s
    began = time.monotonic()
    task = _Brief(session, lambda task: task.tell("news"))
    task.start()
    assert session.ui.wait_for(lambda: task.done) and time.monotonic() - began < 1
    assert [event for event, _ in task.taken] == ["news"]


# Trap 6, a task outlives its session: see test_closing_the_session_ends_its_runs.


def test_trap_7_without_an_event_loop_nothing_happens_on_another_thread(session, run, monkeypatch):
    monkeypatch.setattr(session.ui, "looping", False)
    told = threading.Event()
    task = _Brief(session, lambda task: (task.tell("news"), told.set()))
    task.start()
    assert told.wait(5)
    time.sleep(0.2)
    assert task.taken == [] and not task.done
    session.update_loop.draw_new_frame()  # as `wait 1` does in a script
    assert task.done and task.taken == [("news", threading.main_thread())]
    waited = _Brief(session, lambda task: task.tell("news"))
    waited.wait()
    assert waited.taken == [("news", threading.main_thread())]


def test_messages_are_taken_up_in_order_though_the_event_loop_runs_meanwhile(session):
    class Slow(_Brief):
        def take_up(self, message):
            self.process()
            super().take_up(message)

    task = Slow(session, lambda task: [task.tell(event) for event in "abc"])
    task.wait()
    assert [event for event, _ in task.taken] == ["a", "b", "c"]


def test_tasks_that_are_over_leave_nothing_behind(session):
    handlers = {name: len(session.triggers._triggers[name]._handlers) for name in ("new frame", "app quit")}
    tasks = [_Brief(session) for _ in range(3)]
    for task in tasks:
        task.wait()
        task.terminate()
    session.update_loop.draw_new_frame()
    assert {name: len(session.triggers._triggers[name]._handlers) for name in handlers} == handlers
    assert not background._tasks & set(tasks)
    with contextlib.suppress(KeyError):
        assert tasks[0].id not in session.tasks
