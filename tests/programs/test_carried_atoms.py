"""Atoms that cryotrans-predict carries, and its ways through time, as a user asks for them."""

from __future__ import annotations

import csv
import gc
import json
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from phantoms import LEVEL, MOVING, SHAPE, STILL, VOXEL_SIZE, two_domains, write_mrc
from running import call, contents, training, weights_file
from scipy import ndimage

from chimerax.cryotrans.engine.carrying import prediction
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.deposit import deposit

gemmi = pytest.importorskip("gemmi")

NSTART = np.array([3, -4, 5])  # of the maps of the fixture
SHIFT = (1.0, -3.0, 2.0)  # voxels


def _shift_weights(folder: Path) -> Path:
    return weights_file(folder / "shift.pt", shift=tuple(np.array(SHIFT) / 28))


def _model_at(path: Path, voxels: np.ndarray) -> Path:
    """A PDB file of one chain whose residues have three atoms each; the places are (n, 3), z, y, x, in voxels."""
    places = ((np.asarray(voxels) + NSTART) * VOXEL_SIZE)[:, ::-1]
    names = ("N", "CA", "C")
    lines = [
        f"ATOM  {i + 1:5d}  {names[i % 3]:<3s} ALA A{i // 3 + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00{i:6.2f}"
        f"           {names[i % 3][0]}\n"
        for i, (x, y, z) in enumerate(places)
    ]
    path.write_text("".join(lines) + "END\n", encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path) -> Path:
    """Twelve atoms in the two domains and round them."""
    random = np.random.default_rng(5)
    return _model_at(tmp_path / "in.pdb", np.repeat([STILL, MOVING], 6, axis=0) + random.uniform(-1.5, 1.5, (12, 3)))


def _places(path: Path) -> np.ndarray:
    """(n_models, n, 3), x, y, z, Å, as gemmi reads them."""
    return np.array([[a.pos.tolist() for c in m for r in c for a in r] for m in gemmi.read_structure(str(path))])


def _events(out: str) -> dict[str, dict]:
    """The last event of each kind."""
    return {event["event"]: event for event in map(json.loads, out.splitlines())}


def _line(maps: Path, out: Path, weights: Path, *more: object) -> list[object]:
    return ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", out, "-w", weights, *more]


# Atoms


def test_a_model_rides_along_the_flow(maps, model, tmp_path, capsys):
    out = tmp_path / "out"
    result = call(capsys, *_line(maps, out, _shift_weights(tmp_path)), "--model", model, "--frames", 5)
    assert result.status == 0, result.err
    assert sorted(path.name for path in out.iterdir())[-2:] == ["frame_model.csv", "frame_model.pdb"]
    found, start = _places(out / "frame_model.pdb"), _places(model)[0]
    assert len(found) == 5
    np.testing.assert_allclose(found[0], start, atol=1e-3)
    whole = np.array(SHIFT)[::-1] * 1.5
    for i, frame in enumerate(found):
        np.testing.assert_allclose(frame, start + whole * i / 4, atol=1.1e-3)
    assert "12 atoms in 5 frames are in frame_model.pdb" in result.err
    assert "bond lengths by 0.000" in result.err
    rows = list(csv.DictReader((out / "frame_model.csv").open()))
    assert [row["atom"] for row in rows] == ["N", "CA", "C"] * 4
    assert all(0 < float(row["support"]) <= 1 for row in rows)


def test_atoms_stay_in_the_density_that_they_came_from(maps, finished, tmp_path, capsys):
    """Carried by a trained flow; where the density goes without them, atoms in the moving domain lose theirs."""
    voxels = np.argwhere(two_domains() > LEVEL)[:99]
    moving = np.linalg.norm(voxels - MOVING, axis=1) < 5
    model, out = _model_at(tmp_path / "in.pdb", voxels), tmp_path / "out"
    result = call(capsys, *_line(maps, out, finished.directory / "net.pt"), "--model", model, "--frames", 2)
    assert result.status == 0, result.err
    first, last = _places(out / "frame_model.pdb")
    density = [mrcfile.read(out / f"frame_0{i}.mrc") for i in (0, 1)]

    def at(frame: int, places: np.ndarray) -> float:
        inside = places[:, ::-1] / 1.5 - NSTART
        return float(ndimage.map_coordinates(density[frame], inside[moving].T, order=1).mean())

    print(f"\nmean density at the atoms: {at(0, first):.3f} before, {at(1, last):.3f} carried, {at(1, first):.3f} left")
    assert moving.sum() > 20
    assert at(1, last) > 0.9 * at(0, first)
    assert at(1, first) < 0.8 * at(0, first)


