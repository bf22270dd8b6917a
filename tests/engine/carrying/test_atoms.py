"""Atoms: rigid fits and bonds against closed forms, support against brute force, files against gemmi."""

import gzip
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.carrying.atoms import REACH, angle_pairs, move_rigidly, read_atoms, rms_change, support
from chimerax.cryotrans.engine.carrying.model_file import (
    bonds_of,
    check_they_fit,
    read_model,
    rigid_groups,
    write_models,
)
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.density_map import DensityMap

gemmi = pytest.importorskip("gemmi")

# Phenylalanine with another place for an atom of its ring, zinc near its oxygen, alanine; after chain B, water of A.
PDB = """\
CRYST1   40.000   40.000   40.000  90.00  90.00  90.00 P 1
ATOM      1  N   PHE A  -1      11.000  10.000  10.000  1.00 11.00           N
ATOM      2  CA  PHE A  -1      12.458  10.000  10.000  1.00 12.00           C
ATOM      3  C   PHE A  -1      13.009  11.420  10.000  1.00 13.00           C
ATOM      4  O   PHE A  -1      12.251  12.391  10.000  1.00 14.00           O
ATOM      5  CB AALA A   2      14.338  11.420  10.300  0.60 15.50           C
ATOM      6  CB BALA A   2      14.338  11.520  10.000  0.40 16.00           C
TER
ATOM      7  CA  GLY B   5A     20.000  20.000  20.000  1.00 17.00           C
ATOM      8  C   GLY B   5A     21.500  20.000  20.000  1.00 18.00           C
HETATM    9 ZN    ZN B   6      22.900  20.000  20.000  1.00 19.00          ZN
HETATM   10  O   HOH A 101      30.000  30.000  30.000  1.00 20.00           O
END
"""


@pytest.fixture
def pdb(tmp_path):
    path = tmp_path / "some.pdb"
    path.write_text(PDB)
    return path


@pytest.fixture(params=[".pdb", ".ent", ".cif", ".mmcif", ".pdb.gz", ".cif.gz"])
def any_file(request, tmp_path, pdb):
    """The same model in each of the formats."""
    path = tmp_path / f"any{request.param}"
    text = PDB
    if "cif" in request.param:
        structure = gemmi.read_structure(str(pdb), merge_chain_parts=False)
        structure.setup_entities()
        text = structure.make_mmcif_document().as_string()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def _rows(model):
    """All that is said of each atom but for its place."""
    return [
        (c.name, str(r.seqid), r.name, r.het_flag, a.name, a.altloc, a.element.name, a.occ, a.b_iso, a.charge)
        for c in model
        for r in c
        for a in r
    ]


def _places(model):
    return np.array([[a.pos.z, a.pos.y, a.pos.x] for c in model for r in c for a in r])


# Files


def test_every_format_is_written_as_it_was_read(any_file, tmp_path):
    model = read_model(any_file)
    assert model.positions.shape == (10, 3)
    random = np.random.default_rng(0)
    frames = model.positions + random.normal(size=(3, 10, 3)) * [[[0]], [[1]], [[5]]]
    out = tmp_path / f"out{model.suffix}"
    write_models(out, model, frames)
    assert (model.suffix == ".cif") == ("cif" in any_file.name)
    given = gemmi.read_structure(str(any_file), merge_chain_parts=False)[0]
    written = gemmi.read_structure(str(out), merge_chain_parts=False)
    assert [m.num for m in written] == [1, 2, 3]
    for frame, found in zip(frames, written):
        assert _rows(found) == _rows(given)
        np.testing.assert_allclose(_places(found), frame, atol=6e-4)  # a PDB file has three digits
    np.testing.assert_allclose(_places(written[0]), _places(given), atol=1e-3)
    assert written.cell.a == 40


