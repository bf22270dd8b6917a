"""Whose the files in a directory are, and whether a program is at work there."""

from __future__ import annotations

import errno
import fcntl
import json
import os

import pytest

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.files.run_directory import PROGRAM, RunDirectory

NO_LOCKS = [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS]


def _fill(folder, *names, **content):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("content")
    if content:
        (folder / "run.json").write_text(json.dumps({"program": PROGRAM, "options": {}, **content}))
    return RunDirectory(folder)


def _left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["report.html", "strain.mrc", "net.pt", "net_7.pt", "state.pt", "loss.log"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_without_a_run_are_the_users(tmp_path, name, overwrite):
    run = _fill(tmp_path, name)
    with pytest.raises(InputError, match=rf"holds {name} that a new run would replace.*Move them away") as caught:
        run.check_free(overwrite)
    assert "already holds a run" not in str(caught.value)
    with pytest.raises(InputError), run.made(overwrite):
        raise AssertionError
    assert _left(tmp_path) == [name]


@pytest.mark.parametrize("content", ["{", "[]", '{"options": {}}', '{"program": "another", "options": {}}'])
def test_a_run_file_of_another_program_makes_no_run(tmp_path, content):
    run = _fill(tmp_path, "net.pt")
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"holds net\.pt and 1 more files that a new run would replace"):
        run.check_free(overwrite=True)


def test_overwrite_removes_what_the_run_names(tmp_path):
    run = _fill(tmp_path, "net.pt", "net_0.pt", "notes.txt", files=["run.json", "net.pt", "net_0.pt", "state.pt"])
    with pytest.raises(InputError, match=r"already holds a run \(net\.pt and 2 more files of it\)"):
        run.check_free()
    with run.made(overwrite=True):
        assert _left(tmp_path) == ["notes.txt", "run.lock"]


def test_what_a_user_has_added_to_a_run_stays(tmp_path):
    run = _fill(tmp_path, "net.pt", "strain.mrc", files=["run.json", "net.pt"])
    with pytest.raises(InputError, match=r"holds strain\.mrc that a new run would replace"):
        run.check_free(overwrite=True)


@pytest.mark.parametrize("name", ["../mine.txt", "/etc/passwd", "notes.txt", "frame_00.mrc", 3, None])
def test_a_run_file_cannot_name_any_file(tmp_path, name):
    (tmp_path / "mine.txt").write_text("mine")
    run = _fill(tmp_path / "run", "net.pt", "notes.txt", "frame_00.mrc", files=["net.pt", name])
    with run.made(overwrite=True):
        pass
    assert _left(tmp_path) == ["mine.txt", "run/frame_00.mrc", "run/notes.txt"]


def test_a_run_of_a_version_that_names_no_files_can_be_replaced(tmp_path):
    run = _fill(tmp_path, "net.pt", "net_3.pt", "strain.mrc", "mine.mrc", state="finished")
    with run.made(overwrite=True):
        pass
    assert _left(tmp_path) == ["mine.mrc"]


def test_legs_go_with_their_run_and_others_stay(tmp_path):
    run = _fill(tmp_path, files=["run.json"], legs=["leg_1", "leg_2"])
    _fill(tmp_path / "leg_1", "net.pt", "generated.mrc", files=["net.pt", "generated.mrc"])
    _fill(tmp_path / "leg_2", "net.pt", "mine.txt", files=["net.pt"])
    with run.made(overwrite=True):
        pass
    assert _left(tmp_path) == ["leg_2/mine.txt"]
    assert not (tmp_path / "leg_1").exists()


def test_a_leg_that_lies_elsewhere_is_no_run_and_nothing_is_removed(tmp_path):
    run = _fill(tmp_path / "run", files=["run.json"], legs=["leg_1", "../leg_9"])
    _fill(tmp_path / "leg_9", "net.pt", files=["net.pt"])
    before = _left(tmp_path)
    with pytest.raises(InputError, match=r"legs is '\.\./leg_9'"):
        run.flow()
    with pytest.raises(InputError, match=r"holds run\.json that a new run would replace"):
        run.check_free(overwrite=True)
    assert _left(tmp_path) == before


def test_a_folder_with_the_name_of_a_leg_is_the_users(tmp_path):
    run = _fill(tmp_path, files=["run.json"], legs=["leg_1"])
    _fill(tmp_path / "leg_2", "net.pt", files=["net.pt"])
    with pytest.raises(InputError, match=r"holds leg_2/net\.pt and 1 more files"):
        run.check_free(overwrite=True)


@pytest.mark.parametrize("name", ["net.pt", "leg_1/generated.mrc", "link.mrc"])
def test_what_is_to_be_read_is_not_overwritten(tmp_path, name):
    run = _fill(tmp_path, "net.pt", files=["net.pt"], legs=["leg_1"])
    _fill(tmp_path / "leg_1", "generated.mrc", files=["generated.mrc"])
    (tmp_path / "link.mrc").symlink_to(tmp_path / "leg_1" / "generated.mrc")
    before = _left(tmp_path)
    with pytest.raises(InputError, match=rf"overwrite would remove .*{name}, the initial map"):
        run.check_free(True, [("the initial map", str(tmp_path / name))])
    assert _left(tmp_path) == before
    run.check_free(True, [("the initial map", str(tmp_path / "elsewhere.mrc"))])


def test_clearing_that_breaks_off_leaves_what_says_whose_the_rest_is(tmp_path, monkeypatch):
    run = _fill(tmp_path, "net.pt", "state.pt", files=["net.pt", "state.pt"])
    unlink = type(tmp_path).unlink

    def broken(self, missing_ok=False):
        if self.name == "state.pt":
            raise OSError(errno.EIO, "Input/output error")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(type(tmp_path), "unlink", broken)
    with pytest.raises(InputError, match="Input/output error"), run.made(overwrite=True):
        pass
    assert _left(tmp_path) == ["run.json", "state.pt"]


def test_only_half_files_of_ours_are_cleaned_away(tmp_path):
    ours = [".net.pt.0123456789abcdef.tmp", ".net_1.pt.4711.tmp"]  # the last as they were called before
    others = [".net.pt.mine.tmp", ".thesis.tex.0123456789abcdef.tmp", ".net.pt.tmp"]
    run = _fill(tmp_path, *ours, *others)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".state.pt.0123456789abcdef.tmp").symlink_to(tmp_path / "victim")
    with run.locked():
        pass
    assert _left(tmp_path) == sorted([*others, ".state.pt.0123456789abcdef.tmp", "victim"])


# Locks


def test_a_lock_is_seen_without_a_trace(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.is_locked() is False and not list(tmp_path.iterdir())
    with run.locked():
        assert RunDirectory(tmp_path).is_locked() is True
        assert RunDirectory(tmp_path).is_locked() is True  # looking takes nothing
    assert run.is_locked() is False


def test_a_lock_that_a_killed_program_left_is_none(tmp_path):
    (tmp_path / "run.lock").touch()
    assert RunDirectory(tmp_path).is_locked() is False


def test_a_folder_that_cannot_be_written_holds_no_live_run(tmp_path, opening_to_write_fails):
    (tmp_path / "run.lock").touch()
    opening_to_write_fails()
    assert RunDirectory(tmp_path).is_locked() is False


@pytest.mark.parametrize("number", NO_LOCKS)
def test_where_there_are_no_locks_nothing_is_claimed(tmp_path, monkeypatch, number):
    def no_locks(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    run = RunDirectory(tmp_path)
    with run.locked():  # a training goes on without
        assert run.is_locked() is None
    assert run.is_locked() is False  # it has taken its file away, so it has ended
