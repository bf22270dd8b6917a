"""cryotrans predict model: a structure carried by the real worker, and kept in step with the series.

The flow is linear, v(u) = W u + b, so that where Euler's ten steps bring an atom is known: each one adds a tenth of v.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import numpy as np
import phantoms
import pytest
from chimerax.atomic import Structure
from chimerax.core.errors import UserError
from chimerax.geometry import rotation, translation
from chimerax.map_series import MapSeries
from test_series import ELSEWHERE

from chimerax.cryotrans.app import in_step
from chimerax.cryotrans.app.runs import Run, runs_of
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

N_FRAMES = 6  # at whole steps of the flow
ANGLE = 0.6  # turn about z, radians
SIDE = max(phantoms.SHAPE) * phantoms.VOXEL_SIZE[0]  # Å, of the box: the unit of the flow
W = np.array([[0, 0, 0], [0, 0, -ANGLE], [0, ANGLE, 0]])  # z, y, x
MIDDLE = (np.add(phantoms.STILL, phantoms.MOVING) / 2 + 0.5) / max(phantoms.SHAPE)  # z, y, x, of the two domains
B = np.array([0.02, 0, 0]) - W @ MIDDLE

MAKE_WEIGHTS = """
import sys, torch
weights = {"v.n0.weight": torch.tensor(eval(sys.argv[2])), "v.n0.bias": torch.tensor(eval(sys.argv[3]))}
torch.save(weights, sys.argv[1])
"""

# An alanine about the origin; its C-alpha has a second place.
ALANINE = (
    ("N", " ", -1.2, -0.8, 0.0, 21.0),
    ("CA", "A", 0.0, 0.0, 0.0, 22.0),
    ("CA", "B", 0.3, 0.2, 0.4, 23.0),
    ("C", " ", 1.3, -0.8, 0.0, 24.0),
    ("O", " ", 1.4, -2.0, 0.2, 25.0),
    ("CB", " ", 0.0, 1.0, 1.2, 26.0),
)


def pdb_line(serial, name, altloc, residue, chain, number, xyz, bfactor):
    x, y, z = xyz
    return (
        f"{'ATOM' if residue == 'ALA' else 'HETATM':6}{serial:5}  {name:3}{altloc}{residue} {chain}{number:4}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{bfactor:6.2f}          {name[0]:>2}"
    )


def pdb(far_away=True):
    """An alanine in each of the two domains, and a water far from both."""
    lines = []
    for chain, centre in (("A", phantoms.STILL), ("B", phantoms.MOVING)):
        place = np.array(centre[::-1]) * phantoms.VOXEL_SIZE[0]  # x, y, z
        for name, altloc, *xyz, bfactor in ALANINE:
            lines.append(pdb_line(len(lines) + 1, name, altloc, "ALA", chain, 1, place + xyz, bfactor))
    if far_away:
        lines.append(pdb_line(len(lines) + 1, "O", " ", "HOH", "A", 2, (38.0, 4.0, 4.0), 30.0))
    return "\n".join([*lines, "END", ""])


def open_structure(session, text=None, name="1abc"):
    from chimerax.pdb import open_pdb

    [structure], _ = open_pdb(session, io.StringIO(text or pdb()), f"{name}.pdb", log_info=False)
    structure.name = name
    session.models.add([structure])
    return structure


def in_file(xyz, time):
    """Where the flow brings atoms, x, y, z in the map's file -> the same."""
    origin = 0.5 * phantoms.VOXEL_SIZE[0]  # the corner of the box is half a voxel before the first centre
    u = (np.asarray(xyz)[:, ::-1] + origin) / SIDE
    for _ in range(round(10 * time)):
        u = u + (u @ W.T + B) / 10
    return (u * SIDE - origin)[:, ::-1]


@pytest.fixture(scope="session")
def linear_run(finished_run, tmp_path_factory):
    """A folder with the run of `finished_run`, but with weights of the linear flow."""
    folder = Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("linear") / "run"))
    for path in (folder / "run.json", folder / "maps" / "models.json"):
        path.write_text(path.read_text().replace(str(finished_run), str(folder)))
    numbers = [repr(array.tolist()) for array in (W, B)]
    subprocess.run([sys.executable, "-c", MAKE_WEIGHTS, folder / "net.pt", *numbers], check=True, timeout=120)
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "best": {"step": 4, "weights": "net.pt"}}))
    return folder


