"""Computing on another machine: a real sshd on the loopback interface, real programs behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chimerax.core.errors import UserError
from other_machine import NAME, OtherMachine, sshd_path
from phantoms import LEVEL

from chimerax.cryotrans.app.remote import following
from chimerax.cryotrans.app.remote.connection import Connection, Trouble, trouble_of
from chimerax.cryotrans.app.remote.engine import engine_digest
from chimerax.cryotrans.app.remote.files import _inside, pull, push
from chimerax.cryotrans.app.remote.machines import prepared
from chimerax.cryotrans.app.remote.places import Places
from chimerax.cryotrans.app.remote.record import record_in
from chimerax.cryotrans.app.runs import Run, runs_of
from chimerax.cryotrans.app.settings import user_settings

ROOT = Path(__file__).resolve().parents[2]
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


def _losses(folder: Path) -> list[list[str]]:
    return [line.split()[:2] for line in (folder / "loss.log").read_text().splitlines()]


def _begun(session, run, options=LONG):
    """A job that trains there for long and has come to its second checkpoint."""
    job = run(f"cryotrans train #1 to #2 {options}")
    assert session.ui.wait_for(lambda: len(job.checkpoints) > 2 or job.done, 60)
    assert not job.done, session.test_log.texts()
    return job


@pytest.fixture
def fake(ready, session, tmp_path):
    """fake(code) has this Python code run there in the place of the programs, in which `say(event, ...)` tells."""

    def fake(code: str) -> None:
        (tmp_path / "worker.py").write_text(_FAKE + code)
        python = tmp_path / "python"
        python.write_text(
            f'#!/bin/sh\n[ -f "$1/__main__.py" ] && set -- "{tmp_path}/worker.py" "$@"\nexec "{sys.executable}" "$@"\n'
        )
        python.chmod(0o755)
        user_settings(session).machines = {NAME: str(python)}

    return fake


_FAKE = """
import json, os, select, sys, time
stopped = lambda: bool(select.select([0], [], [], 0)[0])
def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)
def end(step, state="stopped"):
    say("end", state=state, step=step, n_steps=100000, loss=1.0, seconds=1.0, mass_outside=0.0, text="", directory=".")
say("program", version="0.1.0")
if "predict" in sys.argv:
    say("end", state="stopped", directory=".", files=[], mass_outside=0.0, text="")
    sys.exit()
say("start", device="cpu", n_steps=100000, n_points=1, step=0, period=1, directory=".")
"""
_TRAINS = """
step = 0
while not stopped():
    step += 1
    say("checkpoint", step=step, loss=1.0, seconds=1.0, weights="net.pt")
    time.sleep(0.01)