def test_positions_alone_come_back_as_arrays(maps, model, tmp_path, capsys):
    start = _places(model)[0]
    far = np.vstack([start, [[500, 0, 0]]])
    np.savez(tmp_path / "in.npz", coordinates=far, bonds=[[0, 1], [1, 2]], groups=[0, 0, 0] + [-1] * 10)
    more = ["--atoms", tmp_path / "in.npz", "--times", "0,0.3,1", "--reverse", "--progress", "json"]
    result = call(capsys, *_line(maps, tmp_path / "out", _shift_weights(tmp_path)), *more)
    assert result.status == 0, result.out
    written = np.load(tmp_path / "out" / "frame_atoms.npz")
    assert written["coordinates"].dtype == np.float32
    np.testing.assert_array_equal(written["times"], [1, 0.3, 0])
    whole = np.array(SHIFT)[::-1] * 1.5
    np.testing.assert_allclose(written["coordinates"], [far + time * whole for time in (1, 0.3, 0)], atol=1e-3)
    assert written["support"].shape == (13,)
    assert written["support"][-1] == 0
    assert (written["support"][:-1] > 0).all()
    np.testing.assert_allclose(written["bond_deviation"], 0, atol=1e-5)
    said = _events(result.out)
    assert "1 of 13 atoms of in.npz lie farther than 4 Å from all density" in said["warning"]["text"]
    atoms = said["end"]["atoms"]
    assert (atoms["n_atoms"], atoms["n_outside"]) == (13, 1)
    assert atoms["path"] == str(tmp_path / "out" / "frame_atoms.npz")
    assert len(atoms["bond_deviation"]) == len(atoms["angle_deviation"]) == 3


def test_positions_without_bonds_have_no_report_of_them(maps, model, tmp_path, capsys):
    np.save(tmp_path / "in.npy", _places(model)[0])
    more = ["--atoms", tmp_path / "in.npy", "--progress", "json"]
    result = call(capsys, *_line(maps, tmp_path / "out", _shift_weights(tmp_path)), *more)
    assert _events(result.out)["end"]["atoms"]["bond_deviation"] == [None] * 11
    assert np.isnan(np.load(tmp_path / "out" / "frame_atoms.npz")["bond_deviation"]).all()


def test_atoms_that_lie_on_each_other_are_carried_without_their_bonds(maps, tmp_path, capsys):
    crowd = STILL + np.random.default_rng(1).uniform(-1, 1, (300, 3))
    model, out = _model_at(tmp_path / "crowd.pdb", crowd), tmp_path / "out"
    result = call(capsys, *_line(maps, out, _shift_weights(tmp_path)), "--model", model, "--frames", 2)
    assert result.status == 0, result.err
    assert "Warning: The atoms of crowd.pdb lie on each other" in result.err and "How its bonds change" in result.err
    assert _places(out / "frame_model.pdb").shape == (2, 300, 3)


def test_rigid_residues_keep_their_shape(maps, finished, model, tmp_path, capsys):
    changes = {}
    for word, more in (("free", []), ("rigid", ["--rigid", "residue"])):
        line = _line(maps, tmp_path / word, finished.directory / "net.pt", "--model", model, *more)
        assert call(capsys, *line, "--frames", 2).status == 0
        first, last = _places(tmp_path / word / "frame_model.pdb")
        residues = [places.reshape(4, 3, 3) for places in (first, last)]
        pairs = [np.linalg.norm(places - np.roll(places, 1, axis=1), axis=2) for places in residues]
        changes[word] = np.abs(pairs[1] - pairs[0]).max()
    assert changes["free"] > 0.02
    assert changes["rigid"] < 2.1e-3  # a PDB file has three digits


# Time, and back


