"""The programs' half of docs/failures.md: each failure is provoked, and what is said is compared with the document."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import sys

import matplotlib.figure
import numpy as np
import pytest
from failure_table import Failure, compare, plain
from phantoms import LEVEL, two_domains, write_mrc
from running import call, file_size_limit, run, run_json, training, weights_file

from chimerax.cryotrans.engine.files.run_directory import RunDirectory
from chimerax.cryotrans.engine.training.training import Training
from chimerax.cryotrans.programs import keeping, no_answer

_BEFORE = "before anything is written"
_RESUME = "`cryotrans-train --resume -d RUN`, which ends as if nothing had been"


class Place:
    """Where failures are provoked: a folder with the maps, a finished run of theirs, and a broken-off one."""

    def __init__(self, folder, capsys, monkeypatch):
        self.folder, self.capsys, self.patch = folder, capsys, monkeypatch
        self.run = folder / "run"

    def said(self, *words, line=-1):
        """What a program says last."""
        result = call(self.capsys, *words)
        return self.plain([said for said in result.err.splitlines() if said.strip()][line])

    def plain(self, said):
        said = said.replace(str(self.folder / "new"), "RUN")
        return plain(said, {"RUN": self.run, "FOLDER": self.folder}).replace("FOLDER/", "")

    def line(self, *more, target=None, directory="new"):
        words = training(self.folder, self.folder / directory, 4, 2, *more)
        return [word if target is None or word != self.folder / "target.mrc" else target for word in words]

    def train(self, *more, target=None, directory="new"):
        return self.said(*self.line(*more, target=target, directory=directory))

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def resume(self, *more):
        return self.said("train", "--resume", "-d", self.run, *more)

    def edited(self, **facts):
        path = self.run / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def _nan(place):
    density = two_domains()
    density[3, 4, 5] = np.nan
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        return place.train(target=write_mrc(place.folder / "nan.mrc", density))


def _locked(place):
    with RunDirectory(place.run).locked():
        return place.resume("-n", 50)


def _removed(place, act=shutil.rmtree):
    update = Training.update

    def gone(training):
        update(training)
        if training.step == 3:
            act(place.folder / "new")

    with place.patch.context() as patch:
        patch.setattr(Training, "update", gone)
        return place.train("-p", 1)


def _killed(place):
    place.edited(state="running")
    (place.run / "net.pt").unlink()
    return place.said("train", "--resume", "-d", place.run, "-n", 47, line=1)


def _stopped(place):
    update = Training.update
    with place.patch.context() as patch:
        patch.setattr(Training, "update", lambda self: (update(self), signal.raise_signal(signal.SIGINT)))
        return place.train()


def _without_the_other_process(place):
    def evaluate(state, *about, really=keeping.evaluate):
        if state.step == 3:
            [other] = multiprocessing.active_children()
            other.kill()
            other.join()
        really(state, *about)

    with place.patch.context() as patch:
        patch.setattr(keeping, "evaluate", evaluate)
        return place.train("--device", "cpu,cpu")


def _full(place):
    with file_size_limit(1000):
        return place.said("predict", "-i", place.folder / "initial.mrc", "--run", place.run, "-d", place.folder / "out")


def _full_in_training(place):
    room = (place.run / "state.pt").stat().st_size - 60
    with file_size_limit(room):
        return place.resume("-n", 90)


def _report(place):
    def lacking(*arguments, **options):
        raise ImportError("no svg")

    with place.patch.context() as patch:
        patch.setattr(matplotlib.figure, "Figure", lacking)
        line = [word for word in training(place.folder, place.folder / "new", 2, 2) if word != "--no-report"]
        result = call(place.capsys, *line)
    return next(line for line in result.err.splitlines() if line.startswith("Warning: The report"))


def _mirrored(place):
    mirrored = np.ascontiguousarray(two_domains(1)[:, :, ::-1])
    line = place.line("-n", 6, target=write_mrc(place.folder / "mirror.mrc", mirrored))
    assert call(place.capsys, *line).status == 0
    verdict = run_json(place.folder / "new")["verdict"]
    assert verdict["word"] == "poor"
    return " ".join(text for text in verdict["advice"] if "hand" in text or "as it is" in text)


def _no_locks(place):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with place.patch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        result = call(place.capsys, *training(place.folder, place.folder / "new", 2, 2))
    [said] = [line for line in result.err.splitlines() if "locks" in line]
    return place.plain(said)


def _open(place, name, content):
    return place.train(target=place.file(name, content))


def _no_torch(place):
    with place.patch.context() as patch:
        for name in [name for name in sys.modules if name.startswith("chimerax.cryotrans.engine.device")]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "torch", None)  # as Python has it where it is not there
        return place.train().replace(sys.executable, "PYTHON")


_FAILURES = {
    Failure(
        "a file is no map",
        f"its header, {_BEFORE}",
        "give the map",
        "programs/test_bad_input.py::test_a_map_that_is_none",
    ): lambda place: _open(place, "text.mrc", b"Dear editor, " * 300),
    Failure(
        "a map is cut off, as by a download that broke",
        f"its size, {_BEFORE}",
        "get it again",
        "programs/test_bad_input.py::test_a_map_that_is_none",
    ): lambda place: _open(place, "half.mrc", (place.folder / "target.mrc").read_bytes()[:-1]),
    Failure(
        "a map holds what are no numbers",
        f"all its voxels, {_BEFORE}",
        "make the map again",
        "programs/test_bad_input.py::test_a_map_that_is_none",
    ): _nan,
    Failure(
        "a level is too high",
        _BEFORE,
        "take the level at which you would show the map",
        "programs/test_bad_input.py::test_training_that_cannot_be",
    ): lambda place: place.train("-t0", 1.5),
    Failure(
        "the maps lie apart",
        f"their headers, {_BEFORE}",
        "fit one to the other",
        "programs/test_bad_input.py::test_training_that_cannot_be",
    ): lambda place: place.train(target=write_mrc(place.folder / "far.mrc", two_domains(1), origin=(900.0, 0.0, 0.0))),
    Failure(
        "the maps are mirror images, or of two molecules",
        "the verdict at the end, in `run.json` and the report: *poor*",
        "flip one (ChimeraX `volume flip`), or take the right one",
        "engine/judging/test_verdict_on_known_runs.py::test_nothing_that_is_far_off_is_called_good_and_nothing_that_can_not_be_right_is_more_than_poor",
    ): _mirrored,
    Failure(
        "the GPU that was asked for is not there",
        _BEFORE,
        "leave it out",
        "engine/test_device.py::test_a_device_that_is_not_there_is_refused",
    ): lambda place: place.train("--device", "cuda:93"),
    Failure(
        "the Python that runs it has no PyTorch, or one that does not load",
        "when it is needed, before anything is written",
        "`pip install torch` for that Python",
        "programs/test_failures.py::test_a_library_that_does_not_load",
    ): _no_torch,
    Failure(
        "the directory holds a run",
        _BEFORE,
        "one of the three ways that are named",
        "programs/test_bad_input.py::test_training_that_cannot_be",
    ): lambda place: place.train(directory="run"),
    Failure(
        "the directory holds files of the user's with a run's names",
        _BEFORE,
        "move them",
        "engine/files/test_run_directory.py::test_files_without_a_run_are_the_users",
    ): lambda place: (shutil.copy(place.file("x", b""), _made(place.folder / "new") / "net.pt"), place.train())[1],
    Failure(
        "overwriting would remove what is to be read",
        _BEFORE,
        "another directory",
        "programs/test_bad_input.py::test_training_that_cannot_be",
    ): lambda place: place.train("--overwrite", "-w", place.run / "net.pt", directory="run"),
    Failure(
        "two programs in one directory",
        "the lock, which the system lifts when a program dies",
        "wait, or another directory",
        "programs/test_broken_folders.py::test_two_programs_that_begin_at_the_same_moment",
    ): _locked,
    Failure(
        "the disk knows no locks, as some clusters' do",
        "when the lock is taken; a note, and the run goes on",
        "no second program there",
        "programs/test_broken_folders.py::test_a_disk_without_locks_is_told_of_and_nothing_is_cleaned_away",
    ): _no_locks,
    Failure(
        "the disk is full, in a prediction",
        "the system refuses a write; what was begun is removed",
        "make room, the same command again",
        "programs/test_bad_input.py::test_a_full_disk_is_said_in_prediction",
    ): _full,
    Failure(
        "the disk is full, in a training",
        "the system refuses a write; the last checkpoint stays",
        f"make room; {_RESUME}",
        "programs/test_resume.py::test_a_full_disk_leaves_the_last_checkpoint",
    ): _full_in_training,
    Failure(
        "the directory is removed or moved under the run",
        "at the next file",
        "resume where it was moved to, or start again",
        "programs/test_broken_folders.py::test_a_folder_that_goes_under_the_run",
    ): _removed,
    Failure(
        "the disk or the network does not answer",
        "a second Ctrl-C or SIGTERM is not taken within 5 s; exit status 130 or 143",
        _RESUME,
        "programs/test_no_answer.py::test_a_second_request_ends_what_cannot_answer",
    ): lambda place: no_answer._SENTENCE.strip(),
    Failure(
        "Ctrl-C, SIGTERM, a terminal that is closed",
        "after the step; exit status 128 + the signal's number",
        _RESUME,
        "programs/test_resume.py::test_a_broken_run_goes_on_exactly",
    ): _stopped,
    Failure(
        "the program is killed, the power is cut",
        "nothing is said; when it is resumed",
        _RESUME,
        "programs/test_resume.py::test_a_broken_run_goes_on_exactly",
    ): _killed,
    Failure(
        "another process of a run on several devices is killed",
        "at the next exchange with it; the step that was made last is saved, and all end",
        "`cryotrans-train --resume -d RUN`; to go on with other devices, `--device` as well",
        "programs/test_several_devices.py::test_where_another_process_is_killed_the_first_saves_and_says_so",
    ): _without_the_other_process,
    Failure(
        "training diverges",
        "the loss after each step; the last checkpoint stays",
        "a new run with a smaller learning rate",
        "programs/test_resume.py::test_diverging_leaves_the_last_checkpoint_and_does_not_advise_to_repeat_it",
    ): lambda place: place.train("--lr", 1e30),
    Failure(
        "there is no run to resume", _BEFORE, "check the name", "programs/test_resume.py::test_no_run_to_resume"
    ): lambda place: place.said("train", "--resume", "-d", place.folder / "elsewhere"),
    Failure(
        "a run that is finished is resumed",
        _BEFORE,
        "ask for more steps",
        "programs/test_resume.py::test_a_finished_run_is_not_gone_on_with",
    ): lambda place: place.resume(),
    Failure(
        "it is resumed with other options",
        f"by `run.json`, {_BEFORE}",
        "leave them out",
        "programs/test_resume.py::test_what_contradicts_the_run_is_refused",
    ): lambda place: place.resume("-n", 60, "--lr", 0.1),
    Failure(
        "a map has been changed since",
        f"by its checksum in `run.json`, {_BEFORE}",
        "give that map",
        "programs/test_resume.py::test_a_changed_map_is_refused",
    ): lambda place: (write_mrc(place.folder / "target.mrc", two_domains(0.5)), place.resume("-n", 60))[1],
    Failure(
        "a map has been moved since",
        _BEFORE,
        "say where it is",
        "programs/test_resume.py::test_maps_that_were_moved_are_named_anew",
    ): lambda place: ((place.folder / "target.mrc").unlink(), place.resume("-n", 60))[1],
    Failure(
        "`state.pt` is damaged",
        f"when it is read, {_BEFORE}",
        "a new run from the last weights, `-w RUN/net.pt`",
        "programs/test_resume.py::test_a_damaged_state_is_said",
    ): lambda place: ((place.run / "state.pt").write_bytes(b"half"), place.resume("-n", 60))[1],
    Failure(
        "`run.json` is of another version",
        f"it lacks something, {_BEFORE}",
        "a new run; predictions of this one can still be made",
        "programs/test_resume.py::test_a_damaged_run_file_is_said",
    ): lambda place: (place.edited(device={"used": "cpu"}), place.resume("-n", 60))[1],
    Failure(
        "a weight file is damaged, or holds code",
        f"when it is read, without running any of it, {_BEFORE}",
        "another checkpoint",
        "programs/test_bad_input.py::test_weights_that_are_none",
    ): lambda place: place.said(
        *("predict", "-i", place.folder / "initial.mrc", "-t", LEVEL, "-d", place.folder / "out"),
        *("-w", place.file("bad.pt", b"no weights")),
    ),
    Failure(
        "weights of a training that had diverged",
        f"they are no numbers, {_BEFORE}",
        "an earlier checkpoint",
        "programs/test_bad_input.py::test_weights_that_are_none",
    ): lambda place: place.said(
        *("predict", "-i", place.folder / "initial.mrc", "-t", LEVEL, "-d", place.folder / "out"),
        *("-w", weights_file(place.folder / "wild.pt", shift=(float("nan"), 0, 0))),
    ),
    Failure(
        "matplotlib lacks, or fails",
        "when the report is written; a warning, and the run ends well",
        "`pip install matplotlib`, and some steps more",
        "programs/test_edges.py::test_a_matplotlib_that_lacks_something",
    ): _report,
}


def _made(folder):
    folder.mkdir()
    return folder


def test_what_is_said_is_what_the_document_has(maps, finished, tmp_path, capsys, monkeypatch):
    rows = {}
    for number, (failure, provoke) in enumerate(_FAILURES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("initial.mrc", "target.mrc"):
            shutil.copy(maps / name, folder)
        shutil.copytree(finished.directory, folder / "run")
        text = (folder / "run" / "run.json").read_text()
        (folder / "run" / "run.json").write_text(text.replace(str(maps), str(folder)))
        rows[failure] = provoke(Place(folder, capsys, monkeypatch))
        assert rows[failure] and "Traceback" not in rows[failure]
    compare("Programs", rows)


def test_a_library_that_does_not_load(maps, tmp_path):
    """As for a user, in a process of its own."""
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch_cpu.so: cannot open shared object file')")
    result = run(*training(maps, tmp_path / "run"), env={"PYTHONPATH": str(tmp_path)})
    assert result.status == 2
    assert result.err.splitlines() == [
        f"{sys.executable} cannot load torch (libtorch_cpu.so: cannot open shared object file). Install it for that "
        f"Python, or use another one."
    ]
    assert not (tmp_path / "run").exists()
