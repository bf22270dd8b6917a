"""Files that have once brought a reader down, or would, each small: what tests/bad_files keeps is read or refused.

benchmarks/fuzzing.py makes such files; a fault that it finds becomes one of these.
"""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import pytest
from readers import READERS

from chimerax.cryotrans.engine.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries, about what is meant here

FOLDER = Path(__file__).parents[2] / "bad_files"
MOST = 200 << 20  # bytes; a file that unpacks may take 64 MB, twice


def bad_files(kinds: dict) -> list[Path]:
    return [path for kind in sorted(kinds) for path in sorted((FOLDER / kind).glob("*"))]


def laid_out(path: Path, name: str, folder: Path) -> Path:
    """A copy of a bad file, where a good one of its kind would lie."""
    place = folder / "run" / name
    place.parent.mkdir(parents=True)
    return Path(shutil.copy(path, place))


@pytest.mark.parametrize("path", bad_files(READERS), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_bad_file_is_read_or_refused_in_a_sentence(tmp_path, path):
    reader = READERS[path.parent.name]
    assert path.stat().st_size < 2100
    tracemalloc.start()
    try:
        reader.read(laid_out(path, reader.name, tmp_path))
    except InputError as error:
        assert str(error).endswith((".", "?")) and "\n" not in str(error) and len(str(error)) < 1500
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < MOST


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("map", "unpacks to gigabytes", "unpacks to more than 10,000 times its size"),
        ("weights", "a width of gigabytes", "tensors that are larger than the file"),
        ("state", "losses of gigabytes", "tensors that are larger than the file"),
        ("state", "fewer losses than steps", "it has not the losses of 9 steps"),
        ("run", "nested", "nested too deeply"),
        ("run", "legs elsewhere", "legs is '../../leg_1'"),
        ("domains", "infinite number", "relative_to is inf"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, kind, name, said):
    reader = READERS[kind]
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        reader.read(laid_out(FOLDER / kind / name, reader.name, tmp_path))