def test_the_model_and_the_map_go_back(maps, finished, model, tmp_path, capsys):
    there, back = tmp_path / "there", tmp_path / "back"
    weights = finished.directory / "net.pt"
    assert call(capsys, *_line(maps, there, weights, "--model", model, "--frames", 2)).status == 0
    last = _places(there / "frame_model.pdb")[1]
    moved = _model_at(tmp_path / "moved.pdb", last[:, ::-1] / 1.5 - NSTART)
    line = ["predict", "--inverse", "-i", there / "frame_01.mrc", "-d", back, "-w", weights, "--model", moved]
    result = call(capsys, *line, "--frames", 3, "--progress", "json")
    assert result.status == 0, result.out
    np.testing.assert_allclose(_places(back / "frame_model.pdb")[2], _places(model)[0], atol=0.05)
    end = _events(result.out)["end"]
    assert end["residual"] < 0.001
    start, returned = mrcfile.read(there / "frame_00.mrc"), mrcfile.read(back / "frame_02.mrc")
    gone = mrcfile.read(there / "frame_01.mrc")
    np.testing.assert_array_equal(mrcfile.read(back / "frame_00.mrc"), gone)
    for axis in range(3):  # deposited twice, it is blurred, but its centre is where it was
        sums = [x.sum(axis=tuple({0, 1, 2} - {axis}), dtype=float) for x in (start, returned)]
        centres = [(x * np.arange(len(x))).sum() / x.sum() for x in sums]
        assert centres[1] == pytest.approx(centres[0], abs=0.02)


def test_a_target_on_another_grid_is_put_on_that_of_the_training(maps, finished, tmp_path, capsys):
    path = write_mrc(tmp_path / "shifted.mrc", two_domains(1)[2:, 3:, :-4], nstart=(5, -1, 5))
    line = ["predict", "--inverse", "-t", LEVEL, "-d", tmp_path / "out", "-w", finished.directory / "net.pt"]
    result = call(capsys, *line, "-i", path, "--frames", 2)
    assert result.status == 0, result.err
    assert "is resampled onto the grid of initial.mrc" in result.err
    assert "may not fit" not in result.err
    whole = np.where(two_domains(1) < LEVEL, 0, two_domains(1))
    np.testing.assert_allclose(mrcfile.read(tmp_path / "out" / "frame_00.mrc"), whole, atol=1e-5)


def test_a_flow_that_cannot_be_gone_back_is_warned_of(maps, tmp_path, capsys):
    """Each of ten steps takes everything to the corner of the box."""
    import torch

    torch.save({"v.n0.weight": -10 * torch.eye(3), "v.n0.bias": torch.zeros(3)}, tmp_path / "crush.pt")
    more = ["--inverse", "--frames", 2, "--atoms", tmp_path / "a.npy"]
    np.save(tmp_path / "a.npy", ((np.array([MOVING]) + NSTART) * 1.5)[:, ::-1])
    result = call(capsys, *_line(maps, tmp_path / "out", tmp_path / "crush.pt"), *more)
    assert result.status == 0
    assert "For 100.00% of the mass no place was found that the flow brings to within 0.05 Å" in result.err
    assert "For 1 of 1 atoms no place was found" in result.err


def test_substeps_and_integrators_refine_the_same_way(maps, finished, model, tmp_path, capsys):
    ends = {}
    for name, more in {
        "euler": [],
        "fine": ["--substeps", 40],
        "midpoint": ["--integrator", "midpoint"],
        "rk4": ["--integrator", "rk4"],
    }.items():
        np.save(tmp_path / "in.npy", _places(model)[0])
        line = _line(maps, tmp_path / name, finished.directory / "net.pt", "--atoms", tmp_path / "in.npy", *more)
        assert call(capsys, *line, "--times", "1").status == 0
        ends[name] = np.load(tmp_path / name / "frame_atoms.npz")["coordinates"][0]
    errors = {name: np.abs(end - ends["rk4"]).max() for name, end in ends.items()}
    assert errors["fine"] < errors["euler"] / 10
    assert errors["midpoint"] < errors["euler"] / 4


def test_memory_does_not_grow_with_the_number_of_frames(maps, tmp_path, monkeypatch, capsys):
    """While a frame is made, the map that is carried is there, and at most the frame before, which is being written."""
    there = []

    def counting_deposit(*arguments):
        there.append(sum(type(thing) is DensityMap for thing in gc.get_objects()))
        return deposit(*arguments)

    monkeypatch.setattr(prediction, "deposit", counting_deposit)
    gc.collect()
    assert call(capsys, *_line(maps, tmp_path / "out", _shift_weights(tmp_path)), "--frames", 12).status == 0
    assert len(there) == 12 and there[0] <= min(there) and max(there) <= there[0] + 1