def test_the_first_of_several_models_is_read(pdb, tmp_path):
    path = tmp_path / "several.pdb"
    write_models(path, read_model(pdb), read_model(pdb).positions + np.arange(3)[:, None, None])
    model = read_model(path)
    assert model.n_left_out == 2
    np.testing.assert_allclose(model.positions, read_model(pdb).positions)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_anisotropy_is_left_out_since_it_does_not_turn(tmp_path, suffix):
    line = "ATOM      1  N   PHE A   1      11.000  10.000  10.000  1.00 11.00           N\n"
    line += "ANISOU    1  N   PHE A   1      100    200    300     10     20     30       N\n"
    path = tmp_path / "a.pdb"
    path.write_text(line)
    if suffix == ".cif":
        gemmi.read_structure(str(path)).make_mmcif_document().write_file(str(path.with_suffix(".cif")))
    model = read_model(path.with_suffix(suffix))
    write_models(tmp_path / f"out{suffix}", model, model.positions[None])
    assert not gemmi.read_structure(str(tmp_path / f"out{suffix}"))[0][0][0][0].aniso.nonzero()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.mrc", "", r"by its suffix: wanted is .cif, .mmcif, .pdb, .ent or one of these with .gz"),
        ("model.gz", "", "no atomic model by its suffix"),
        ("empty.pdb", "", "holds no atoms"),
        ("header.pdb", "HEADER    NOTHING\nEND\n", "holds no atoms"),
        ("text.cif", "these are no words of CIF", "text.cif cannot be read"),
        ("empty.cif", "data_x\n", "holds no atoms"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        read_model(tmp_path / name)


def test_a_truncated_file_is_refused(tmp_path):
    (tmp_path / "half.pdb.gz").write_bytes(gzip.compress(PDB.encode())[:200])
    with pytest.raises(InputError, match=r"half.pdb.gz cannot be read"):
        read_model(tmp_path / "half.pdb.gz")


def test_a_missing_file_and_a_missing_gemmi_are_said(pdb, monkeypatch):
    with pytest.raises(InputError, match="There is no file"):
        read_model(pdb.with_name("other.pdb"))
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(InputError, match="needs gemmi, which is not installed: pip install gemmi"):
        read_model(pdb)


def test_a_place_that_a_pdb_file_cannot_hold_is_refused(pdb):
    model = read_model(pdb)
    check_they_fit(model, model.positions[None])
    with pytest.raises(InputError, match="too far out for a PDB file"):
        check_they_fit(model, model.positions[None] - 1100)


# Bonds


def test_bonds_are_where_chemistry_has_them(pdb):
    """N-CA, CA-C, C-O, C-CB of either place but never between the two, CA-C; none to zinc, which is as near."""
    assert bonds_of(read_model(pdb)).tolist() == [[0, 1], [1, 2], [2, 3], [2, 4], [2, 5], [6, 7]]


def test_angles_span_two_bonds():
    bonds = np.array([[0, 1], [1, 2], [1, 3], [4, 5]])
    assert sorted(map(tuple, angle_pairs(bonds).tolist())) == [(0, 2), (0, 3), (2, 3)]
    assert angle_pairs(np.empty((0, 2), np.int64)).shape == (0, 2)


def test_atoms_on_each_other_are_refused_before_memory_goes(tmp_path):
    """21 GB, 120,000 atoms in a box of 40 Å took for their bonds: here a twentieth of them, as dense."""
    atoms = np.random.default_rng(0).uniform(0, 15, (6000, 3))
    lines = [f"ATOM  {i:5}  CA  GLY A{i % 9999:4}    {z:8.3f}{y:8.3f}{x:8.3f}" for i, (z, y, x) in enumerate(atoms)]
    path = tmp_path / "dense.pdb"
    path.write_text("\n".join([*lines, "END\n"]))
    model = read_model(path)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"dense\.pdb lie on each other, \d\d in 3 Å where a molecule has 4"):
        bonds_of(model)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_what_is_bonded_to_thousands_spans_no_angles():
    star = np.stack([np.zeros(5000, np.int64), np.arange(1, 5001)], axis=1)
    tracemalloc.start()
    assert len(angle_pairs(star)) == 0
    assert len(angle_pairs(np.append(star[:12], [[1, 6000]], axis=0))) == 12 * 11 / 2 + 1
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_stretching_changes_every_bond_in_proportion():
    before = np.array([[0.0, 0, 0], [0, 0, 3], [4, 0, 3]])
    bonds = np.array([[0, 1], [1, 2]])  # 3 and 4 Å
    assert rms_change(bonds, before, 1.1 * before) == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 2))
    assert rms_change(bonds[:0], before, before) is None


# Rigid pieces


def _cloud(n=40, seed=0):
    return np.random.default_rng(seed).normal(scale=8, size=(n, 3))


def test_a_rigid_motion_gives_itself():
    before, groups = _cloud(), np.arange(40) // 8
    turn = Rotation.from_euler("zyx", [170, 40, -70], degrees=True).as_matrix()
    after = before @ turn.T + [3, -20, 5]
    np.testing.assert_allclose(move_rigidly(before, after, groups), after, atol=1e-12)


def test_a_bent_motion_is_fitted_as_well_as_scipy_does_it():
    before, groups = _cloud(), np.arange(40) % 3 - 1
    after = before + 0.01 * before[:, ::-1] ** 2 + [1, 2, 3]
    moved = move_rigidly(before, after, groups)
    np.testing.assert_array_equal(moved[groups < 0], after[groups < 0])
    for group in (0, 1):
        a, b = before[groups == group], after[groups == group]
        best, _ = Rotation.align_vectors(b - b.mean(0), a - a.mean(0))
        np.testing.assert_allclose(moved[groups == group], best.apply(a - a.mean(0)) + b.mean(0), atol=1e-9)
        np.testing.assert_allclose(cdist(moved, moved)[groups == group][:, groups == group], cdist(a, a), atol=1e-9)


