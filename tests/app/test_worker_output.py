"""Whatever a worker prints: garbage, floods, lines without an end, silence, the words of another version."""

from __future__ import annotations

import io
import json
import sys
import time
import tracemalloc
from itertools import pairwise

import pytest

from chimerax.cryotrans import __version__
from chimerax.cryotrans.app import background, processes
from chimerax.cryotrans.app.messages import message_of
from chimerax.cryotrans.app.worker_output import LONGEST_LINE, lines_of, tail_of

END = {"event": "end", "state": "stopped", "text": "Stopped.", "step": 0, "n_steps": 9, "loss": 0.5, "seconds": 0.0}
END["mass_outside"] = 0.0
SMALL = "depth 2 width 8 w2Iter 2 device cpu frames 2 wait false"


class Noisy(background.BackgroundTask):
    """Runs a program that prints, and takes up what it tells."""

    def __init__(self, session, command, folder):
        super().__init__(session, "noisy")
        self._command, self._folder, self.taken = command, folder, []

    def work(self):
        import os

        self.outcome = self.run_program(self._command, self._folder / "worker.log", os.environ)

    def take_up(self, message):
        self.taken.append(message)


def _turns(session, task, seconds=60):
    """Take turns of the event loop until the task is over; when each turn began, s."""
    turns = [time.monotonic()]
    end = turns[0] + seconds
    while not task.done and time.monotonic() < end:
        session.ui.pump()
        turns.append(time.monotonic())
        time.sleep(0.002)
    assert task.done
    return turns


def _run(session, tmp_path, code):
    import sys

    task = Noisy(session, [sys.executable, "-c", code], tmp_path)
    task.start()
    return task, _turns(session, task)


def test_a_line_without_an_end_takes_no_memory(session, tmp_path):
    tracemalloc.start()
    task, _ = _run(
        session,
        tmp_path,
        f"""
import sys
for _ in range(100):
    sys.stdout.write("x" * 10**6)
sys.stdout.write('{{"event": "note", "text": "x"}}\\n')
print({json.dumps(json.dumps(END))})
""",
    )
    assert tracemalloc.get_traced_memory()[1] < 8 * LONGEST_LINE
    tracemalloc.stop()
    assert task.error is None and [message["event"] for message in task.taken] == ["end"]
    assert task.outcome.end == END
    assert (tmp_path / "worker.log").stat().st_size < processes._MOST_LOGGED + 1000
    assert tail_of(tmp_path / "worker.log", 0).endswith("the rest is left out.\n")


def test_a_flood_leaves_the_window_its_turns_and_holds_the_worker_back(session, tmp_path, monkeypatch):
    waiting = []
    take_up = Noisy.take_up
    monkeypatch.setattr(background, "_MOST_WAITING", 100)

    def slowly(task, message):  # 1 ms each, which a Log with a window needs
        waiting.append(task._messages.qsize())
        time.sleep(0.001)
        take_up(task, message)

    monkeypatch.setattr(Noisy, "take_up", slowly)
    task, turns = _run(
        session,
        tmp_path,
        f"""
for number in range(500):
    print('{{"event": "note", "text": "%d"}}' % number)
print({json.dumps(json.dumps(END))})
""",
    )
    assert [message.get("text") for message in task.taken[:-1]] == [str(number) for number in range(500)]
    assert max(waiting) <= 102
    assert len(turns) > 500 * 0.001 / 0.05  # many turns, none of which takes up more than a little
    assert len([gap for gap in (b - a for a, b in pairwise(turns)) if gap > 0.5]) == 0


def test_news_of_steps_are_left_out_where_nobody_takes_them_up(session, tmp_path):
    task = Noisy(session, [], tmp_path)
    step = {"event": "step", "step": 1, "seconds_left": 1.0}
    for _ in range(1000):
        task._pass_on(step)
    task._pass_on(END)
    assert task._messages.qsize() == background._MOST_STEPS_WAITING + 2
    task.process()
    task.start()
    _turns(session, task)


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\xfe garbage \x1b[31m",
        b"[" * 100_000,
        b'{"event": "over", "failure": null}',
        b'{"event": 1}',
        b'{"event": "step"}',
        b'{"event": "step", "step": "one", "seconds_left": null}',
        b'{"event": "end", "state": "finished"}',
        b'{"event": "end", "state": "finished", "step": 1}',
        b'{"event": "checkpoint", "step": 3, "seconds": "x"}',
        b'{"event": "note", "text": ["x"]}',
        b'{"event": "start", "device": "cpu", "leg": 1}',
        b'{"event": "note", "text": "x", "leg": "one"}',
        b"1" * 10_000,
        b"",
    ],
)
def test_garbage_is_no_message(session, line):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)  # as some library may have done
    try:
        message = message_of(line)
    finally:
        sys.setrecursionlimit(limit)
    assert message is None or message["event"] == "over"


def test_a_worker_cannot_say_that_all_is_over(session, tmp_path):
    task, _ = _run(session, tmp_path, f"""print('{{"event": "over"}}'); print({json.dumps(json.dumps(END))})""")
    assert task.error is None and [message["event"] for message in task.taken] == ["over", "end"]


def test_lines_are_whole_or_said_to_be_pieces():
    long = b"x" * LONGEST_LINE
    lines = list(lines_of(io.BytesIO(b"a\n" + long + b"b\nc\nlast")))
    assert lines == [(b"a\n", True), (long, False), (b"b\n", False), (b"c\n", True), (b"last", True)]


def test_a_run_survives_garbage_among_its_messages(session, run, use_script, pair):
    use_script("""
import runpy, sys
print("[" * 100_000)
print('{"event": "step"}')
print('{"event": "end", "state": "finished"}')
print("\\x00\\xff", flush=True)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
""")
    job = run(f"cryotrans train #1 to #2 steps 2 open false {SMALL}")
    assert session.ui.wait_for(lambda: job.done, 60) and job.error is None
    assert job.verdict is not None and session.test_log.texts("error") == []
    assert not any("version" in text for text in session.test_log.texts("warning"))
    assert json.dumps({"event": "program", "version": __version__}) in (job.folder / "worker.log").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(("version", "words"), [("9.9", "is version 9.9"), (None, "does not say its version")])
def test_a_worker_of_another_version_is_told_of_once(session, run, use_script, pair, version, words):
    program = "" if version is None else f"print({json.dumps(json.dumps({'event': 'program', 'version': version}))})"
    start = {"event": "start", "device": "cpu", "n_steps": 9}
    use_script(f"{program}\nprint({json.dumps(json.dumps(start))})\nprint({json.dumps(json.dumps(END))})")
    job = run(f"cryotrans train #1 to #2 steps 9 {SMALL}")
    assert session.ui.wait_for(lambda: job.done, 60)
    [warning] = [text for text in session.test_log.texts("warning") if "version" in text]
    assert words in warning and f"version {__version__}, as after an update: start ChimeraX anew" in warning


def test_a_worker_that_says_very_much_is_cut_short_in_the_log(session, run, use_script, pair):
    use_script(f"""
for number in range(500):
    print('{{"event": "note", "text": "%d %s"}}' % (number, "x" * 3000))
print({json.dumps(json.dumps(END))})
""")
    job = run(f"cryotrans train #1 to #2 steps 9 {SMALL}")
    assert session.ui.wait_for(lambda: job.done, 60)
    said = [text for text in session.test_log.texts("info") if "xxx" in text]
    assert len(said) == 200 and max(map(len, said)) <= 2010
    assert any("What more it says is in" in text for text in session.test_log.texts("info"))
