"""Computing on another machine: a real sshd on the loopback interface, real programs behind it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from chimerax.core.errors import UserError
from other_machine import NAME, OtherMachine, sshd_path

from chimerax.cryotrans.app.remote.connection import Connection, Trouble, trouble_of
from chimerax.cryotrans.app.remote.record import record_in
from chimerax.cryotrans.app.runs import Run, runs_of
from chimerax.cryotrans.app.settings import user_settings

pytestmark = pytest.mark.skipif(sshd_path() is None, reason="needs an sshd")

SMALL = "depth 2 width 8 w2Iter 2 frames 2 seed 3"
THERE = f"{SMALL} device ssh:{NAME}/cpu"
LONG = f"steps 1000000 period 20 {THERE} wait false"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that listens, whose programs end with the test."""
    machine = OtherMachine(tmp_path / "other machine")
    monkeypatch.setenv("CRYOTRANS_SSH_CONFIG", str(machine.config))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine.start()
    yield machine
    machine.stop()
    for run in machine.runs:
        for work in run.glob("*_[0-9]*"):
            (work / "stop").touch()
            _wait(lambda work=work: (work / "status.json").read_bytes().strip(), 60)


@pytest.fixture
def ready(machine, session, home):
    """The same, as `cryotrans install host` leaves it."""
    user_settings(session).machines = {NAME: sys.executable}
    return machine