# Refusals and earlier files


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "far.pdb"], "No atom of far.pdb lies within 4 Å of the density of initial.mrc above level"),
        (["--model", "none.pdb"], "There is no file none.pdb"),
        (["--model", "empty.pdb"], "empty.pdb holds no atoms"),
        (["--model", "in.txt"], "in.txt is no atomic model by its suffix"),
        (["--model", "in.pdb", "--rigid", "B"], "There is no B (--rigid) in in.pdb, which has A:1-4"),
        (["--model", "in.pdb", "--rigid", "A;A:1"], "overlap at residue 1 of chain A"),
        (["--model", "in.pdb", "--atoms", "a.npy"], "not allowed with argument"),
        (["--atoms", "in.pdb"], "cannot be read as .npy or .npz"),
        (["--atoms", "a.npy", "--rigid", "chain"], "--rigid goes with --model"),
        (["--rigid", "chain"], "--rigid goes with --model"),
        (["--times", "0,1", "--frames", "2"], "not allowed with argument"),
        (["--times", "0,half"], "'0,half' are not numbers separated by commas"),
        (["--times", "0,0.5,0.4"], "must ascend and lie from 0 to 1"),
        (["--times", "0,2"], "must ascend and lie from 0 to 1"),
        (["--integrator", "rk5"], "invalid choice: 'rk5'"),
        (["--substeps", "0"], "The number of substeps (--substeps) must be from 1 to 1000, not 0"),
        (["-d", "out"], "out already holds frame_model.pdb. Use --overwrite"),
        (["-d", "out", "--overwrite", "--model", "out/frame_model.pdb"], "would remove out/frame_model.pdb, the atoms"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_before_anything_is_written(maps, model, tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.chdir(tmp_path)
    _shift_weights(tmp_path)
    (tmp_path / "in.txt").write_text(model.read_text())
    (tmp_path / "empty.pdb").write_text("END\n")
    _model_at(tmp_path / "far.pdb", np.array([[100.0, 100, 100], [101, 100, 100]]))
    np.save(tmp_path / "a.npy", _places(model)[0])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "frame_model.pdb").write_text(model.read_text())
    before = contents(tmp_path)
    result = call(capsys, *_line(maps, Path("new"), Path("shift.pt")), *more)
    assert result.status == 2
    assert said in result.err
    assert contents(tmp_path) == before


def test_overwriting_leaves_no_atoms_of_an_earlier_flow(maps, model, tmp_path, capsys):
    line = _line(maps, tmp_path / "out", _shift_weights(tmp_path), "--frames", 2)
    assert call(capsys, *line, "--model", model).status == 0
    assert call(capsys, *line, "--overwrite").status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frame_00.mrc", "frame_01.mrc"]


def test_frames_can_be_told_relative_to_a_part(maps, tmp_path, capsys):
    run = tmp_path / "run"
    assert call(capsys, *training(maps, run, 30, 30)).status == 0
    mask = np.zeros(SHAPE, np.float32)
    mask[..., SHAPE[2] // 2 :] = 1  # the domain that moves
    shutil.copy(maps / "initial.mrc", tmp_path / "part.mrc")
    with mrcfile.open(tmp_path / "part.mrc", "r+") as file:
        file.set_data(mask)
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "--run", run, "--frames", 2]
    assert call(capsys, *line, "-d", tmp_path / "plain").status == 0
    result = call(capsys, *line, "-d", tmp_path / "relative", "--relative-to", tmp_path / "part.mrc")
    assert result.status == 0, result.err
    assert "Relative to part.mrc, which turned by " in result.err and "taken out of every frame." in result.err
    plain, relative = (mrcfile.read(tmp_path / name / "frame_01.mrc") for name in ("plain", "relative"))
    start = mrcfile.read(tmp_path / "plain" / "frame_00.mrc")
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "relative" / "frame_00.mrc"), start)
    centres = [_centre(density * mask) for density in (start, plain, relative)]
    assert np.linalg.norm(centres[2] - centres[0]) < 0.2 * np.linalg.norm(centres[1] - centres[0])
    mask[:] = 0
    mask[0, 0, 0] = 1
    with mrcfile.open(tmp_path / "part.mrc", "r+") as file:
        file.set_data(mask)
    refused = call(capsys, *line, "-d", tmp_path / "nothing", "--relative-to", tmp_path / "part.mrc")
    assert refused.status == 2 and "lies in part.mrc (--relative-to)" in refused.err
    assert not (tmp_path / "nothing").exists()


def _centre(density):
    return np.array([np.average(index, weights=density) for index in np.indices(density.shape)])