@pytest.fixture(scope="module")
def coordset(chimerax_session):
    """ChimeraX's command, of a bundle that the tests do without elsewhere."""
    from chimerax.std_commands import coordset

    coordset.register_command(chimerax_session.logger)


@pytest.fixture
def structure(session, pair):
    """#3, where the pair's maps #1 and #2 have their domains."""
    return open_structure(session)


@pytest.fixture
def predict(session, run, home, pair, linear_run):
    """predict("words") is the series and the carried structure."""
    runs_of(session).add(session, Run(linear_run, pair[0]))

    def predict(words="", structure_id="#3"):
        series = run(f"cryotrans predict #1 model {structure_id} frames {N_FRAMES} device cpu {words}")
        [carried] = [model for model in session.models.list(type=Structure) if model.name.endswith(" carried")]
        return series, carried

    return predict


def log(session):
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", "\n".join(session.test_log.texts("info", "warning"))))


def links(session):
    """The commands that the Log offers."""
    return urllib.parse.unquote("\n".join(re.findall(r"cxcmd:([^\"]*)", "".join(session.test_log.texts("info")))))


def coordset_positions(carried, k):
    """(n, 3) in the scene, of frame k."""
    xyz = carried.coordset(k + 1).xyzs[carried.atoms.coord_indices]
    return carried.scene_position * np.array(xyz, np.float64)


def check_in_step(series, carried):
    [shown] = [k for k, frame in enumerate(series.maps) if frame is not None and frame.display]
    assert carried.active_coordset_id == shown + 1
    return shown


# Carried


def test_atoms_go_where_the_flow_goes(session, structure, predict):
    before = np.array(structure.atoms.scene_coords)
    series, carried = predict()
    assert carried.name == "1abc carried" and carried.num_coordsets == series.number_of_times() == N_FRAMES
    for k in range(N_FRAMES):
        expected = in_file(before, k / (N_FRAMES - 1))
        np.testing.assert_allclose(coordset_positions(carried, k), expected, atol=1e-4)
    assert np.linalg.norm(expected - before, axis=1).max() > 5  # Å
    assert carried.display and not structure.display and carried.active_coordset_id == 1
    np.testing.assert_array_equal(structure.atoms.scene_coords, before)


def test_density_at_the_atoms_stays_high(session, pair, structure, predict):
    n = structure.num_atoms - 1  # without the water
    start = pair[0].interpolated_values(np.array(structure.atoms.scene_coords)[:n])
    series, carried = predict()
    for k, frame in enumerate(series.maps):
        there = frame.interpolated_values(coordset_positions(carried, k)[:n], frame.scene_position.inverse())
        assert there.mean() > 0.85 * start.mean(), k  # deposited on coarse voxels, density blurs a little
    left_behind = frame.interpolated_values(np.array(structure.atoms.scene_coords)[:n])
    assert left_behind.mean() < 0.5 * start.mean()


def test_models_that_were_moved_and_turned(session, run, pair, structure, predict):
    plain = np.array(structure.atoms.scene_coords)
    place = translation((30, -20, 5)) * rotation((1, 2, 3), 50)
    origin = np.array([400.5, -100.25, 7.0])
    run(f"volume #1 origin {','.join(map(str, origin))}")
    pair[0].position = place
    fitted = rotation((3, 1, 0), 70) * translation((11, 12, 13))
    structure.position = place * translation(origin) * fitted.inverse()
    structure.atoms.coords = fitted * plain
    _, carried = predict()
    for k in range(N_FRAMES):
        expected = place * (in_file(plain, k / (N_FRAMES - 1)) + origin)
        np.testing.assert_allclose(coordset_positions(carried, k), expected, atol=1e-3)
    # Its own coordinates are those of the map's file, as they are wanted in a file beside it.
    np.testing.assert_allclose(carried.atoms.coords, plain + origin, atol=1e-3)


