"""cryotrans domains: colours, residues and axes against labels and a table that the test has written."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from chimerax.atomic import AtomicStructure
from chimerax.core.errors import UserError
from chimerax.core.models import Model, Surface
from chimerax.label import label2d
from chimerax.surface import colorzone

from chimerax.cryotrans.app.runs import Run, runs_of
from chimerax.cryotrans.engine.judging.domain_table import DomainRow, color_of, read_rows, write_rows
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

ROWS = [
    DomainRow(1, 0.6, (20, 20, 20), 0.4, None, 1.0, (0, 0, 1), (0, 0, 0), 0.0, None),
    DomainRow(2, 0.4, (30, 20, 20), 0.6, 1, 31.0, (0, 1, 0), (24, 21, 20), -1.2, (24, 21, 20)),
]
ONE, TWO = (tuple(int(color_of(k)[i : i + 2], 16) for i in (1, 3, 5)) for k in (1, 2))


@pytest.fixture
def border(pair):
    """x of the plane between the two domains, Å, in the frame of the initial map."""
    low, high = pair[0].xyz_bounds()
    surface = pair[0].surfaces[0]
    pair[0].update_drawings()
    return float(np.median(surface.vertices[:, 0])) if len(surface.vertices) else (low[0] + high[0]) / 2


@pytest.fixture
def folder(session, pair, a_run, border):
    """A finished run on #1 and #2, with domain 1 below the border and 2 above."""
    grid = read_map(a_run / "maps" / "initial.mrc")
    x = np.arange(grid.density.shape[2]) * grid.voxel_size[2] + grid.origin[2]
    labels = np.broadcast_to(np.where(x < border, 1, 2), grid.density.shape)
    write_map(a_run / "domains.mrc", dataclasses.replace(grid, density=labels.astype(np.float32)))
    write_rows(a_run / "domains.json", ROWS)
    runs_of(session).add(session, Run(a_run, *pair))
    return a_run


def helix(session, start, place=None, n=12):
    """A chain of Cα along x, residues 11 to 22, as "chain A", in the frame of #1."""
    structure = AtomicStructure(session, name="chain")
    for i in range(n):
        residue = structure.new_residue("ALA", "A", 11 + i)
        atom = structure.new_atom("CA", "C")
        residue.add_atom(atom)
        atom.coord = (start[0] + 1.5 * i, start[1], start[2])
    session.models.add([structure])
    if place is not None:
        structure.position = place
    return structure


@pytest.fixture
def chain(session, pair, folder, border):
    """Six residues below the border and six above."""
    return helix(session, (border - 1.5 * 5.5, *pair[0].surfaces[0].vertices[:, 1:].mean(0)))


def said(session):
    return "".join(session.test_log.texts("info"))


def check_surface(volume, border, below=ONE, above=TWO):
    volume.update_drawings()
    [surface] = volume.surfaces
    x, colors = surface.vertices[:, 0], surface.vertex_colors[:, :3]
    size = volume.data.step[0]
    assert (x < border - size).any() and (x > border + size).any()
    assert (colors[x < border - size] == below).all() and (colors[x > border + size] == above).all()


def test_each_vertex_has_the_colour_of_its_domain_and_none_between(session, run, pair, folder, border):
    run("turn 1,2,3 37 models #1 ; move x 12 models #1")
    run("cryotrans domains #1 arrows false")
    check_surface(pair[0], border)
    assert len(np.unique(pair[0].surfaces[0].vertex_colors, axis=0)) == 2
    run("volume #1 level 0.3")
    check_surface(pair[0], border)


def test_colours_come_back_with_the_session(session, run, pair, folder, border, tmp_path):
    run("cryotrans domains #1")
    run(f'save "{tmp_path / "x.cxs"}"')
    run("close session")
    run(f'open "{tmp_path / "x.cxs"}"')
    [again] = [model for model in session.models.list() if model.id == (1,)]
    assert colorzone.color_zoning(again.surfaces[0]) is not None
    check_surface(again, border)
    assert [model for model in session.models.list() if model.name == "Screw axes of A → B"]


def test_a_palette_gives_the_colours(run, pair, folder, border):
    [first, second] = run("cryotrans domains #1 palette red:lime arrows false")
    check_surface(pair[0], border, (255, 0, 0), (0, 255, 0))
    assert (first["color"], second["color"]) == ("#ff0000", "#00ff00")


def test_the_table_says_how_they_move(session, run, folder):
    told = run("cryotrans domains #1")
    text = said(session)
    for part in (
        "Domain 1, the largest, is taken as fixed",
        "31°",
        "−1.2 Å",
        "0.00, 1.00, 0.00",
        "24, 21, 20",
        "60%",
        color_of(2),
    ):
        assert part in text
    assert json.loads(json.dumps(told))[1]["angle"] == 31.0


@pytest.mark.parametrize("named", ["", " model #3"])
def test_residues_are_coloured_and_listed(session, run, pair, folder, chain, named):
    told = run(f"cryotrans domains #1{named}")
    assert [tuple(residue.ribbon_color[:3]) for residue in chain.residues] == [ONE] * 6 + [TWO] * 6
    assert [tuple(atom.color[:3]) for atom in chain.atoms] == [ONE] * 6 + [TWO] * 6
    assert [residue.cryotrans_domain for residue in chain.residues] == [1] * 6 + [2] * 6
    assert told[1]["residues"] == {"3": {"A": [(17, 22)]}}
    text = said(session)
    assert ">/A:11-16</a>" in text and ">/A:17-22</a>" in text and ">/A:16-17</a>" in text  # the last: hinge
    run("select #3/A:17-22 ; select ::cryotrans_domain=2")
    assert sum(chain.atoms.selecteds) == 6


