"""Files are there whole or not at all, and nobody can have another file written in their place."""

from __future__ import annotations

import os
import stat

import pytest

from chimerax.cryotrans.engine.files import writing
from chimerax.cryotrans.engine.files.writing import remove, write_atomically


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def waits(monkeypatch):
    """How long was waited, in place of waiting."""
    waits: list[float] = []
    monkeypatch.setattr(writing.time, "sleep", waits.append)
    return waits


def test_a_link_planted_under_the_name_of_before_leads_nowhere(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / f".net.pt.{os.getpid()}.tmp").symlink_to(tmp_path / "thesis.tex")
    write_atomically(tmp_path / "net.pt", b"weights")
    assert (tmp_path / "net.pt").read_bytes() == b"weights"
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_two_files_are_never_written_beside_under_one_name(tmp_path, monkeypatch):
    beside = []
    replace = os.replace
    monkeypatch.setattr(writing.os, "replace", lambda source, place: (beside.append(source), replace(source, place)))
    for _ in range(20):
        write_atomically(tmp_path / "net.pt", b"")
    assert len(set(beside)) == 20


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_name_that_was_guessed_is_not_written_through_nor_removed(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(writing.secrets, "token_hex", lambda n: "ab" * n)
    planted = tmp_path / f".net.pt.{'ab' * 8}.tmp"
    if kind == "link":
        (tmp_path / "victim").write_text("mine")
        planted.symlink_to(tmp_path / "victim")
    else:
        planted.write_text("mine")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "net.pt", b"weights")
    assert planted.read_text() == "mine" and planted.is_symlink() == (kind == "link")
    assert not (tmp_path / "net.pt").exists()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_that_the_user_gives_new_files(tmp_path, umask, mask, mode):
    umask(mask)
    write_atomically(tmp_path / "new", b"")
    assert _mode(tmp_path / "new") == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, umask, mode):
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(mode)
    write_atomically(tmp_path / "old", b"new")
    assert (tmp_path / "old").read_bytes() == b"new" and _mode(tmp_path / "old") == mode


def test_a_file_held_open_for_a_moment_is_waited_for(tmp_path, monkeypatch, waits):
    """What os.replace does on Windows while another program has the file open."""
    replace, held = os.replace, [True, True, True, False]

    def windows(source, place):
        if held.pop(0):
            raise PermissionError(13, "The process cannot access the file", str(source))
        replace(source, place)

    monkeypatch.setattr(writing.os, "replace", windows)
    write_atomically(tmp_path / "fsc.csv", b"new")
    assert (tmp_path / "fsc.csv").read_bytes() == b"new" and len(waits) == 3


def test_a_file_held_open_for_good_is_an_error_of_that_file_after_about_a_second(tmp_path, monkeypatch, waits):
    def windows(source, place):
        raise PermissionError(13, "The process cannot access the file", str(source))

    (tmp_path / "fsc.csv").write_bytes(b"old")
    monkeypatch.setattr(writing.os, "replace", windows)
    with pytest.raises(PermissionError) as caught:
        write_atomically(tmp_path / "fsc.csv", b"new")
    assert caught.value.filename == str(tmp_path / "fsc.csv")
    assert 0.5 <= sum(waits) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["fsc.csv"]
    assert (tmp_path / "fsc.csv").read_bytes() == b"old"


def test_another_failure_is_not_waited_for(tmp_path, monkeypatch, waits):
    def full(source, place):
        raise OSError(28, "No space left on device", str(source))

    monkeypatch.setattr(writing.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "net.pt", b"")
    assert not waits and not list(tmp_path.iterdir())


def test_removing_waits_too_and_takes_what_is_not_there(tmp_path, monkeypatch, waits):
    path, held = tmp_path / "net.pt", [True, False]
    path.touch()
    unlink = type(path).unlink

    def windows(self, missing_ok=False):
        if held.pop(0):
            raise PermissionError(13, "The process cannot access the file", str(self))
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(type(path), "unlink", windows)
    remove(path)
    assert not path.exists() and len(waits) == 1
    monkeypatch.undo()
    remove(path)