def test_a_rotation_inside_the_map_is_kept(session, pair, structure, predict):
    plain = np.array(structure.atoms.scene_coords)
    turn = rotation((0, 0, 1), 90)
    pair[0].data.set_rotation(turn.matrix[:, :3])
    structure.atoms.coords = turn * plain
    _, carried = predict()
    expected = turn * in_file(plain, 1)
    np.testing.assert_allclose(coordset_positions(carried, N_FRAMES - 1), expected, atol=1e-3)


def test_reversed_the_atoms_begin_at_the_targets_end(session, run, structure, predict):
    before = np.array(structure.atoms.scene_coords)
    series, carried = predict("reverse true")
    np.testing.assert_allclose(coordset_positions(carried, 0), in_file(before, 1), atol=1e-4)
    np.testing.assert_allclose(coordset_positions(carried, N_FRAMES - 1), before, atol=1e-4)
    changed = float(re.search(r"target's end bond lengths by (\d\.\d+) Å rms", log(session).replace("&#x27;", "'"))[1])
    assert changed > 0.01
    run(f"vseries play #{series.id_string} jumpTo 4")
    assert check_in_step(series, carried) == 4


@pytest.mark.parametrize(("words", "kept"), [("", False), ("rigid residue", True), ("rigid chain", True)])
def test_rigid_pieces_keep_their_bonds(session, structure, predict, words, kept):
    _, carried = predict(words)
    before = np.array(structure.bonds.lengths)
    carried.active_coordset_id = N_FRAMES
    after = np.array(carried.bonds.lengths)
    assert len(before) == 8
    rms = np.sqrt(np.mean((after - before) ** 2))
    assert (rms < 1e-4) == kept
    said = re.search(r"bond lengths by (\d\.\d{3}) Å rms, distances across one atom by \d\.\d{3} Å rms", log(session))
    assert float(said[1]) == pytest.approx(rms, abs=6e-4)


def test_chains_and_residues_are_different_pieces(session, structure, predict):
    whole = np.arange(6)  # chain A: five atoms of an alanine and the water
    structure.atoms[len(structure.atoms) - 1].residue.chain_id = "A"
    chain = structure.atoms.residues.chain_ids == "A"
    assert chain.sum() == len(whole)
    _, carried = predict("rigid chain")
    start, end = (coordset_positions(carried, k)[chain] for k in (0, N_FRAMES - 1))
    distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (start, end)]
    np.testing.assert_allclose(*distances, atol=1e-4)


def test_the_copy_looks_as_the_original_and_keeps_what_atoms_have(session, run, structure, predict):
    structure.atoms.colors = np.arange(4 * structure.num_atoms).reshape(-1, 4).astype(np.uint8)
    structure.residues.ribbon_colors = (1, 2, 3, 255)
    structure.atoms[1].occupancy = 0.5
    _, carried = predict()
    np.testing.assert_array_equal(carried.atoms.colors, structure.atoms.colors)
    np.testing.assert_array_equal(carried.residues.ribbon_colors, structure.residues.ribbon_colors)
    for coordset_id in carried.coordset_ids:  # each has B-factors of its own
        carried.active_coordset_id = coordset_id
        np.testing.assert_array_equal(carried.atoms.bfactors, structure.atoms.bfactors)
        np.testing.assert_array_equal(carried.atoms.occupancies, structure.atoms.occupancies)
    np.testing.assert_array_equal(carried.atoms.names, structure.atoms.names)
    assert carried.num_bonds == structure.num_bonds


def test_of_alternate_locations_the_one_shown_is_carried(session, structure, predict):
    alphas = structure.atoms[structure.atoms.names == "CA"]
    for atom in alphas:
        atom.alt_loc = "B"
    before, bfactors = np.array(structure.atoms.scene_coords), np.array(structure.atoms.bfactors)
    _, carried = predict()
    assert not carried.atoms.num_alt_locs.any()
    carried.active_coordset_id = N_FRAMES
    np.testing.assert_allclose(carried.atoms.scene_coords, in_file(before, 1), atol=1e-4)  # not left where it was
    np.testing.assert_array_equal(carried.atoms.bfactors, bfactors)
    assert set(structure.atoms.num_alt_locs) == {0, 2}