end(step)
"""


def _ended(session, job, seconds=60):
    assert session.ui.wait_for(lambda: job.done, seconds), session.test_log.texts()


def test_a_training_there_ends_as_one_here(ready, session, run, pair, tmp_path):
    job = run(f"cryotrans train #1 to #2 steps 6 period 2 {THERE}")
    assert job.error is None and job.series is not None and len(job.series.maps) == 2
    maps = [f"{job.folder}/maps/{name}.mrc" for name in ("initial", "target")]
    options = f"-t0 {LEVEL} -t1 {LEVEL} -n 6 -p 2 --depth 2 --width 8 --w2_iter 2 --seed 3 --device cpu --no-report"
    words = [*options.split(), "-i0", maps[0], "-i1", maps[1], "-d", tmp_path / "here", "--progress", "none"]
    subprocess.run([sys.executable, ROOT / "src", "train", *words], check=True, timeout=120)
    here, there = (_losses(folder) for folder in (tmp_path / "here", job.folder))
    assert here == there and len(here) >= 3
    assert (tmp_path / "here" / "net.pt").read_bytes() == (job.folder / "net.pt").read_bytes()
    assert [message["step"] for message in job.checkpoints][-3:] == [2, 4, 6]
    content = json.loads((job.folder / "run.json").read_text())
    assert content["initial"]["path"] == str(job.folder / "maps" / "initial.mrc")
    assert str(ready.home) not in (job.folder / "run.json").read_text()
    assert Run(job.folder).state() == "finished" and record_in(job.folder).state == "fetched"
    assert not list(job.folder.rglob("*.part"))
    series = run(f'cryotrans predict #1 run "{job.folder}" frames 3 device ssh:{NAME}/cpu')
    assert len(series.maps) == 3


def test_stop_saves_there_and_resume_goes_on_there(ready, session, run, pair):
    job = _begun(session, run)
    run("cryotrans stop")
    _ended(session, job)
    content = json.loads((job.folder / "run.json").read_text())
    assert job.error is None and content["state"] == "stopped" and content["step"] >= 40
    assert job.series in session.models.list()
    resumed = run(f'cryotrans resume "{job.folder}" steps {content["step"] + 2} frames 2')
    assert resumed.error is None and Run(job.folder).state() == "finished"
    assert len(ready.runs) == 1 and len(list(ready.runs[0].glob("train_*"))) == 2  # there, where it was begun


def test_cut_connections_lose_and_double_no_line(fake, ready, session, run, pair, monkeypatch):
    monkeypatch.setattr(following, "PAUSES", (0.02, 0.1, 0.5))
    fake(_TRAINS)
    job = _begun(session, run)
    for _ in range(6):
        n_told = len(job.checkpoints)
        job._chosen.cut()
        assert session.ui.wait_for(lambda n_told=n_told: len(job.checkpoints) > n_told + 3, 60)
    run("cryotrans stop")
    _ended(session, job)
    assert job.error is None, job.error
    printed = (ready.runs[0] / "train_1" / "output").read_text().splitlines()
    steps = [json.loads(line).get("step") for line in printed if '"checkpoint"' in line]
    assert [message["step"] for message in job.checkpoints] == steps == list(range(1, len(steps) + 1))


def test_quit_and_found_again(fake, ready, session, run, pair):
    fake(_TRAINS)
    job = _begun(session, run)
    run("close session")  # as at ChimeraX's end, only that the tests go on
    _ended(session, job, 10)
    assert job.error is None and any("It goes on on" in text for text in session.test_log.texts("info"))
    folder = job.folder
    assert runs_of(session).find(folder) is None and (folder / "maps" / "initial.mrc").is_file()
    assert Run(folder).state() == f"on {NAME}"
    for command in (f'resume "{folder}"', f'predict #1 run "{folder}"'):
        run(f'open "{folder}/maps/initial.mrc"')
        with pytest.raises(UserError, match=f"is on {NAME}, and its checkpoints come when it ends"):
            run(f"cryotrans {command}")
    session.test_log.entries.clear()
    run("cryotrans runs")
    table = session.test_log.texts("info")[-1]
    assert "running, step" in table and "cryotrans%20runs%20fetch" in table
    again = run(f'cryotrans runs fetch "{folder}" wait false')
    with pytest.raises(UserError, match="is being followed now"):
        run(f'cryotrans runs fetch "{folder}"')
    assert session.ui.wait_for(lambda: len(again.checkpoints) > len(job.checkpoints), 60), session.test_log.texts()
    run("cryotrans stop")
    _ended(session, again)
    assert again.error is None and Run(folder).state() == "not begun"  # the programs there are no real ones
    assert again.checkpoints[: len(job.checkpoints)] == job.checkpoints  # told anew, from the first


def test_full_disk_there(fake, ready, session, run, pair):
    ready.stop()
    ready.start(["prlimit", "--fsize=20000"])
    with pytest.raises(UserError, match=rf"On {NAME}: Cannot write .*File too large. Make room on its disk") as refusal:
        run(f"cryotrans train #1 to #2 steps 6 {THERE}")
    assert str(refusal.value).count("\n") == 0
    assert not list((Path.home() / "CryoTRANS").glob("*"))  # nothing has come of it
    ready.stop()
    ready.start(["prlimit", "--fsize=100000"])  # takes the maps, and not all that is printed
    fake("""
for step in range(1, 1500):
    say("checkpoint", step=step, loss=1.0, seconds=1.0, weights="net.pt")