def _wait(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _steps(folder: Path) -> list[str]:
    return (folder / "loss.log").read_text().splitlines()


def _begun(session, run, machine):
    """A job that trains there for hours and has come to its second checkpoint."""
    job = run(f"cryotrans train #1 to #2 {LONG}")
    assert session.ui.wait_for(lambda: len(job.checkpoints) > 2 or job.done, 60)
    assert not job.done, session.test_log.texts()
    return job


def _ended(session, job, seconds=60):
    assert session.ui.wait_for(lambda: job.done, seconds), session.test_log.texts()


def test_a_training_there_ends_as_one_here(ready, session, run, pair):
    here = run(f"cryotrans train #1 to #2 steps 6 period 2 {SMALL} device cpu")
    there = run(f"cryotrans train #1 to #2 steps 6 period 2 {THERE}")
    assert there.error is None and there.series is not None and len(there.series.maps) == 2
    losses = [[line.split()[:2] for line in _steps(job.folder)] for job in (here, there)]
    assert losses[0] == losses[1]
    assert (here.folder / "net.pt").read_bytes() == (there.folder / "net.pt").read_bytes()
    assert [message["step"] for message in there.checkpoints] == [message["step"] for message in here.checkpoints]
    frames = [job.folder / "frames" / "frame_1.mrc" for job in (here, there)]
    assert frames[0].read_bytes()[1024:] == frames[1].read_bytes()[1024:]  # the header has times
    content = json.loads((there.folder / "run.json").read_text())
    assert content["initial"]["path"] == str(there.folder / "maps" / "initial.mrc")
    assert str(ready.home) not in (there.folder / "run.json").read_text()
    assert Run(there.folder).state() == "finished" and record_in(there.folder).state == "fetched"
    assert not list(there.folder.rglob("*.part"))
    # Carried on, there again, and predicted there.
    resumed = run(f'cryotrans resume "{there.folder}" steps 8 frames 2')
    assert resumed.error is None and len(_steps(there.folder)) > len(losses[0])
    assert len(ready.runs) == 1
    series = run(f'cryotrans predict #1 run "{there.folder}" frames 3 device ssh:{NAME}/cpu')
    assert len(series.maps) == 3


def test_stop_saves_there_and_opens_here(ready, session, run, pair):
    job = _begun(session, run, ready)
    run("cryotrans stop")
    _ended(session, job)
    content = json.loads((job.folder / "run.json").read_text())
    assert job.error is None and content["state"] == "stopped" and content["step"] >= 40
    assert job.series in session.models.list()


def test_cut_connections_lose_and_double_no_line(ready, session, run, pair):
    job = run(f"cryotrans train #1 to #2 steps 3000 period 2 {THERE} wait false")
    cut = threading.Event()

    def cut_often() -> None:
        while not cut.wait(0.15):
            job._chosen.cut()

    thread = threading.Thread(target=cut_often, daemon=True)
    assert session.ui.wait_for(lambda: bool(job.checkpoints) or job.done, 60)
    thread.start()
    session.ui.wait_for(lambda: len(job.checkpoints) > 150 or job.done, 10)
    cut.set()
    thread.join()
    run("cryotrans stop")
    _ended(session, job)
    assert job.error is None, job.error
    [output] = ready.runs[0].glob("train_1/output")
    told = [json.loads(line) for line in output.read_text().splitlines()]
    assert [message["step"] for message in job.checkpoints] == [
        message["step"] for message in told if message["event"] == "checkpoint"
    ]


def test_quit_and_found_again(ready, session, run, pair, frame):
    job = _begun(session, run, ready)
    run("close session")  # as at ChimeraX's end, only that the tests go on
    _ended(session, job, 10)
    assert job.error is None and any("It goes on on" in text for text in session.test_log.texts("info"))
    folder = job.folder
    assert runs_of(session).find(folder) is None and (folder / "maps" / "initial.mrc").is_file()
    assert not (ready.runs[0] / "train_1" / "status.json").read_bytes().strip()  # it runs
    assert Run(folder).state() == f"on {NAME}"
    with pytest.raises(UserError, match=f"is on {NAME}, and its checkpoints come when it ends"):
        run(f'cryotrans resume "{folder}"')
    session.test_log.entries.clear()
    run("cryotrans runs")
    table = session.test_log.texts("info")[-1]
    assert "running, step" in table and "of 1000000" in table and "cryotrans%20runs%20fetch" in table
    again = run(f'cryotrans runs fetch "{folder}" wait false')
    assert session.ui.wait_for(lambda: len(again.checkpoints) > 2, 60), session.test_log.texts()
    run("cryotrans stop")
    _ended(session, again)
    assert again.error is None and again.series is not None
    assert again.checkpoints[: len(job.checkpoints)] == job.checkpoints  # told anew, from the first
    assert Run(folder).state() == "stopped"


def test_full_disk_there(ready, session, run, pair):
    ready.stop()
    ready.start(["prlimit", "--fsize=20000"])
    with pytest.raises(UserError, match=rf"On {NAME}: Cannot write .*File too large. Make room on its disk") as refusal:
        run(f"cryotrans train #1 to #2 steps 6 {THERE}")
    assert str(refusal.value).count("\n") == 0
    assert not list((Path.home() / "CryoTRANS").glob("*"))  # nothing has come of it
    ready.stop()
    ready.start()
    assert run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE}").error is None
    ready.stop()
    largest = max(path.stat().st_size for path in (ready.runs[0] / "run" / "maps").iterdir())
    ready.start(["prlimit", f"--fsize={largest}"])  # takes the maps and not the frames' last
    job = run(f"cryotrans train #1 to #2 steps 400 period 1 {THERE} wait false")
    _ended(session, job)
    assert job.error is None or f"On {NAME}: The disk is full. Make room on it" in job.error


def test_host_key_that_changed(ready, session, run, pair):
    ready.make_key("other_key")
    ready.know("other_key")
    with pytest.raises(UserError, match=f"The key of {NAME} is another than the one that ssh knows: .* ssh-keygen -R"):
        run(f"cryotrans train #1 to #2 steps 2 {THERE}")
    (ready.config.parent / "known_hosts").write_text("")
    with pytest.raises(UserError, match=f"ssh does not know {NAME} yet. Type once in a terminal: ssh {NAME}"):
        run(f"cryotrans train #1 to #2 steps 2 {THERE}")


