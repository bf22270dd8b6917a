"""The witness of runs: run.json, witness.mrc, its section of the report, and what it leaves out."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import gemmi
import mrcfile
import numpy as np
import pytest
import torch
from chains import lobe
from phantoms import LEVEL
from running import training

from chimerax.cryotrans.engine.carrying.model_file import read_model
from chimerax.cryotrans.engine.docking.partners import Part
from chimerax.cryotrans.engine.files.run_directory import RunDirectory
from chimerax.cryotrans.engine.flow.checkpoint import save_weights
from chimerax.cryotrans.engine.flow.fields import at_rest
from chimerax.cryotrans.engine.judging.comparison import Comparison
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.programs.command_line import main
from chimerax.cryotrans.programs.history import Compared, History
from chimerax.cryotrans.programs.progress import Reporter
from chimerax.cryotrans.programs.report.witness import witness_section

DOUBTED = {"place": [30.0, 20.0, 10.0], "share": 0.2, "fit": 0.31, "best": 0.92, "apart": 8.4, "doubt": "elsewhere"}
NOWHERE = {"place": [60.0, 20.0, 10.0], "share": 0.3, "fit": 0.22, "best": 0.4, "apart": 33.3, "doubt": "nowhere"}
AGREES = {"place": [90.0, 20.0, 10.0], "share": 0.5, "fit": 0.93, "best": 0.93, "apart": 0.4, "doubt": None}


def _told(*pieces, step=7):
    doubted = sum(piece["share"] for piece in pieces if piece["doubt"])
    witness = {"step": step, "doubted": doubted, "usual": 0.95, "pieces": list(pieces)}
    return SimpleNamespace(content={"witness": witness}, row=SimpleNamespace(step=7))


def _rows(section):
    return [row.split("</tr>")[0] for row in section.split("<tr>")[2:]]  # after the head


def test_the_table_has_those_that_are_doubted_the_heaviest_first():
    section = witness_section(_told(DOUBTED, NOWHERE, AGREES))
    first, second = _rows(section)
    assert "60.0, 20.0, 10.0" in first and "30.0%" in first and "33.3" not in first  # no place is better
    for words in ("30.0, 20.0, 10.0", "20.0%", "0.31", "0.92", "8.4 Å"):
        assert words in second
    assert "Doubted: 2, with 50% of the mass" in section and "90.0" not in section


def test_a_sentence_says_that_none_is_doubted_and_nothing_is_said_of_another_step():
    assert "All of them fit where the flow takes them." in witness_section(_told(AGREES))
    assert witness_section(_told(DOUBTED, step=6)) == ""
    assert witness_section(SimpleNamespace(content={}, row=SimpleNamespace(step=7))) == ""


def test_with_a_model_the_residues_of_a_piece_are_listed(tmp_path):
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(gemmi.Chain("B"))
    for k in range(30):  # along x, from 20 Å on
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(1 + k, " ")
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(20 + 3.0 * k, 20, 10)
        residue.add_atom(atom)
        structure[0][0].add_residue(residue)
    structure.write_pdb(str(tmp_path / "x.pdb"))
    first, second = _rows(witness_section(_told(DOUBTED, NOWHERE, AGREES), read_model(tmp_path / "x.pdb")))
    assert "/B:11-18<" in first  # 50 to 71 Å; within 12 Å of 60 Å
    assert "/B:1-8<" in second  # 20 to 41 Å; within 12 Å of 30 Å


def test_a_training_that_ends_has_asked_it(maps, reported):
    content = json.loads((reported / "run.json").read_text(encoding="utf-8"))
    witness = content["witness"]
    assert witness["step"] == content["best"]["step"]
    assert sum(piece["share"] for piece in witness["pieces"]) == pytest.approx(1, abs=0.01)
    with mrcfile.open(reported / "witness.mrc") as file, mrcfile.open(maps / "initial.mrc") as initial:
        assert file.data.shape == initial.data.shape
        assert bool(file.data.any()) == bool(witness["doubted"])
        for name in ("nxstart", "nystart", "nzstart"):
            assert file.header[name] == initial.header[name]
        # The doubts lie where the pieces lie that have them, x, y, z in Å.
        start = [initial.header[name] * 1.5 for name in ("nxstart", "nystart", "nzstart")]
        centres = np.array([piece["place"] for piece in witness["pieces"]])
        doubted = np.array([piece["doubt"] is not None for piece in witness["pieces"]])
        voxels = np.argwhere(initial.data > LEVEL)
        nearest = ((voxels[:, None, ::-1] * 1.5 + start - centres) ** 2).sum(2).argmin(1)
        np.testing.assert_array_equal(file.data[tuple(voxels.T)] > 0, doubted[nearest])
    assert "<h2>Witness</h2>" in (reported / "report.html").read_text(encoding="utf-8")
    assert any("docked by themselves" in text for text in content["verdict"]["reasons"]) or not witness["doubted"]


def test_a_training_that_ends_says_how_far_to_believe_it_where(maps, reported):
    content = json.loads((reported / "run.json").read_text(encoding="utf-8"))
    told = content["confidence"]
    assert told["step"] == content["best"]["step"]
    with mrcfile.open(reported / "confidence.mrc") as file, mrcfile.open(maps / "initial.mrc") as initial:
        assert 0 <= file.data.min() <= file.data.max() <= 1
        weights = np.where(initial.data >= LEVEL, initial.data, 0)
        assert np.average(file.data < 0.5, weights=weights) == pytest.approx(told["doubtful"], abs=1e-3)
    page = (reported / "report.html").read_text(encoding="utf-8")
    assert "<h2>Confidence</h2>" in page
    verdict = content["verdict"]
    assert ("What to do next" in page) == bool(verdict["advice"]) == (verdict["word"] != "good")
    assert not any("\ue000" in text for text in verdict["advice"])


def test_overwrite_takes_it_away(maps, reported, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(reported, again)
    assert main([*map(str, training(maps, again, 2, 2)), "--overwrite", "--progress", "none"]) == 0  # without report
    assert not (again / "witness.mrc").exists() and not (again / "confidence.mrc").exists()
    assert json.loads((again / "run.json").read_text(encoding="utf-8"))["witness"] is None


def test_a_part_without_partner_is_not_doubted_once_more(tmp_path):
    voxel, box = 2.0, 44

    def of(positions):
        axis = np.arange(box) * voxel
        z, y, x = (np.exp(-((axis - across[:, None]) ** 2) / (2 * 1.4**2)) for across in positions.T)
        density = np.einsum("az,ay,ax->zyx", z, y, x)
        return DensityMap((density / density.max()).astype(np.float32), (voxel,) * 3)

    kept, lost = lobe(110, 15.0, 1) + np.array((44.0, 26.0, 40.0)), lobe(110, 15.0, 2) + np.array((44.0, 60.0, 40.0))
    initial, target = of(np.concatenate((kept, lost))), of(kept)
    beyond = np.broadcast_to((np.arange(box) * voxel > 43)[:, None], (box, box, box)).copy()  # along y
    part = Part("initial", 0.5, (44.0, 60.0, 40.0), beyond)
    comparison = Comparison(initial, target, 0.15, 0.15, torch.device("cpu"), without_partner=[part])
    history = History(RunDirectory(tmp_path), Compared(initial, target, 0.15, 0.0, comparison, 0.15), 0, Reporter())
    save_weights(tmp_path / "net_0.pt", at_rest())
    history.take(at_rest(), 0, 0.0, 1.0, "net_0.pt")
    history.ask_witness(0)
    witness = history.witness()
    assert witness["doubted"] == 0
    assert all(piece["place"][1] < 46 for piece in witness["pieces"])
