"""A run that was broken off goes on exactly: on the CPU its losses are those of an unbroken run, byte for byte."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import threading
import time

import pytest
import torch
from phantoms import LEVEL, two_domains, write_mrc
from running import call, contents, file_size_limit, run_json, start, training, wait_for_step, weights_file

from chimerax.cryotrans.engine.files.run_directory import RunDirectory

ENDLESS = 10**9


@pytest.fixture
def broken_off(maps, tmp_path, capsys):
    """A run that is to make 30 steps of period 5, and was killed after 10: its directory, and its command."""
    directory = tmp_path / "run"
    assert call(capsys, *training(maps, directory, 10, 5)).status == 0
    (directory / "net.pt").unlink()
    content = run_json(directory)
    content["options"]["n_steps"] = 30
    (directory / "run.json").write_text(json.dumps({**content, "state": "running"}))
    return directory, training(maps, directory, 30, 5)


@pytest.mark.parametrize("state", ["running", "finished"])
def test_a_run_killed_between_its_last_step_and_its_end_is_ended(maps, tmp_path, capsys, state):
    directory = tmp_path / "run"
    line = [word for word in training(maps, directory, 10, 5) if word != "--no-report"]
    assert call(capsys, *line).status == 0
    whole = {name: (directory / name).read_bytes() for name in ("net.pt", "loss.log", "state.pt")}
    for name in ("net.pt", "report.html"):
        (directory / name).unlink()
    (directory / "run.json").write_text(json.dumps({**run_json(directory), "state": state}))
    resumed = call(capsys, "train", "--resume", "-d", directory)
    assert resumed.status == 0, resumed.err
    assert {name: (directory / name).read_bytes() for name in whole} == whole
    assert run_json(directory)["state"] == "finished" and (directory / "report.html").is_file()
    assert "has done its 10 steps" in call(capsys, "train", "--resume", "-d", directory).err


def test_in_haste_the_conclusion_is_left_to_resuming(maps, tmp_path, capsys):
    """As a ChimeraX that quits asks for it: who waits for the report then waits for a window to close."""
    directory = tmp_path / "run"
    line = [word for word in training(maps, directory, ENDLESS, 5) if word != "--no-report"]
    with start(*line, "--stop-with-input", stdin=-1) as process:
        wait_for_step(directory, 10, process)
        process.stdin.write(b"leave\n" if not process.text_mode else "leave\n")
        process.stdin.close()
        process.stdin = None
        process.communicate(timeout=60)
    step = run_json(directory)["step"]
    assert process.returncode == 0 and run_json(directory)["state"] == "stopped" and (directory / "net.pt").is_file()
    assert not (directory / "report.html").exists() and not (directory / "displacement.mrc").exists()
    assert call(capsys, "train", "--resume", "-d", directory, "-n", step + 5).status == 0
    assert (directory / "report.html").is_file() and (directory / "displacement.mrc").is_file()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGKILL", "closed input"])
def test_a_broken_run_goes_on_exactly(maps, tmp_path, capsys, how):
    directory = tmp_path / "run"
    with start(*training(maps, directory, ENDLESS, 5), "--stop-with-input", stdin=-1) as process:
        wait_for_step(directory, 10, process)
        if how == "closed input":
            process.stdin.close()
            process.stdin = None
        else:
            process.send_signal(getattr(signal, how))
        out, err = process.communicate(timeout=60)
    expected = {"SIGTERM": 143, "SIGINT": 130, "SIGKILL": -9, "closed input": 0}
    assert process.returncode == expected[how], err
    assert "Traceback" not in err
    step = run_json(directory)["step"]
    if how != "SIGKILL":
        assert err.splitlines()[-1] == (
            f"Stopped at step {step} of {ENDLESS}; all is saved. Go on with: cryotrans-train --resume -d {directory}"
        )
        assert "Save network" not in out
        assert run_json(directory)["state"] == "stopped"
        assert len((directory / "loss.log").read_text().splitlines()) == step + 1
        assert sorted(path.name for path in directory.iterdir() if "net_" not in path.name) == [
            "fsc.csv", "loss.log", "metrics.csv", "net.pt", "run.json", "state.pt",
        ]  # fmt: skip
    n_steps = step + 12
    resumed = call(capsys, "train", "--resume", "-d", directory, "-n", n_steps)
    assert resumed.status == 0, resumed.err
    assert f"Going on from step {step} of {n_steps}." in resumed.err
    assert call(capsys, *training(maps, tmp_path / "unbroken", n_steps, 5)).status == 0
    unbroken = (tmp_path / "unbroken" / "loss.log").read_bytes()
    assert (directory / "loss.log").read_bytes() == unbroken
    ours, theirs = (torch.load(folder / "net.pt", weights_only=True) for folder in (directory, tmp_path / "unbroken"))
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    # what a killed program leaves behind, its lock and half a file, is gone
    assert {path.name for path in directory.iterdir()} == {path.name for path in (tmp_path / "unbroken").iterdir()}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_request_to_stop_ends_at_once(maps, tmp_path, capsys, monkeypatch, number, status):
    """Here while a file is written, which leaves the one before it and no half one."""

    def interrupted(*arguments):
        signal.raise_signal(number)
        signal.raise_signal(number)

    assert call(capsys, *training(maps, tmp_path / "run", 2, 2)).status == 0
    before = contents(tmp_path / "run")
    monkeypatch.setattr("os.fsync", interrupted)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    result = call(capsys, "train", "--resume", "-d", tmp_path / "run", "-n", 4)
    assert result.status == status
    assert "Traceback" not in result.err
    assert contents(tmp_path / "run") == before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_half_written_files_of_a_killed_program_are_removed(broken_off, capsys):
    directory, command = broken_off
    ours, others = [".net_1.pt.4711.tmp", ".state.pt.4711.tmp", "run.lock"], [".other.4711.tmp", ".net.pt.swp"]
    for name in (*ours, *others):
        (directory / name).write_bytes(b"half")
    assert call(capsys, *command, "--resume").status == 0
    assert [name for name in (*ours, *others) if (directory / name).exists()] == others


def test_the_same_command_with_resume_goes_on(broken_off, maps, tmp_path, capsys):
    directory, command = broken_off
    assert call(capsys, *command, "--resume").status == 0
    assert call(capsys, *training(maps, tmp_path / "unbroken", 30, 5)).status == 0
    assert (directory / "loss.log").read_bytes() == (tmp_path / "unbroken" / "loss.log").read_bytes()
    assert run_json(directory)["state"] == "finished"


def test_more_steps_for_a_finished_run(finished, maps, tmp_path, capsys):
    shutil.copytree(finished.directory, tmp_path / "run")
    assert call(capsys, "train", "--resume", "-d", tmp_path / "run", "-n", 60).status == 0
    assert call(capsys, *training(maps, tmp_path / "unbroken", 60, 10)).status == 0
    assert (tmp_path / "run" / "loss.log").read_bytes() == (tmp_path / "unbroken" / "loss.log").read_bytes()
    assert run_json(tmp_path / "run")["options"]["n_steps"] == 60


@pytest.mark.parametrize("more", [["--l2"], ["--mu_mesh", 0.1], ["-b", 2], ["--depth", 5]])
def test_every_kind_of_run_goes_on_exactly(maps, tmp_path, capsys, more):
    for directory, n_steps in ((tmp_path / "broken", 3), (tmp_path / "unbroken", 7)):
        assert call(capsys, *training(maps, directory, n_steps, 2), *more).status == 0
    assert call(capsys, "train", "--resume", "-d", tmp_path / "broken", "-n", 7).status == 0
    assert (tmp_path / "broken" / "loss.log").read_bytes() == (tmp_path / "unbroken" / "loss.log").read_bytes()


def test_maps_that_were_moved_are_named_anew(broken_off, maps, tmp_path, capsys):
    directory, _ = broken_off
    content = run_json(directory)
    for key in ("initial", "target"):
        content[key]["path"] = f"/away/{key}.mrc"
    (directory / "run.json").write_text(json.dumps(content))
    lost = call(capsys, "train", "--resume", "-d", directory)
    assert lost.status == 2
    assert "no file /away/initial.mrc, the initial map of the run. Say where it is now (-i0)" in lost.err
    found = ["-i0", maps / "initial.mrc", "-i1", maps / "target.mrc"]
    assert call(capsys, "train", "--resume", "-d", directory, *found).status == 0
    assert run_json(directory)["target"]["path"] == str(maps / "target.mrc")


def test_a_full_disk_leaves_the_last_checkpoint(maps, tmp_path, capsys):
    directory = tmp_path / "run"
    assert call(capsys, *training(maps, tmp_path / "one", 1, 1)).status == 0
    room = max(path.stat().st_size for path in (tmp_path / "one").iterdir()) + 400  # for the losses of 50 steps
    with file_size_limit(room):
        full = call(capsys, *training(maps, directory, 400, 5))
    assert full.status == 2
    step = run_json(directory)["step"]
    assert 0 < step < 400
    assert full.err.splitlines()[1:] == [
        f"Cannot write or read {directory / 'state.pt'}: File too large. Make room on the disk. The checkpoint of step "
        f"{step} in {directory} is whole; go on with --resume."
    ]
    assert run_json(directory)["state"] == "failed"
    assert not [path for path in directory.iterdir() if path.suffix in (".tmp", ".lock")]
    assert call(capsys, "train", "--resume", "-d", directory, "-n", step + 10).status == 0
    assert call(capsys, *training(maps, tmp_path / "unbroken", step + 10, 5)).status == 0
    assert (directory / "loss.log").read_bytes() == (tmp_path / "unbroken" / "loss.log").read_bytes()
    assert run_json(directory)["state"] == "finished"


def test_diverging_leaves_the_last_checkpoint_and_does_not_advise_to_repeat_it(maps, tmp_path, capsys):
    result = call(capsys, *training(maps, tmp_path / "run", 50, 10, "--lr", 1e30))
    assert result.status == 2
    assert result.err.splitlines()[-1] == (
        f"The loss is not a number any more at step 1: training has diverged. Use a smaller learning rate (--lr) than "
        f"1e+30. The checkpoint of step 0 in {tmp_path / 'run'} is whole; a new run can start from its last weights "
        f"(-w)."
    )
    state = torch.load(tmp_path / "run" / "net_0.pt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert not (tmp_path / "run" / "net.pt").exists()
    assert run_json(tmp_path / "run")["state"] == "failed"


def test_a_run_belongs_to_one_process(maps, tmp_path, capsys):
    directory = tmp_path / "run"
    with start(*training(maps, directory, ENDLESS, 5)) as process:
        wait_for_step(directory, 5, process)
        for more in (["--overwrite"], ["--resume"]):
            result = call(capsys, *training(maps, directory, ENDLESS, 5), *more)
            assert result.status == 2
            assert f"Another program is training in {directory} at this moment." in result.err
        assert (directory / "net_0.pt").exists()
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "all is saved" in err


@pytest.mark.parametrize("n_lines", [0, 4])
def test_a_reader_that_goes_away_stops_the_run_after_saving(maps, tmp_path, capsys, n_lines):
    """As in `cryotrans-train … | head`."""
    with start(*training(maps, tmp_path / "run", ENDLESS, 5)) as process:
        for _ in range(n_lines):
            process.stdout.readline()
        process.stdout.close()
        process.wait(60)
        err = process.stderr.read()
    assert process.returncode == 0
    assert len(err.splitlines()) == 1
    assert run_json(tmp_path / "run")["state"] == "stopped"
    step = run_json(tmp_path / "run")["step"]
    assert call(capsys, "train", "--resume", "-d", tmp_path / "run", "-n", step + 1).status == 0


# What is refused, with the run untouched

CONTRADICTIONS = [
    (["-t0", 0.4], "with -t0 0.5, not with 0.4"),
    (["-t1", 0.6], "with -t1 0.5, not with 0.6"),
    (["-p", 6], "with -p 5, not with 6"),
    (["-b", 2], "with -b 1, not with 2"),
    (["--depth", 4], "with --depth 3, not with 4"),
    (["--width", 13], "with --width 12, not with 13"),
    (["--w2_eps", 1e-3], "with --w2_eps 0.0001, not with 0.001"),
    (["--w2_iter", 9], "with --w2_iter 2, not with 9"),
    (["--lr", 0.1], "with --lr 0.005, not with 0.1"),
    (["--l2"], "without --l2"),
    (["--mu_mesh", 1], "without --mu_mesh, not with 1"),
    (["--seed", 8], "with --seed 7, not with 8"),
    (["-w", "other.pt"], "without -w, not with "),
    (["-n", 3], "has done its 10 steps. To go on beyond, give more: --resume -n 20"),
    (["-n", -1], "The number of steps (-n) must be 0 or more, not -1"),
    (["--overwrite"], "give one of the two"),
    (["--device", "cuda:7"], "GPU 7 is not there"),
    (["-i0", "nowhere.mrc"], "There is no file nowhere.mrc, the initial map of the run"),
]


def refused(capsys, directory, *more: object) -> str:
    """What is said when the run is not resumed; checks that nothing was changed."""
    before = contents(directory)
    result = call(capsys, "train", "--resume", "-d", directory, *more)
    assert (result.status, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert contents(directory) == before
    return result.err


@pytest.mark.parametrize(("more", "said"), CONTRADICTIONS)
def test_what_contradicts_the_run_is_refused(broken_off, capsys, more, said):
    assert said in refused(capsys, broken_off[0], *more)


def test_other_weights_to_start_from_are_refused(maps, tmp_path, capsys):
    weights = weights_file(tmp_path / "start.pt")
    line = [word for word in training(maps, tmp_path / "run", 2, 2, "-w", weights) if word not in ("--width", 12)]
    assert call(capsys, *line).status == 0
    assert f"with -w {weights}, not with {tmp_path}" in refused(capsys, tmp_path / "run", "-w", tmp_path / "other.pt")
    assert call(capsys, *line, "--resume", "-n", 3).status == 0


@pytest.mark.parametrize("role", ["initial", "target"])
def test_a_changed_map_is_refused(broken_off, tmp_path, capsys, role):
    content = run_json(broken_off[0])
    content[role]["path"] = str(write_mrc(tmp_path / "changed.mrc", two_domains(0.5)))
    (broken_off[0] / "run.json").write_text(json.dumps(content))
    assert f"changed.mrc is not the {role} map that the run was begun with" in refused(capsys, broken_off[0])


def test_a_finished_run_is_not_gone_on_with(finished, capsys):
    assert "has done its 45 steps. To go on beyond, give more: --resume -n 90" in refused(capsys, finished.directory)


def test_no_run_to_resume(tmp_path, capsys):
    assert "holds no run to resume" in refused(capsys, tmp_path)
    assert "holds no run to resume" in refused(capsys, tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b'{"options": {"initial_le', "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[]", "describes no run"),
        (b"{}", "describes no run"),
        (b'{"options": 3}', "describes no run"),
        (b'{"options": {}}', "lacks what resuming needs"),
        (b'{"options": {}, "initial": 1, "target": 2}', "describes no run of this program: initial is 1"),
    ],
)
def test_a_damaged_run_file_is_said(broken_off, capsys, content, said):
    (broken_off[0] / "run.json").write_bytes(content)
    assert said in refused(capsys, broken_off[0])


@pytest.mark.parametrize("change", [{"surprise": 1}, {"depth": "three"}, {"depth": None}, {"initial_level": "low"}])
def test_options_of_another_kind_in_the_run_file_are_said(broken_off, capsys, change):
    content = run_json(broken_off[0])
    content["options"].update(change)
    (broken_off[0] / "run.json").write_text(json.dumps(content))
    refused(capsys, broken_off[0])


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "weights", "list", "odd step"])
def test_a_damaged_state_is_said(broken_off, capsys, damage):
    state, whole = broken_off[0] / "state.pt", (broken_off[0] / "state.pt").read_bytes()
    state.unlink()
    if damage in ("empty", "truncated"):
        state.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"")
    elif damage == "weights":
        shutil.copy(broken_off[0] / "net_0.pt", state)
    elif damage == "list":
        torch.save([1, 2], state)
    elif damage == "odd step":
        torch.save({"step": "ten"}, state)
    said = {"missing": "ended before its first checkpoint. Start it afresh (--overwrite)"}
    assert said.get(damage, "saved state") in refused(capsys, broken_off[0])


def test_a_state_of_another_network_is_said(broken_off, capsys):
    directory, _ = broken_off
    torch.save({"step": 10, "velocity": {}, "optimizer": {}, "losses": torch.zeros(11)}, directory / "state.pt")
    before = contents(directory)
    result = call(capsys, "train", "--resume", "-d", directory)
    assert result.status == 2
    assert result.err.splitlines()[-1].startswith("The saved state does not fit this run")
    assert len(result.err.splitlines()) == 3
    assert contents(directory) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_can_be_replaced(broken_off, capsys):
    directory, command = broken_off
    for path in directory.iterdir():
        if path.name != "run.json":
            path.unlink()
    assert "already holds a run" in call(capsys, *command).err
    assert "ended before its first checkpoint" in refused(capsys, directory)
    assert call(capsys, *command, "--overwrite").status == 0


def test_levels_are_those_of_the_run(broken_off, capsys):
    assert call(capsys, "train", "--resume", "-d", broken_off[0], "-t0", LEVEL, "-p", 5).status == 0


def test_weights_of_an_earlier_end_do_not_outlive_a_run_that_went_on(finished, maps, tmp_path, capsys):
    directory = shutil.copytree(finished.directory, tmp_path / "run")
    with start("train", "--resume", "-d", directory, "-n", ENDLESS) as process:
        wait_for_step(directory, 50, process)
        process.kill()
        process.communicate()
    assert not (directory / "net.pt").exists()


def test_the_command_to_go_on_can_be_typed_as_it_is_said(maps, tmp_path):
    directory = tmp_path / "a run's"
    with start(*training(maps, directory, ENDLESS, 5)) as process:
        wait_for_step(directory, 5, process)
        process.terminate()
        _, err = process.communicate(timeout=60)
    words = shlex.split(err.split("Go on with: ")[1])
    assert words == ["cryotrans-train", "--resume", "-d", str(directory)]


def test_who_only_looks_at_the_lock_stops_nobody(tmp_path):
    """Two programs that take the lock one right after the other, the first only for a moment."""
    directory = RunDirectory(tmp_path)
    taken = threading.Event()

    def look():
        with RunDirectory(tmp_path).locked():
            taken.set()
            time.sleep(0.15)

    thread = threading.Thread(target=look)
    thread.start()
    taken.wait()
    with directory.locked():
        assert (tmp_path / "run.lock").is_file()  # that of this one: the other's was removed at its end
    thread.join()


def test_resuming_takes_no_report(maps, tmp_path, capsys):
    line = [word for word in training(maps, tmp_path / "run", 2, 2) if word != "--no-report"]
    assert call(capsys, *line).status == 0
    assert (tmp_path / "run" / "report.html").is_file()
    assert call(capsys, "train", "--resume", "-d", tmp_path / "run", "-n", 3, "--no-report").status == 0
    assert run_json(tmp_path / "run")["reports"] is False
    assert not (tmp_path / "run" / "report.html").exists()  # that of step 2 would be taken for this one's


def test_resuming_keeps_the_validation_map(maps, tmp_path, capsys):
    half, moved = tmp_path / "half.mrc", tmp_path / "moved.mrc"
    shutil.copy(maps / "target.mrc", half)
    assert call(capsys, *training(maps, tmp_path / "run", 2, 2, "--validation-map", half)).status == 0
    half.rename(moved)
    line = ["train", "--resume", "-d", tmp_path / "run", "-n", 3]
    assert f"There is no file {half}, the validation map of the run" in refused(capsys, tmp_path / "run", "-n", 3)
    other = refused(capsys, tmp_path / "run", "-n", 3, "--validation-map", maps / "initial.mrc")
    assert "is not the validation map that the run was begun with" in other
    assert call(capsys, *line, "--validation-map", moved).status == 0
    assert run_json(tmp_path / "run")["validation"]["path"] == str(moved)


def test_a_validation_map_cannot_be_added(broken_off, maps, capsys):
    said = refused(capsys, broken_off[0], "--validation-map", maps / "target.mrc")
    assert "The run was begun without --validation-map" in said