def test_machine_that_does_not_let_in_or_is_not_there(ready, session, run, pair):
    ready.make_key("user_key_2")
    (ready.config.parent / "user_key").write_text((ready.config.parent / "user_key_2").read_text())
    with pytest.raises(UserError, match=f"{NAME} does not let ssh in without a password, .* ssh-copy-id {NAME}"):
        run(f"cryotrans train #1 to #2 steps 2 {THERE}")
    ready.stop()
    with pytest.raises(UserError, match=f"{NAME} cannot be reached by ssh: .*refused. Is it on"):
        run(f"cryotrans train #1 to #2 steps 2 {THERE}")
    with pytest.raises(UserError, match=r"There is no machine nowhere\.invalid, or no network"):
        run(f"cryotrans train #1 to #2 steps 2 {SMALL} device ssh:nowhere.invalid")
    with pytest.raises(UserError, match="Expected one of"):
        run("cryotrans train #1 to #2 device ssh:-oProxyCommand=reboot")
    assert not list((Path.home() / "CryoTRANS").glob("*"))


def test_no_python_there(machine, session, run, home, pair, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    machine.stop()
    machine.start(path=str(empty))
    with pytest.raises(UserError, match=f"{NAME} has no python3. Install Python 3.9 or later there, or say where it is"):
        run(f"cryotrans install host {NAME}")
    with pytest.raises(UserError, match=f"{NAME} has no Python /nowhere/python"):
        run(f"cryotrans install host {NAME} python /nowhere/python")
    old = empty / "python3"
    old.write_text("#!/bin/sh\nread line\necho python is 3.6\nexit 93\n")  # as ours says it, of an old one
    old.chmod(0o755)
    with pytest.raises(UserError, match=f"The python3 of {NAME} is older than 3.9, and no newer one was found"):
        run(f"cryotrans install host {NAME}")


def test_install_and_another_version(machine, session, run, home, pair):
    with pytest.raises(UserError, match=f"CryoTRANS is not installed on {NAME}. Type: cryotrans install host {NAME}"):
        run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE}")
    run(f'cryotrans install host {NAME} python "{sys.executable}"')
    said = "\n".join(session.test_log.texts("info"))
    assert f"CryoTRANS is ready on {NAME}" in said and "Computing on" in said
    assert user_settings(session).machines == {NAME: sys.executable}
    engines = machine.home / ".cryotrans" / "engines"
    [ours] = engines.iterdir()
    assert not list((machine.home / ".cryotrans").glob("trial*"))
    ours.rename(engines / "0123456789abcdef")  # of another version, as what is there then is called
    assert run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE}").error is None
    assert ours.is_dir() and json.loads((ours / "version.json").read_text())["digest"] == ours.name
    run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE}")
    assert len(list(engines.iterdir())) == 2


def test_line_that_submits_to_a_queue(ready, session, run, pair):
    ours = ready.home / ".cryotrans"
    ours.mkdir()
    (ours / "submit").write_text("# the queue\necho submitted >> queue; sh -c {command}\n")
    job = run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE}")
    assert job.error is None and (ready.runs[0] / "train_1" / "queue").read_text() == "submitted\n"
    (ours / "submit").write_text("echo no partition of that name >&2; exit 1\n")
    job = run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE} wait false")
    _ended(session, job)
    assert "The line in ~/.cryotrans/submit ended with status 1: no partition of that name." in job.error


def test_worker_that_is_killed_there(ready, session, run, pair):
    job = _begun(session, run, ready)
    [pid] = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_worker(path, ready.runs[0])]
    os.kill(pid, signal.SIGKILL)
    _ended(session, job)
    assert f"On {NAME}: The worker was killed (SIGKILL)" in job.error
    assert Run(job.folder).can_go_on  # what it had saved is here


def _is_worker(process: Path, run: Path) -> bool:
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().split(b"\0")
        return b"train" in words and str(run / "run").encode() in words
    return False


def test_what_ssh_says_is_said_in_a_sentence():
    for said in ("kex_exchange_identification: Connection closed by remote host", "ssh: connect: timed out"):
        assert trouble_of("a", "", 255, said).passes
    strange = trouble_of("a", "", 255, "Bad owner or permissions on /home/me/.ssh/config\n")
    assert str(strange).startswith("ssh to a failed: Bad owner or permissions") and not strange.passes
    with pytest.raises(Trouble, match="is no name of a machine"):
        Connection("-oProxyCommand=reboot")