def test_a_mirror_image_is_never_made():
    before = _cloud(10)
    moved = move_rigidly(before, before * [1, 1, -1], np.zeros(10, int))
    turned = np.linalg.lstsq(before - before.mean(0), moved - moved.mean(0), rcond=None)[0]
    assert np.linalg.det(turned) == pytest.approx(1)


def test_pieces_of_one_two_and_three_atoms_keep_their_shape():
    before, groups = _cloud(6), np.array([0, 1, 1, 2, 2, 2])
    after = 1.3 * before + 1
    moved = move_rigidly(before, after, groups)
    np.testing.assert_allclose(moved[0], after[0])
    np.testing.assert_allclose(cdist(moved[1:3], moved[1:3]), cdist(before[1:3], before[1:3]), atol=1e-9)
    np.testing.assert_allclose(cdist(moved[3:], moved[3:]), cdist(before[3:], before[3:]), atol=1e-9)


def test_bonds_inside_a_residue_stay_as_they_are(pdb):
    model = read_model(pdb)
    bonds = bonds_of(model)
    inside = bonds[model.residue_of[bonds[:, 0]] == model.residue_of[bonds[:, 1]]]
    after = model.positions + 0.02 * (model.positions - 15)[:, ::-1] ** 2
    assert len(inside) == 4
    assert rms_change(inside, model.positions, after) > 0.1
    moved = move_rigidly(model.positions, after, rigid_groups(model, "residue"))
    assert rms_change(inside, model.positions, moved) < 1e-6


@pytest.mark.parametrize(
    ("rigid", "groups"),
    [
        ("residue", [0, 0, 0, 0, 1, 1, 2, 2, 3, 4]),
        ("chain", [0, 0, 0, 0, 0, 0, 1, 1, 1, 0]),
        ("A", [0, 0, 0, 0, 0, 0, -1, -1, -1, 0]),
        ("A:2", [-1, -1, -1, -1, 0, 0, -1, -1, -1, -1]),
        ("A:-5-2; B:6,A:101", [0, 0, 0, 0, 0, 0, -1, -1, 1, 1]),
        ("A:-1,B:5A", [0, 0, 0, 0, -1, -1, 0, 0, -1, -1]),
    ],
)
def test_pieces_are_named_by_words_and_zones(pdb, rigid, groups):
    assert rigid_groups(read_model(pdb), rigid).tolist() == groups


@pytest.mark.parametrize(
    ("rigid", "words"),
    [
        ("C", r"There is no C \(rigid\) in some.pdb, which has A:-1-101, B:5A-6"),
        ("A:3-100", "There is no A:3-100"),
        ("A:-1-2;A:2", "overlap at residue 2 of chain A"),
        ("A,A:101", "overlap at residue 101 of chain A"),
        ("A:x", "cannot be read"),
        ("A;", "cannot be read"),
        ("A:1-2-3", "cannot be read"),
        ("A:5-1", "There is no A:5-1"),
    ],
)
def test_pieces_that_are_not_there_are_refused(pdb, rigid, words):
    with pytest.raises(InputError, match=words):
        rigid_groups(read_model(pdb), rigid)


@pytest.fixture
def inserted(tmp_path):
    """Chain H with residues 51, 52, 52A, 52B and 53, an atom each."""
    lines = [
        f"ATOM  {i:5d}  CA  ALA H{number:>4}{code}   {3.8 * i:8.3f}{10:8.3f}{10:8.3f}  1.00 20.00           C\n"
        for i, (number, code) in enumerate([(51, " "), (52, " "), (52, "A"), (52, "B"), (53, " ")])
    ]
    path = tmp_path / "fab.pdb"
    path.write_text("".join(lines) + "END\n")
    return path


@pytest.mark.parametrize(
    ("rigid", "groups"),
    [
        ("H:52", [-1, 0, -1, -1, -1]),
        ("H:52A", [-1, -1, 0, -1, -1]),
        ("H:51-52;H:52A-53", [0, 0, 1, 1, 1]),
        ("H:52-53", [-1, 0, 0, 0, 0]),
        ("H:52A-52B", [-1, -1, 0, 0, -1]),
    ],
)
def test_inserted_residues_have_names_of_their_own(inserted, rigid, groups):
    assert rigid_groups(read_model(inserted), rigid).tolist() == groups


