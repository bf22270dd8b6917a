"""As tests/engine/files/test_bad_files.py, of what the ChimeraX half reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import readers_of_app
from readers_of_app import READERS, UserError

FOLDER = Path(__file__).parents[1] / "bad_files"


@pytest.fixture(autouse=True)
def the_session(session, monkeypatch):
    monkeypatch.setattr(readers_of_app, "session", lambda: session)


@pytest.mark.parametrize(
    "path",
    [path for kind in sorted(READERS) for path in sorted((FOLDER / kind).glob("*"))],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_a_bad_file_is_read_or_refused_in_a_sentence(tmp_path, path):
    reader = READERS[path.parent.name]
    place = tmp_path / "run" / reader.name
    place.parent.mkdir(parents=True)
    shutil.copy(path, place)
    try:
        reader.read(place)
    except UserError as error:
        assert str(error).strip().endswith((".", "?", "runs")) and "\n" not in str(error)


def test_a_line_that_is_no_message_is_output_and_no_more():
    lines = (FOLDER / "progress" / "a step without number").read_bytes().splitlines()
    assert [readers_of_app.message_of(line) is not None for line in lines] == [True, False, False]
