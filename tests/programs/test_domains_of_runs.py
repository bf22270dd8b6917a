"""domains.mrc, domains.json and their section of the report: of a motion that is known, and of runs."""

from __future__ import annotations

import base64
import io
import json
import shutil
from types import SimpleNamespace

import gemmi
import mrcfile
import numpy as np
import pytest
from matplotlib.image import imread
from phantoms import LEVEL
from running import call, training
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.carrying.model_file import read_model
from chimerax.cryotrans.engine.files.run_directory import RunDirectory
from chimerax.cryotrans.engine.judging.domain_table import color_of, read_rows
from chimerax.cryotrans.engine.judging.motion_maps import nearest_points
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.programs.command_line import main
from chimerax.cryotrans.programs.conclusion import write_domains
from chimerax.cryotrans.programs.report.domains import domains_section

VOXEL, ORIGIN = np.array([3.0, 2.0, 2.5]), np.array([-10.0, 5.0, 20.0])  # z, y, x
AXIS, POINT, ANGLE = np.array([0.0, 0.0, 1.0]), np.array([80.0, 35.0, 0.0]), 40.0  # x, y, z: in the plane of the border


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A bar along x, of which the part beyond x = 80 Å turns by 40 degrees about an axis along +z, by x, y, z."""
    folder = RunDirectory(tmp_path_factory.mktemp("run"))
    support = np.argwhere(np.ones((8, 15, 40)))
    places = (support * VOXEL + ORIGIN)[:, ::-1]  # x, y, z
    rotation = Rotation.from_rotvec(np.radians(ANGLE) * AXIS).as_matrix()
    moves = np.where(places[:, :1] > 80, (places - POINT) @ rotation.T + POINT - places, 0.0)
    initial = DensityMap(np.ones((8, 15, 40), np.float32), tuple(VOXEL), header_origin=tuple(ORIGIN))
    comparison = SimpleNamespace(support=support, weights=np.ones(len(support), np.float32))
    nearest = nearest_points(support, initial.grid_shape, initial.voxel_size)
    write_domains(folder, initial, comparison, SimpleNamespace(displacement=moves[:, ::-1]), nearest)
    return folder


def test_labels_lie_where_the_map_lies(run):
    with mrcfile.open(run / "domains.mrc") as file:
        np.testing.assert_allclose([file.voxel_size[name] for name in "zyx"], VOXEL)
        np.testing.assert_allclose([file.header.origin[name] for name in "zyx"], ORIGIN)
        x = np.arange(40) * VOXEL[2] + ORIGIN[2]
        wanted = np.broadcast_to(np.where(x > 80, 2, 1), file.data.shape)  # 15 of 40 beyond
        assert np.mean(file.data == wanted) > 0.98
        assert set(np.unique(file.data)) == {1, 2}


def test_the_table_has_the_motion_in_the_frame_of_the_map(run):
    first, second = read_rows(run / "domains.json")
    assert (first.relative_to, second.relative_to) == (None, 1)
    assert first.share + second.share == pytest.approx(1)
    assert first.angle < 0.5 and second.angle == pytest.approx(ANGLE, abs=0.5)
    np.testing.assert_allclose(second.axis, AXIS, atol=0.01)  # not -z: right-handed, in x, y, z
    np.testing.assert_allclose(second.point[:2], POINT[:2], atol=0.7)
    assert second.hinge is not None and np.linalg.norm(np.array(second.hinge)[:2] - POINT[:2]) < 5.5


def test_the_report_shows_them(run):
    section = domains_section(run)
    for words in ("Domain 1, the largest, is taken as fixed", "40°", "Hinge"):
        assert words in section
    images = [part.split('"')[0] for part in section.split("base64,")[1:]]
    assert len(images) == 3
    picture = imread(io.BytesIO(base64.b64decode(images[0])))[:, :, :3]  # against z: y up, x to the right
    one, two = (np.array([int(color_of(k)[i : i + 2], 16) for i in (1, 3, 5)]) / 255 for k in (1, 2))
    middle = picture[len(picture) // 2]
    np.testing.assert_allclose(middle[8], one, atol=0.01)
    np.testing.assert_allclose(middle[-8], two, atol=0.01)


def test_with_a_model_the_report_lists_residues(run, tmp_path):
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(gemmi.Chain("B"))
    for k in range(20):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(31 + k, " ")
        atom = gemmi.Atom()
        atom.name, atom.element = "CA", gemmi.Element("C")
        atom.pos = gemmi.Position(80 + 3.0 * (k - 9.5), 21, 1)
        residue.add_atom(atom)
        structure[0][0].add_residue(residue)
    water = structure[0][0][4].clone()
    water.name, water.seqid = "HOH", gemmi.SeqId(301, " ")
    structure[0][0].add_residue(water)
    structure.write_pdb(str(tmp_path / "x.pdb"))
    section = domains_section(run, read_model(tmp_path / "x.pdb"))
    assert "/B:31-40<" in section and "/B:41-50; hinge residues /B:40-41<" in section
    assert "hinge residues" not in domains_section(run)


@pytest.mark.parametrize("name", ["domains.mrc", "domains.json"])
def test_without_the_files_there_is_no_section(run, tmp_path, name):
    for other in ("domains.mrc", "domains.json"):
        shutil.copy(run / other, tmp_path)
    assert domains_section(RunDirectory(tmp_path))
    (tmp_path / name).unlink()
    assert domains_section(RunDirectory(tmp_path)) == ""


def test_a_training_leaves_them_and_its_report_has_the_section(maps, reported):
    rows = read_rows(reported / "domains.json")
    with mrcfile.open(reported / "domains.mrc") as file, mrcfile.open(maps / "initial.mrc") as initial:
        assert file.data.shape == initial.data.shape and file.data.max() == len(rows)
        assert (file.data[initial.data > LEVEL] > 0).all()
        assert (file.header.nxstart, file.header.nystart, file.header.nzstart) == (5, -4, 3)
    assert "<h2>Domains</h2>" in (reported / "report.html").read_text(encoding="utf-8")


def test_overwrite_takes_them_away(maps, reported, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(reported, again)
    assert main([*map(str, training(maps, again, 2, 2)), "--overwrite", "--progress", "none"]) == 0  # without report
    assert not (again / "domains.mrc").exists() and not (again / "domains.json").exists()


def test_a_prediction_with_a_model_lists_its_residues(maps, reported, tmp_path, capsys):
    line = "HETATM    1 CA    CA A   7    %8.3f%8.3f%8.3f  1.00  0.00          CA\n"
    (tmp_path / "x.pdb").write_text(line % ((8 + 5) * 1.5, (8 - 4) * 1.5, (9 + 3) * 1.5) + "END\n")
    weights = reported / json.loads((reported / "run.json").read_text())["best"]["weights"]
    words = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", tmp_path / "frames", "-w", weights]
    result = call(capsys, *words, "--frames", 2, "--model", tmp_path / "x.pdb")
    assert result.status == 0, result.err
    assert "/A:7<" in (tmp_path / "frames" / "report.html").read_text(encoding="utf-8")