_COLUMNS = ("label_alt_id", "label_asym_id", "auth_asym_id", "label_seq_id", "label_entity_id")
_COLUMNS += ("pdbx_PDB_ins_code", "occupancy", "B_iso_or_equiv", "pdbx_PDB_model_num")


@pytest.mark.parametrize("left_out", _COLUMNS)
def test_a_cif_file_may_lack_a_column_and_have_coordinates_in_a_later_block(inserted, tmp_path, left_out):
    gemmi = pytest.importorskip("gemmi")
    document = gemmi.read_structure(str(inserted)).make_mmcif_document()
    loop = document[0].find_loop("_atom_site.id").get_loop()
    if f"_atom_site.{left_out}" in loop.tags:
        loop.remove_column(f"_atom_site.{left_out}")
    path = tmp_path / "some.cif"
    path.write_text("data_ligands\nloop_\n_chem_comp.id\n_chem_comp.name\nATP atp\n" + document.as_string())
    model = read_model(path)
    np.testing.assert_allclose(model.positions, read_model(inserted).positions)
    assert set(model.chains) == {"H"} or left_out == "auth_asym_id"


# Support


def test_support_is_the_distance_from_the_nearest_voxel():
    random = np.random.default_rng(1)
    density = (random.random((7, 9, 8)) > 0.99).astype(np.float32)
    density[0, 0, 0] = -1
    size, origin = np.array([1.1, 1.7, 0.9]), np.array([-3.0, 5.0, 2.0])
    density_map = DensityMap(density, tuple(size), header_origin=tuple(origin))
    atoms = origin + random.uniform(-0.5, 1.5, (500, 3)) * density.shape * size
    centres = np.argwhere(density > 0) * size + origin
    gaps = np.maximum(np.abs(atoms[:, None] - centres) - size / 2, 0)
    wanted = np.maximum(0, 1 - np.linalg.norm(gaps, axis=2).min(axis=1) / REACH)
    assert 0 < (wanted == 0).sum() < 500
    np.testing.assert_allclose(support(atoms, density_map, 0.0), wanted, atol=1e-6)
    np.testing.assert_array_equal(support(centres, density_map, 1.0), 1)
    assert not support(centres, density_map, 1.1).any()


# Positions in numpy files


def test_positions_are_read_from_numpy_files(tmp_path):
    coordinates = _cloud(5).astype(np.float32)
    bonds, groups = np.array([[0, 1], [3, 4]], np.int32), np.array([0, 0, -1, 2, 2], np.int8)
    np.save(tmp_path / "a.npy", coordinates)
    np.savez(tmp_path / "a.npz", coordinates=coordinates, bonds=bonds, groups=groups)
    plain, full = (read_atoms(tmp_path / name) for name in ("a.npy", "a.npz"))
    for atoms in (plain, full):
        np.testing.assert_array_equal(atoms.positions, coordinates[:, ::-1])
    assert (len(plain.bonds), plain.groups) == (0, None)
    np.testing.assert_array_equal(full.bonds, bonds)
    np.testing.assert_array_equal(full.groups, groups)


FIVE = np.zeros((5, 3))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"coordinates": np.zeros((3, 5))}, r"coordinates \(3, 5\) of float64"),
        ({"coordinates": np.zeros((0, 3))}, "holds no atoms"),
        ({"coordinates": np.float64(3)}, r"coordinates \(\) of float64"),
        ({"coordinates": np.full((2, 3), np.nan)}, "out of their range"),
        ({"coordinates": FIVE.astype(complex)}, "complex"),
        ({"positions": FIVE}, "holds positions: wanted is coordinates"),
        ({"coordinates": FIVE, "bonds": np.array([[0, 5]])}, "out of their range"),
        ({"coordinates": FIVE, "bonds": np.array([[-1, 0]])}, "out of their range"),
        ({"coordinates": FIVE, "bonds": np.array([0, 1])}, r"bonds \(2,\)"),
        ({"coordinates": FIVE, "groups": np.zeros(4, int)}, r"groups \(4,\)"),
        ({"coordinates": FIVE, "groups": np.zeros(5)}, "groups .* of float64"),
        ({"coordinates": FIVE, "names": np.zeros(5)}, "holds coordinates, names"),
    ],
)
def test_positions_that_do_not_fit_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=words):
        read_atoms(tmp_path / "a.npz")


def test_files_that_hold_no_arrays_are_refused(tmp_path):
    (tmp_path / "text.npy").write_text("x y z")
    np.save(tmp_path / "code.npy", np.array([{"a": 1}], dtype=object))
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("text.npy", "code.npy", "empty.npy"):
        with pytest.raises(InputError, match=r"cannot be read as .npy or .npz"):
            read_atoms(tmp_path / name)
    with pytest.raises(InputError, match="There is no file"):
        read_atoms(tmp_path / "none.npy")