def test_a_structure_from_which_atoms_were_deleted(session, structure, predict):
    structure.atoms[:2].delete()
    before = np.array(structure.atoms.scene_coords)
    _, carried = predict()
    np.testing.assert_allclose(coordset_positions(carried, N_FRAMES - 1), in_file(before, 1), atol=1e-4)


def test_support_is_an_attribute_of_the_atoms(session, run, structure, predict):
    _, carried = predict()
    inside = np.array([atom.cryotrans_support for atom in carried.atoms])
    assert inside[-1] == 0 and (inside[:-1] > 0.5).all()  # the last is the water
    assert f"1 of {len(inside)} atoms of #3 1abc lie farther than 4 Å" in log(session)
    assert "They have 0 in the attribute cryotrans_support" in log(session)
    assert f"{len(inside)} of #3 1abc, as #5 1abc carried, 1 of them outside the density" in log(session)
    assert f"color byattribute cryotrans_support #{carried.id_string}" in links(session)


def test_confidence_is_an_attribute_of_the_atoms_where_the_run_has_it(session, structure, predict, linear_run):
    before = np.array(structure.atoms.scene_coords)
    grid = read_map(linear_run / "maps" / "initial.mrc")
    x = np.arange(grid.density.shape[2]) * grid.voxel_size[2] + grid.origin[2]
    values = np.broadcast_to(x / 100, grid.density.shape).astype(np.float32)
    write_map(linear_run / "confidence.mrc", grid.with_density(values))
    _, carried = predict()
    (linear_run / "confidence.mrc").unlink()
    found = np.array([atom.cryotrans_confidence for atom in carried.atoms])
    np.testing.assert_allclose(found, in_file(before, 0)[:, 0] / 100, atol=0.5 * grid.voxel_size[2] / 100)
    assert f"color byattribute cryotrans_confidence #{carried.id_string}" in links(session)


def test_frames_and_atoms_can_be_told_relative_to_a_part(session, run, structure, predict):
    _, plain = predict()
    before = coordset_positions(plain, 0)[:-1].mean(axis=0)
    went = np.linalg.norm(coordset_positions(plain, N_FRAMES - 1)[:-1].mean(axis=0) - before)
    plain.delete()
    _, carried = predict("relativeTo #3/A:1")
    assert "which turned by" in log(session) and "taken out of every frame" in log(session)
    stayed = np.linalg.norm(coordset_positions(carried, N_FRAMES - 1)[:-1].mean(axis=0) - before)
    assert stayed < 0.3 * went


def test_nothing_is_said_of_support_where_all_atoms_have_it(session, pair, predict):
    open_structure(session, pdb(far_away=False))
    predict()
    assert "cryotrans_support" not in log(session) and "farther than" not in log(session)


# In step


def test_atoms_follow_the_series(run, frame, structure, predict):
    series, carried = predict()
    for k in (3, 0, 5, 2):
        run(f"vseries play #{series.id_string} jumpTo {k}")
        assert check_in_step(series, carried) == k
    run(f"vseries play #{series.id_string} loop true")
    seen = []
    for _ in range(2 * N_FRAMES):
        frame()
        seen.append(check_in_step(series, carried))
    assert set(seen) == set(range(N_FRAMES))
    run(f"vseries stop #{series.id_string}")
    here = check_in_step(series, carried)
    other = (here + 1) % N_FRAMES
    run(f"show #{series.id_string}.{other + 1} models; hide #{series.id_string}.{here + 1} models")
    assert check_in_step(series, carried) == other


def test_the_slider_moves_the_atoms(session, structure, predict):
    from chimerax.map_series.play import Play_Series

    series, carried = predict()
    player = Play_Series([series], session=session, rendering_cache_size=N_FRAMES)  # as the slider has it
    for k in (4, 1):
        player.change_time(k)
        assert check_in_step(series, carried) == k


def test_the_series_follows_the_atoms(run, frame, structure, predict, coordset):
    series, carried = predict()
    for k in (3, 0, 5, 2):
        run(f"coordset #{carried.id_string} {k + 1}")
        frame()
        assert check_in_step(series, carried) == k
    run(f"coordset #{carried.id_string} 1,{N_FRAMES}")
    seen = []
    for _ in range(N_FRAMES + 2):
        frame()
        seen.append(check_in_step(series, carried))
    assert seen == sorted(seen) and set(seen) == set(range(N_FRAMES))