say("error", text="net_9.pt cannot be written: No space left on device. Make room on the disk.")
sys.exit(2)""")
    job = run(f"cryotrans train #1 to #2 steps 6 {THERE} wait false")
    _ended(session, job)
    assert f"CryoTRANS A → B: On {NAME}: The disk is full. Make room on it" in job.error


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
    with pytest.raises(
        UserError, match=f"{NAME} has no python3. Install Python 3.9 or later there, or say where it is"
    ):
        run(f"cryotrans install host {NAME}")
    with pytest.raises(UserError, match=f"{NAME} has no Python /nowhere/python"):
        run(f"cryotrans install host {NAME} python /nowhere/python")
    old = empty / "python3"
    old.write_text("#!/bin/sh\nread line\necho python is 3.6\nexit 93\n")  # as ours says it, of an old one
    old.chmod(0o755)
    with pytest.raises(UserError, match=f"The python3 of {NAME} is older than 3.9, and no newer one was found"):
        run(f"cryotrans install host {NAME}")


def test_install(machine, session, run, home, pair):
    with pytest.raises(UserError, match=f"CryoTRANS is not installed on {NAME}. Type: cryotrans install host {NAME}"):
        run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE}")
    run(f'cryotrans install host {NAME} python "{sys.executable}"')
    said = "\n".join(session.test_log.texts("info"))
    assert f"CryoTRANS is ready on {NAME}" in said and "Computing on" in said
    assert user_settings(session).machines == {NAME: sys.executable}
    assert not list((machine.home / ".cryotrans").glob("trial*"))


def test_environment_there_is_made(machine, session, run, home, pair, tmp_path):
    with pytest.raises(
        UserError,
        match=rf"python ended with status 1 on {NAME}: ERROR: .*torch.* The Log has all of its output. Type it again",
    ) as refusal:
        run(f"cryotrans install host {NAME} source https://somewhere.invalid")
    assert "\n" not in str(refusal.value)
    assert (machine.home / ".cryotrans" / "venv" / "bin" / "python").exists()
    with pytest.raises(UserError, match=f"venv/bin/python on {NAME} has no numpy and no mrcfile and no torch"):
        run(f"cryotrans train #1 to #2 steps 2 {THERE}")


def test_another_version_there(machine):
    engines = machine.home / ".cryotrans" / "engines"
    connection = Connection(NAME, sys.executable)
    found = prepared(connection)
    [ours] = engines.iterdir()
    assert Path(found.engine) == ours and ours.name == engine_digest() == json.loads(_version(ours))["digest"]
    ours.rename(engines / "0123456789abcdef")  # as another's is called
    assert prepared(connection) == found and sorted(engines.iterdir()) == sorted([engines / "0123456789abcdef", ours])
    (ours / "version.json").unlink()  # half sent
    (ours / "__main__.py").unlink()
    assert prepared(connection) == found and (ours / "__main__.py").is_file() and _version(ours)


def _version(engine: Path) -> str:
    return (engine / "version.json").read_text()


def test_line_that_submits_to_a_queue(fake, ready, session, run, pair):
    fake("end(1, 'finished')")
    ours = ready.home / ".cryotrans"
    ours.mkdir()
    (ours / "submit").write_text("# the queue\necho submitted >> queue; {command}\n")
    job = run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE}")
    assert job.error is None and (ready.runs[0] / "train_1" / "queue").read_text() == "submitted\n"
    (ours / "submit").write_text("echo no partition of that name >&2; exit 1\n")
    second = run(f"cryotrans train #1 to #2 steps 2 period 1 {THERE} wait false")
    _ended(session, second)
    assert "The line in ~/.cryotrans/submit ended with status 1: no partition of that name." in second.error


def test_worker_that_is_killed_there(fake, ready, session, run, pair):
    fake("say('checkpoint', step=1, loss=1.0, seconds=1.0, weights='net.pt')\nos.kill(os.getpid(), 9)")
    job = run(f"cryotrans train #1 to #2 steps 6 {THERE} wait false")
    _ended(session, job)
    assert f"On {NAME}: The worker was killed (SIGKILL)" in job.error


def test_files_go_on_where_they_were_cut_and_stay_in_the_folder(ready, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    content = os.urandom(3 << 20)
    (run / "map.mrc").write_bytes(content)
    places = Places([(run, "run")], str(ready.home / ".cryotrans" / "runs" / "a"))
    partial = Path(places.there(str(run / "map.mrc.part")))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content[: 2 << 20])
    said: list[str] = []
    connection = Connection(NAME)
    push(connection, places, frozenset(), said.append)
    assert Path(places.there(str(run / "map.mrc"))).read_bytes() == content and len(said) == 1  # the last piece alone
    Path(places.there(str(run / "map.mrc"))).unlink()
    partial.write_bytes(b"x" * 1000)  # which is not its beginning
    push(connection, places, frozenset(), said.append)
    assert Path(places.there(str(run / "map.mrc"))).read_bytes() == content
    (run / "map.mrc").unlink()
    (run / "map.mrc.part").write_bytes(b"x" * 1000)
    pull(connection, places, said.append)
    assert (run / "map.mrc").read_bytes() == content
    for name in ("../map.mrc", "/map.mrc", "a/../../map.mrc", "C:map.mrc", "a\\..\\map.mrc"):
        with pytest.raises(Trouble, match="not one of a run"):
            _inside(run, name)


def test_what_ssh_says_is_said_in_a_sentence():
    for said in ("kex_exchange_identification: Connection closed by remote host", "ssh: connect: timed out"):
        assert trouble_of("a", "", 255, said).passes
    strange = trouble_of("a", "", 255, "Bad owner or permissions on /home/me/.ssh/config\n")
    assert str(strange).startswith("ssh to a failed: Bad owner or permissions") and not strange.passes
    assert "has no python3" in str(trouble_of("a", "", 1, "python3: Command not found.\n"))  # as csh says it
    with pytest.raises(Trouble, match="is no name of a machine"):
        Connection("-oProxyCommand=reboot")