def test_residues_go_with_a_map_that_was_moved(session, run, pair, folder, border):
    run("turn y 90 center 0,0,0 models #1")
    place = pair[0].scene_position
    chain = helix(session, (border - 1.5 * 5.5, *pair[0].surfaces[0].vertices[:, 1:].mean(0)), place)
    run("cryotrans domains #1")
    assert [residue.cryotrans_domain for residue in chain.residues] == [1] * 6 + [2] * 6


def test_waters_are_in_no_domain(session, run, pair, folder, chain):
    water = chain.new_residue("HOH", "A", 301)
    atom = chain.new_atom("O", "O")
    water.add_atom(atom)
    atom.coord = chain.atoms[0].coord
    told = run("cryotrans domains #1")
    assert water.cryotrans_domain == 0 and told[0]["residues"] == {"3": {"A": [(11, 16)]}}


def test_structures_elsewhere_are_left_alone(session, run, pair, folder, border):
    chain = helix(session, (border + 900.0, 20, 20))
    color = tuple(chain.atoms[0].color)
    run("cryotrans domains #1")
    assert tuple(chain.atoms[0].color) == color and "Residues" not in said(session)
    with pytest.raises(UserError, match=r"No atom of #3 chain lies in #1 A, as they are displayed. Fit it first"):
        run("cryotrans domains #1 model #3")


@pytest.mark.parametrize("moved", [False, True])
def test_an_axis_lies_in_the_frame_of_the_initial_map(session, run, pair, folder, moved):
    if moved:
        run("turn 1,2,3 37 models #1 ; move x 12 models #1")
    for _ in range(2):  # the second takes the first's place
        run("cryotrans domains #1")
    [group] = [model for model in session.models.list() if model.name == "Screw axes of A → B"]
    [arrow] = group.child_models()
    assert isinstance(arrow, Surface) and tuple(arrow.color[:3]) == TWO
    assert arrow.name == "Domain 2: 31°, −1.2 Å along the axis"
    places = (pair[0].scene_position.inverse() * arrow.scene_position).transform_points(np.float64(arrow.vertices))
    wanted = np.array(ROWS[1].point)
    np.testing.assert_allclose((places[:, [0, 2]].min(0) + places[:, [0, 2]].max(0)) / 2, wanted[[0, 2]], atol=1e-3)
    away = np.linalg.norm(places[:, [0, 2]] - wanted[[0, 2]], axis=1)
    top = places[:, 1] > places[:, 1].max() - 1e-3
    assert away[top].max() < away.max() / 10  # the head is a cone: it points to +y
    low, high = pair[0].surfaces[0].vertices[:, 1].min(), pair[0].surfaces[0].vertices[:, 1].max()
    assert places[:, 1].min() < low and places[:, 1].max() > high


def test_a_domain_that_only_shifts_has_its_way_for_an_arrow(session, run, folder):
    shifted = ROWS[1]._replace(angle=0.1, shift=9.0, axis=(1, 0, 0), hinge=None)
    write_rows(folder / "domains.json", [ROWS[0], shifted])
    run("cryotrans domains #1")
    [arrow] = [model for model in session.models.list(type=Surface) if model.name.startswith("Domain 2")]
    assert (arrow.vertices[:, 0].min(), arrow.vertices[:, 0].max()) == pytest.approx((30, 39), abs=1e-3)


def test_the_key_of_other_colours_goes(session, run, folder, monkeypatch):
    typed = []
    monkeypatch.setattr(session.ui, "has_graphics", True)
    monkeypatch.setattr(label2d, "find_label", lambda session, name: name if name == "CryoTRANS_key" else None)
    monkeypatch.setattr("chimerax.cryotrans.app.coloring.run_command", lambda session, text: typed.append(text))
    run("cryotrans domains #1")
    assert typed == ["2dlabels delete CryoTRANS_key ; key delete"]


def test_without_arrows_there_are_none(session, run, folder):
    run("cryotrans domains #1 arrows false")
    assert not [model for model in session.models.list(type=Model) if model.name.startswith("Screw axes")]


@pytest.mark.parametrize("name", ["domains.mrc", "domains.json"])
def test_a_run_of_an_older_version_has_a_way_out(run, folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"has no {name}; an older version trained it.*resume .* steps 104"):
        run("cryotrans domains #1")


@pytest.mark.parametrize("name", ["domains.mrc", "domains.json"])
def test_a_damaged_file_is_named(run, folder, name):
    (folder / name).write_bytes(b"nothing")
    with pytest.raises(UserError, match=name):
        run("cryotrans domains #1")


def test_the_target_is_refused(run, folder):
    with pytest.raises(UserError, match="#2 B is not the initial map or the first frame"):
        run("cryotrans domains #2")


def test_what_a_real_training_leaves_is_taken(run, pair, session, a_run):
    runs_of(session).add(session, Run(a_run, *pair))
    told = run("cryotrans domains #1")
    assert [row["domain"] for row in told] == [row.domain for row in read_rows(a_run / "domains.json")]
    assert sum(row["share"] for row in told) == pytest.approx(1)