def test_the_two_do_not_call_each_other_for_ever(session, run, frame, structure, predict, coordset):
    series, carried = predict()
    calls = []
    for volume in series.maps:
        volume.add_volume_change_callback(lambda *change: calls.append(change))
    carried.triggers.add_handler("changes", lambda *change: calls.append(change))
    run(f"vseries play #{series.id_string} loop true")
    run(f"coordset #{carried.id_string} 1,{N_FRAMES} loop 3")  # both at once
    frame(3 * N_FRAMES)
    run(f"vseries stop #{series.id_string}; coordset stop #{carried.id_string}")
    frame(2)
    shown = check_in_step(series, carried)
    calls.clear()
    frame(5)
    assert check_in_step(series, carried) == shown and not calls
    assert not session.test_log.texts("bug", "error")


def test_a_hidden_series_stays_hidden(run, frame, structure, predict, coordset):
    series, carried = predict()
    run(f"hide #{series.id_string} models")
    run(f"coordset #{carried.id_string} 4")
    frame()
    assert carried.active_coordset_id == 4 and not any(volume.display for volume in series.maps)


@pytest.mark.parametrize("closed", ["series", "structure", "frame"])
def test_it_ends_silently_when_one_is_closed(session, run, frame, structure, predict, coordset, closed):
    series, carried = predict()
    series_id, carried_id = series.id_string, carried.id_string
    run(f"close #{ {'series': series_id, 'structure': carried_id, 'frame': series_id + '.3'}[closed] }")
    frame()
    if closed != "series":
        for k in (4, 2, 1):
            run(f"vseries play #{series_id} jumpTo {k}")
            frame()
    if closed != "structure":
        for k in (4, 2, 0):
            run(f"coordset #{carried_id} {k + 1}")
            frame()
            assert carried.active_coordset_id == k + 1
    if closed == "frame":
        assert check_in_step(series, carried) == 0
    else:
        assert not in_step._pairs_of(session)
    assert not session.test_log.texts("bug", "error")


# Sessions


@pytest.fixture
def reopened(session, run, tmp_path):
    def reopened(words=""):
        run(f'save "{tmp_path / "x.cxs"}"')
        if not words:
            run("close session")
            assert not session.models.list() and not in_step._pairs_of(session)
        before = session.models.list()
        run(f'open "{tmp_path / "x.cxs"}" {words}')
        new = [model for model in session.models.list() if model not in before]
        [series] = [model for model in new if isinstance(model, MapSeries)]
        [carried] = [model for model in new if model.name == "1abc carried"]
        return series, carried

    return reopened


@pytest.mark.parametrize("words", ["", "combine true"])
def test_a_session_brings_back_both_in_step(session, run, frame, structure, predict, coordset, reopened, words):
    series, carried = predict()
    run(f"vseries play #{series.id_string} jumpTo 2")
    places = [coordset_positions(carried, k) for k in range(N_FRAMES)]
    inside = [atom.cryotrans_support for atom in carried.atoms]
    series, carried = reopened(words)
    assert check_in_step(series, carried) == 2
    for k in range(N_FRAMES):
        np.testing.assert_allclose(coordset_positions(carried, k), places[k], atol=1e-5)
    assert [atom.cryotrans_support for atom in carried.atoms] == inside
    for k in (4, 0):
        run(f"vseries play #{series.id_string} jumpTo {k}")
        assert check_in_step(series, carried) == k
        run(f"coordset #{carried.id_string} {k + 2}")
        frame()
        assert check_in_step(series, carried) == k + 1
    if not words:
        series, carried = reopened()  # again
        run(f"vseries play #{series.id_string} jumpTo 5")
        assert check_in_step(series, carried) == 5


def test_a_session_without_the_structure_says_nothing_of_it(session, run, structure, predict, tmp_path):
    _, carried = predict()
    run(f"close #{carried.id_string}")
    run(f'save "{tmp_path / "x.cxs"}"')
    assert in_step._METADATA_KEY not in session.metadata


