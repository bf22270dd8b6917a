"""Segments that the user names, in training: docked as wholes, kept for resuming, refused where they say nothing."""

from __future__ import annotations

import shutil

import mrcfile
import numpy as np
import pytest
from phantoms import LEVEL, MOVING, SHAPE, STILL, VOXEL_SIZE, write_mrc
from running import call, run_json


def _line(maps, run, *more):
    line = ["train", "-i0", maps / "initial.mrc", "-t0", LEVEL, "-i1", maps / "target.mrc", "-t1", LEVEL, "-d", run]
    return [*line, "--recipe", "auto", "-n", 3, "-p", 2, "--seed", 0, "--width", 8, "--no-report", *more]


@pytest.fixture
def labels(tmp_path):
    """A map of labels: one for each half of the box."""
    values = np.ones(SHAPE, np.float32)
    values[..., 13:] = 2
    return write_mrc(tmp_path / "labels.mrc", values)


@pytest.fixture
def model(tmp_path):
    """A model of an atom in each domain, of two chains."""
    atoms = []
    for number, (chain, place) in enumerate((("A", STILL), ("B", MOVING)), 1):
        z, y, x = np.multiply(place, VOXEL_SIZE)
        atoms.append(f"ATOM  {number:5d}  CA  GLY {chain}   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n")
    (tmp_path / "model.pdb").write_text("".join(atoms) + "END\n")
    return tmp_path / "model.pdb"


@pytest.mark.parametrize("kind", ["labels", "model"])
def test_segments_are_docked_and_kept_for_resuming(maps, tmp_path, capsys, request, kind):
    segments, run = request.getfixturevalue(kind), tmp_path / "run"
    result = call(capsys, *_line(maps, run, "--segments", segments))
    assert result.status == 0, result.err
    assert "Docked domains: 2, of the segments given." in result.err
    assert run_json(run)["segments"]["path"] == str(segments)
    assert call(capsys, "train", "--resume", "-d", run, "-n", 4).status == 0
    other = call(capsys, "train", "--resume", "-d", run, "-n", 5, "--segments", maps / "initial.mrc")
    assert other.status == 2 and f"The run was begun with --segments {segments}" in other.err
    segments.unlink()
    gone = call(capsys, "train", "--resume", "-d", run, "-n", 5)
    assert gone.status == 2 and "the segments of the run, is gone" in gone.err


def test_segments_that_say_nothing_are_refused_before_anything_is_written(maps, labels, tmp_path, capsys):
    one = write_mrc(tmp_path / "one.mrc", np.ones(SHAPE, np.float32))
    corner = shutil.copy(maps / "initial.mrc", tmp_path / "corner.mrc")
    with mrcfile.open(corner, "r+") as file:
        file.set_data(np.ones(SHAPE, np.float32))
        file.data[16, 20, 4] = 2  # far from all density
    for more, said in (
        (("--segments", one), "one.mrc has 1 segment in the box of initial.mrc (--segments)"),
        (("--segments", maps / "initial.mrc"), "its values are not whole numbers"),
        (("--segments", corner), "belongs to a single segment of corner.mrc (--segments)"),
        (("--segments", labels, "--symmetry", "C3"), "--segments names the domains, and --symmetry C3 says otherwise"),
        (("--segments", labels, "--flow", "network"), "--segments names the domains, and --flow network"),
    ):
        result = call(capsys, *_line(maps, tmp_path / "run", *more))
        assert result.status == 2 and said in result.err, result.err
    line = _line(maps, tmp_path / "run", "--segments", labels)
    line[line.index("auto")] = "cryotrans"
    result = call(capsys, *line)
    assert result.status == 2 and "--segments belongs to --recipe auto" in result.err
    assert not (tmp_path / "run").exists()