# In a process of its own, after what test_series.py does there: an application with or without the bundle.
WITH_ATOMS = """
from chimerax.atomic import Structure
[carried] = [model for model in session.models.list(type=Structure) if model.name == "1abc carried"]
print("coordset", carried.active_coordset_id)
print("support", sum(atom.cryotrans_support for atom in carried.atoms))
"""


@pytest.mark.parametrize("bundle", ["yes", "no"])
def test_session_opens_elsewhere(run, structure, predict, tmp_path, bundle, monkeypatch):
    monkeypatch.setattr("chimerax.core.session._UniqueName._bundle_infos", set())  # see test_series.py
    _, carried = predict()
    run(f'save "{tmp_path / "x.cxs"}"')
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE + WITH_ATOMS, str(tmp_path), str(tmp_path / "x.cxs"), bundle],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split() for line in done.stdout.splitlines() if line.startswith(("coordset ", "support ")))
    assert said["coordset"] == ("3" if bundle == "yes" else "1")  # frame 2 is shown last
    assert float(said["support"]) == pytest.approx(sum(atom.cryotrans_support for atom in carried.atoms))


# What is wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model #1", "names 0 atomic structures; one is wanted"),
        ("model #3,4", "names 2 atomic structures; one is wanted"),
        ("model #9", "names 0 atomic structures; one is wanted"),
        ("rigid residue", "rigid residue is for atoms: say which with model"),
        ("model #3 rigid domain", "Should be one of 'chain' or 'residue'"),
        ("model #4", r"No atom of #4 far lies within 4 Å of the density of #1 A above level 0\.5.*fitmap #4 inMap #1"),
        ("model #5", "#5 none has no atoms"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(session, run, home, structure, linear_run, words, message):
    far = open_structure(session, name="far")
    far.position = translation((0, 0, 200))
    session.models.add([Structure(session, name="none")])
    folders = sorted(linear_run.iterdir())
    with pytest.raises(UserError, match=message):
        run(f'cryotrans predict #1 run "{linear_run}" {words}')
    assert sorted(linear_run.iterdir()) == folders and not (home / "CryoTRANS").exists()


def start(session, run, words):
    """Predict in the background; an end function that waits for it."""
    job = run(f"cryotrans predict #1 frames {N_FRAMES} device cpu wait false {words}")

    def end():
        assert session.ui.wait_for(lambda: job.done, 120)
        return job

    return end


@pytest.mark.parametrize(
    ("meanwhile", "message"),
    [
        (lambda structure: structure.session.models.close([structure]), "#3 1abc has been closed meanwhile"),
        (lambda structure: structure.atoms[:1].delete(), "#3 1abc has got or lost atoms meanwhile"),
        (lambda structure: structure.new_atom("X", "C"), "#3 1abc has got or lost atoms meanwhile"),
    ],
)
def test_a_structure_that_changes_meanwhile_is_not_carried(
    session, run, home, pair, structure, linear_run, meanwhile, message
):
    end = start(session, run, f'run "{linear_run}" model #3')
    meanwhile(structure)
    job = end()
    assert job.error is None and job.series.number_of_times() == N_FRAMES  # the maps are there all the same
    assert job.carried is None and message in log(session)


def test_a_structure_that_is_moved_meanwhile_is_carried_from_where_it_was(session, run, home, structure, linear_run):
    before = np.array(structure.atoms.scene_coords)
    end = start(session, run, f'run "{linear_run}" model #3')
    structure.position = translation((50, 0, 0))
    structure.atoms.coords = np.array(structure.atoms.coords) + 5
    carried = end().carried
    np.testing.assert_allclose(coordset_positions(carried, 0), before, atol=1e-4)


def test_atoms_of_the_user_are_not_written_over(run, home, structure, linear_run, tmp_path):
    (tmp_path / "initial_atoms.npz").write_text("mine")
    with pytest.raises(UserError, match="holds atoms already"):
        run(f'cryotrans predict #1 run "{linear_run}" model #3 directory "{tmp_path}"')
    assert (tmp_path / "initial_atoms.npz").read_text() == "mine"


def test_without_model_no_atoms_are_asked_for(session, run, home, structure, linear_run):
    run(f'cryotrans predict #1 run "{linear_run}" frames 2 device cpu')
    assert session.models.list(type=Structure) == [structure] and structure.display
