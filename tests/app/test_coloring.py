"""cryotrans color and cryotrans arrows: colours and places against what was written into the maps of a run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from chimerax.core.errors import UserError
from chimerax.core.models import Model, Surface
from chimerax.geometry import rotation, translation
from chimerax.label import label2d
from chimerax.surface.colorvol import volume_coloring

from chimerax.cryotrans.app import coloring
from chimerax.cryotrans.app.arrows import arrows_of
from chimerax.cryotrans.app.course import verdict_text
from chimerax.cryotrans.app.job import CryoTransJob
from chimerax.cryotrans.app.palettes import MEASURES, key_labels
from chimerax.cryotrans.app.runs import Run, runs_of
from chimerax.cryotrans.app.series import open_series
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

BLACK_TO_WHITE = "palette black:white range 0,40"


def ramp(run_folder, name, slope=1.0, start=0.0):
    """A map of the run that is start + slope × x, x in Å along the initial map's own axis: sampling it is exact."""
    grid = read_map(run_folder / "maps" / "initial.mrc")
    x = np.arange(grid.density.shape[2], dtype=np.float32) * grid.voxel_size[2]
    values = np.broadcast_to(start + slope * x, grid.density.shape).astype(np.float32)
    write_map(run_folder / name, dataclasses.replace(grid, density=values))


@pytest.fixture
def folder(session, pair, a_run):
    """A finished run on #1 and #2, with maps whose values are known."""
    ramp(a_run, "displacement.mrc")
    ramp(a_run, "strain.mrc", 0.01)
    ramp(a_run, "volume_change.mrc", 0.02, 0.5)
    ramp(a_run, "residual.mrc", -0.1, 2.0)
    runs_of(session).add(session, Run(a_run, *pair))
    return a_run


@pytest.fixture
def frames(session, pair, folder):
    """frames(way) opens #3, a series of three frames in the run's folder, whose ends are the maps themselves."""

    def frames(way=("initial", "initial", "target"), place="frames"):
        paths = [folder / place / f"frame_0{i}.mrc" for i in range(3)]
        paths[0].parent.mkdir()
        for path, end in zip(paths, way):
            shutil.copy(folder / "maps" / f"{end}.mrc", path)
        return open_series(session, paths, "CryoTRANS A → B", like=pair[0])

    return frames


@pytest.fixture
def series(frames):
    return frames()


def surface_of(volume):
    volume.update_drawings()
    [surface] = volume.surfaces
    return surface


def check_gray(volume, full=40.0):
    """BLACK_TO_WHITE over a ramp: each vertex has the gray of its own x, wherever the model lies."""
    surface = surface_of(volume)
    grays = surface.vertex_colors[:, :3].astype(float)
    x = surface.vertices[:, 0] - volume.data.origin[0]
    assert len(x) > 100 and np.ptp(x) > 10
    np.testing.assert_allclose(grays, np.repeat(255 * x[:, None] / full, 3, axis=1), atol=1.01)  # whole numbers


def said(session, *levels):
    return "".join(session.test_log.texts(*levels))


# --------------------------------------------------------------------------------------------------------------- colour


def test_each_vertex_has_the_colour_of_its_value(session, run, pair, folder):
    values = run(f"cryotrans color #1 {BLACK_TO_WHITE}")
    check_gray(pair[0])
    assert not values.display and values.name == "Displacement (Å) of #1 A"
    assert "Executing: color sample #!1.1 map #3 palette black:white range 0,40" in said(session, "info")
    assert "Executing: key #000000:0 #ffffff:40" in said(session, "info")


def test_commands_in_the_log_do_the_same_again(session, run, pair, folder):
    run(f"cryotrans color #1 {BLACK_TO_WHITE} key false")
    [line] = [text for text in session.test_log.texts("info") if "color sample" in text]
    run("color #1 red")
    run(line.removeprefix("Executing: ").strip())
    check_gray(pair[0])


@pytest.mark.parametrize("how", ["itself", "parent", "data"])
def test_colours_go_with_a_model_that_was_moved(session, run, pair, folder, how):
    if how == "itself":
        run("turn 1,2,3 37 models #1 ; move x 12 models #1")
    elif how == "parent":
        above = Model("above", session)
        session.models.add([above])
        session.models.add([pair[0]], parent=above)
        above.position = rotation((1, 0.2, 0), 71) * translation((3, 1, -40))
    else:
        pair[0].data.set_origin((50.0, -20.0, 7.0))
    run(f"cryotrans color #{pair[0].id_string} {BLACK_TO_WHITE}")
    check_gray(pair[0])
    if how == "data":
        return
    run(f"move y 30 models #{pair[0].id_string}")
    run(f"cryotrans color #{pair[0].id_string} {BLACK_TO_WHITE}")
    check_gray(pair[0])
    assert len([model for model in session.models.list() if model.name.startswith("Displacement")]) == 1


def test_colours_follow_the_level_and_come_back_with_the_session(session, run, pair, folder, tmp_path):
    run("turn y 50 models #1")
    run(f"cryotrans color #1 {BLACK_TO_WHITE}")
    run("volume #1 level 0.3")
    check_gray(pair[0])
    run(f'save "{tmp_path / "x.cxs"}"')
    run("close session")
    run(f'open "{tmp_path / "x.cxs"}"')
    [again] = [model for model in session.models.list() if model.id == (1,)]
    check_gray(again)
    run("volume #1 level 0.6")
    check_gray(again)


def test_a_hidden_map_is_shown(run, pair, folder):
    run("hide #!1 models")
    run(f"cryotrans color #1 {BLACK_TO_WHITE}")
    assert pair[0].display
    check_gray(pair[0])


def test_a_key_says_no_more_than_is_read():
    assert key_labels([0, 4, 8, 12]) == ["0", "", "", "12"]
    assert key_labels([-2, -1, 0, 1, 2]) == ["-2", "", "0", "", "2"]
    assert key_labels([0, 1, 2]) == ["0", "1", "2"] and key_labels([0, 40]) == ["0", "40"]
    assert key_labels([0, 1, 2, 7]) == ["0", "1", "2", "7"]  # they say where the colours lie


@pytest.mark.parametrize(
    ("by", "low", "high"),
    [("displacement", 0, None), ("strain", 0, None), ("volume", -1, 1), ("residual", -1, 1)],
)
def test_ranges_hold_nearly_all_values_on_the_surface(session, run, pair, folder, by, low, high):
    middle = {"volume": 1.0}.get(by, 0.0)
    model = pair[1] if by == "residual" else pair[0]
    run(f"cryotrans color #{model.id_string} by {by}")
    surface = surface_of(model)
    colormap = volume_coloring(surface).colormap
    slope, start = {"displacement": (1, 0), "strain": (0.01, 0), "volume": (0.02, 0.5), "residual": (-0.1, 2)}[by]
    values = start + slope * surface.vertices[:, 0]
    first, last = colormap.data_values[0], colormap.data_values[-1]
    reach = np.percentile(np.abs(values - middle), 98)
    assert 0.97 * reach <= last - middle <= 1.6 * reach
    assert f"{last - middle:.2g}" == f"{last - middle:.4g}"  # a round number
    if low == 0:
        assert first == 0
        assert np.all(np.diff([sum(color[:3]) for color in colormap.colors]) < 0)  # from light to dark
    else:
        assert middle - first == pytest.approx(last - middle, rel=1e-4)
        assert colormap.data_values[1] == middle and min(colormap.colors[1][:3]) > 0.9


def test_what_has_no_partner_is_coloured_where_there_is_such_a_part(session, run, pair, folder):
    with pytest.raises(UserError, match=r"No part of the maps of the run in .* has no partner in the other"):
        run("cryotrans color #1 by partner")
    ramp(folder, "without_partner.mrc", 0.02)
    run("cryotrans color #1 by partner")
    colormap = volume_coloring(surface_of(pair[0])).colormap
    assert colormap.data_values[0] == 0 and colormap.colors[-1][2] < 0.5 < colormap.colors[0][2]


def test_what_the_witness_doubts_is_coloured_from_none_on(session, run, pair, folder):
    ramp(folder, "witness.mrc", 0.5)
    values = run("cryotrans color #1 by witness")
    assert values.name.startswith("Docked elsewhere (Å)")
    colormap = volume_coloring(surface_of(pair[0])).colormap
    assert colormap.data_values[0] == 0
    assert np.all(np.diff([sum(color[:3]) for color in colormap.colors]) < 0)  # from light to dark


def test_confidence_is_coloured_from_none_to_full_whatever_there_is(session, run, pair, folder):
    ramp(folder, "confidence.mrc", 0.001, 0.4)
    run("cryotrans color #1 by confidence")
    colormap = volume_coloring(surface_of(pair[0])).colormap
    assert list(colormap.data_values) == [0, 0.5, 1]
    assert np.all(np.diff([sum(color[:3]) for color in colormap.colors]) > 0)  # what is doubtful stands out


def test_the_help_page_has_every_measure():
    page = (Path(coloring.__file__).parents[1] / "docs/user/commands/cryotrans.html").read_text(encoding="utf-8")
    for by, measure in MEASURES.items():
        assert f"<tr><td>{by}</td>" in page and f"<i>{measure.file}</i></td></tr>" in page


def test_a_range_keeps_the_middle_of_a_palette_with_two_sides(run, pair, folder):
    run("cryotrans color #1 by volume range 0.5,2")
    colormap = volume_coloring(surface_of(pair[0])).colormap
    assert list(colormap.data_values) == [0.5, 1.0, 2.0]
    run("cryotrans color #1 by volume palette 0,black:1,red:5,white")
    assert list(volume_coloring(surface_of(pair[0])).colormap.data_values) == [0, 1, 5]


def test_the_key_has_one_title_that_changes(session, run, folder, monkeypatch):
    monkeypatch.setattr(session.ui, "has_graphics", True)
    typed, labels, execute = [], set(), coloring.run_command

    def take_note(session, command, **options):
        if not command.startswith("2dlabels"):
            return execute(session, command, **options)
        typed.append(command)
        labels.add(command.split()[2])

    monkeypatch.setattr("chimerax.cryotrans.app.coloring.run_command", take_note)
    monkeypatch.setattr(label2d, "find_label", lambda session, name: name if name in labels else None)
    run("cryotrans color #1")
    run("cryotrans color #1 by strain")
    run("cryotrans color #1 by strain key false")
    assert len(typed) == 2
    assert typed[0].startswith('2dlabels create CryoTRANS_key text "Displacement (Å)" xpos 0.')
    assert typed[1].startswith('2dlabels change CryoTRANS_key text "Strain (0: rigid)" xpos 0.')


# ------------------------------------------------------------------------------------------------- which end, which run


def test_of_a_series_the_frame_is_coloured_that_the_values_belong_to(run, session, series):
    run("turn z 20 models #3")
    run("vseries play #3 jumpTo 1")
    run(f"cryotrans color #3 {BLACK_TO_WHITE}")
    assert [frame.display for frame in series.maps] == [True, False, False]
    check_gray(series.maps[0])
    run("cryotrans color #3 by residual palette black:white range 0,2")
    assert [frame.display for frame in series.maps] == [False, False, True]
    surface = surface_of(series.maps[2])
    grays = surface.vertex_colors[:, 0]
    np.testing.assert_allclose(grays, 255 * np.clip(2 - 0.1 * surface.vertices[:, 0], 0, 2) / 2, atol=1.01)
    assert "drops the colours when the series is played" in said(session, "info")
    run(f"cryotrans color #3.1 {BLACK_TO_WHITE}")
    check_gray(series.maps[0])


def test_other_frames_are_refused(run, series):
    for frames, by in (("#3.2", "strain"), ("#3.3", "displacement"), ("#3.1", "residual")):
        with pytest.raises(UserError, match=r"is not the (first|last) frame, which alone these values belong to"):
            run(f"cryotrans color {frames} by {by}")


def test_real_frames_begin_where_the_flow_begins(run, folder, home):
    series = run("cryotrans predict #1 frames 2")
    run(f"cryotrans color #{series.id_string} {BLACK_TO_WHITE}")
    check_gray(series.maps[0])


def test_a_series_of_the_way_back_is_refused(run, frames):
    series = frames(("target", "initial", "initial"))
    for by in ("displacement", "residual"):
        with pytest.raises(UserError, match="does not begin where the flow begins"):
            run(f"cryotrans color #{series.id_string} by {by}")


def test_frames_elsewhere_need_the_run(run, folder, frames, tmp_path):
    frames(place="../elsewhere")
    with pytest.raises(UserError, match=r"are not in the folder of a run.*run FOLDER"):
        run("cryotrans color #3")
    run(f'cryotrans color #3 run "{folder}"')


def test_the_target_lies_as_the_initial_map_does(run, pair, folder):
    run("turn y 70 center 0,0,0 models #1,2")
    run("cryotrans color #2 by residual palette black:white range 0,2")
    surface = surface_of(pair[1])
    expected = 255 * np.clip(2 - 0.1 * surface.vertices[:, 0], 0, 2) / 2
    np.testing.assert_allclose(surface.vertex_colors[:, 0], expected, atol=1.5)


def test_a_target_that_was_moved_off_is_refused(run, pair, folder):
    run("move x 3 models #2")
    with pytest.raises(UserError, match=r"#2 B does not lie on #1 A as it did when it was trained"):
        run("cryotrans color #2 by residual")
    run("close #1")
    with pytest.raises(UserError, match=r"The initial map of the run in .* is not open"):
        run("cryotrans color #2 by residual")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("#2", "#2 B is not the initial map or the first frame of the run in"),
        ("#1 by residual", "#1 A is not the target or the last frame of the run in"),
        ("#1,2", "One map or one volume series is wanted, got 2 maps"),
        ("#9", "One map or one volume series is wanted, got 0 maps"),
        ("#1 range 3,1", "A range of 3,1 cannot be used: the smaller value comes first"),
        ("#1 range nan,1", "cannot be used"),
        ("#1 by volume range 2,3", "leaves out 1, the middle of the palette"),
        ("#1 run /", "/ holds no run"),
    ],
)
def test_what_cannot_be_coloured(session, run, pair, folder, command, sentence):
    with pytest.raises(UserError) as caught:
        run(f"cryotrans color {command}")
    assert sentence in str(caught.value)
    assert len([model for model in session.models.list() if len(model.id) == 1]) == 2


def test_a_map_without_a_surface_is_refused(run, pair, folder):
    run("volume #1 style image")
    with pytest.raises(UserError, match=r"#1 A shows no surface.*volume #1 style surface"):
        run("cryotrans color #1")


def test_without_a_run_it_says_how_to_train_one(run, pair, home):
    with pytest.raises(UserError, match=r"No run on #1 A is known. Train one, cryotrans train #1 to …, or add"):
        run("cryotrans color #1")
    with pytest.raises(UserError, match=r"No run on #1 A is known"):
        run("cryotrans arrows #1")


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("running", "has not been finished: it is interrupted. To finish it: cryotrans resume"),
        ("failed", "has not been finished: it is failed"),
        ("finished", "has no displacement.mrc; an older version trained it.*resume .* steps 104"),
    ],
)
def test_runs_without_maps_have_a_way_out(run, folder, state, sentence):
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "state": state}))
    (folder / "displacement.mrc").unlink()
    with pytest.raises(UserError, match=sentence):
        run("cryotrans color #1")


def test_a_damaged_map_is_named(session, run, folder):
    (folder / "displacement.mrc").write_bytes(b"no map")
    with pytest.raises(UserError, match=r"displacement\.mrc cannot be read as a map"):
        run("cryotrans color #1")


# --------------------------------------------------------------------------------------------------------------- arrows


def write_motion(folder, start, end):
    np.savez(folder / "motion.npz", start=np.float32(start), end=np.float32(end))


def test_an_arrow_goes_from_mean_start_to_mean_end():
    start = np.array([[1, 1, 1], [3, 5, 1], [7, 1, 1], [-1, 1, 1]], dtype=float)
    tails, tips = arrows_of(start, start + np.array([[0, 0, 4], [0, 0, 6], [1, 2, 3], [9, 0, 0]]), 6.0)
    found = {tuple(tail): tuple(tip) for tail, tip in zip(tails, tips)}
    assert found == {(2, 3, 1): (2, 3, 6), (7, 1, 1): (8, 3, 4), (-1, 1, 1): (8, 1, 1)}


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("model", ["#1", "#3"])
def test_arrows_lie_in_the_frame_of_the_initial_map(session, run, pair, folder, series, moved, model):
    ends = [(5, 6, 27), (20, 21, 2), (38, 20, 20), (4, 24, 7)]  # up, down, along x, slanted
    tails = [(5, 6, 7), (20, 21, 22), (8, 20, 20), (14, 4, 7)]
    write_motion(folder, tails, ends)
    if moved:
        run("turn 1,2,3 37 models #1,3 ; move x 12 models #1,3")
    arrows = run(f"cryotrans arrows {model} color red spacing 6")
    like = pair[0] if model == "#1" else series.maps[0]
    scene = arrows.scene_position.transform_points(np.float64(arrows.vertices))
    wanted = like.scene_position
    for tail, end in zip(tails, ends):
        tip = wanted.transform_points(np.array([end], dtype=float))[0]
        assert np.linalg.norm(scene - tip, axis=1).min() < 1e-3
        foot = wanted.transform_points(np.array([tail], dtype=float))[0]
        assert np.linalg.norm(scene - foot, axis=1).min() < 1e-3
    span = np.linalg.norm(np.subtract(ends, tails), axis=1).max()
    assert np.linalg.norm(np.ptp(arrows.vertices, axis=0)) < 2 * span
    assert tuple(arrows.color) == (255, 0, 0, 255) and arrows.name == "Motion of A → B"
    assert np.allclose(np.linalg.norm(arrows.normals, axis=1), 1, atol=0.2)
    assert arrows.triangles.max() == len(arrows.vertices) - 1


def test_arrows_are_scaled_from_their_tails_and_short_ones_left_out(run, folder):
    write_motion(folder, [(5, 5, 5), (20, 20, 20)], [(5, 5, 6), (20, 20, 20.1)])
    vertices = run("cryotrans arrows #1 scale 3").vertices
    assert vertices[:, 2].min() == pytest.approx(5, abs=1e-4) and vertices[:, 2].max() == pytest.approx(8, abs=1e-4)
    assert len(run("cryotrans arrows #1 scale 10").vertices) == 2 * len(vertices)
    write_motion(folder, [(5, 5, 5)], [(5, 5, 5.25)])
    with pytest.raises(UserError, match=r"There is nothing to draw: it moves 0.25 Å at most. Lengthen the arrows"):
        run("cryotrans arrows #1")


def test_arrows_come_back_with_the_session(session, run, folder, tmp_path):
    write_motion(folder, [(5, 5, 5)], [(5, 15, 5)])
    run("turn y 30 models #1")
    arrows = run("cryotrans arrows #1")
    vertices, place, color = arrows.vertices.copy(), arrows.scene_position, tuple(arrows.color)
    run(f'save "{tmp_path / "x.cxs"}"')
    run("close session")
    run(f'open "{tmp_path / "x.cxs"}"')
    [again] = [model for model in session.models.list(type=Surface) if model.name == "Motion of A → B"]
    np.testing.assert_array_equal(again.vertices, vertices)
    assert again.scene_position.same(place) and tuple(again.color) == color


@pytest.mark.parametrize(
    "arrays",
    [
        {"start": np.zeros((3, 3))},
        {"start": np.zeros((3, 3)), "end": np.zeros((2, 3))},
        {"start": np.zeros((3, 2)), "end": np.zeros((3, 2))},
        {"start": np.zeros((1, 3)), "end": np.full((1, 3), np.nan)},
        None,
    ],
)
def test_damaged_motion_is_refused(session, run, folder, arrays):
    if arrays is None:
        (folder / "motion.npz").write_bytes(b"nothing")
    else:
        np.savez(folder / "motion.npz", **arrays)
    with pytest.raises(UserError, match=r"motion.npz (cannot be read|is damaged)"):
        run("cryotrans arrows #1")


def test_missing_motion_has_a_way_out(run, folder):
    (folder / "motion.npz").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"has no motion.npz; an older version trained it"):
        run("cryotrans arrows #1")


# ------------------------------------------------------------------------------------------------------ verdict, report


@pytest.mark.parametrize("report", [False, True])
def test_a_training_that_ends_says_how_far_to_believe_it(session, home, tmp_path, report):
    job = CryoTransJob(session, "A → B", Run(tmp_path), tmp_path, {}, None)
    if report:
        (tmp_path / "report.html").write_text("<html></html>")
    end = {"event": "end", "state": "finished", "step": 4, "n_steps": 4, "loss": 1.0, "mass_outside": 0.0, "seconds": 3}
    job.take_up({"event": "start", "n_steps": 4, "device": "cpu"})
    job.take_up({**end, "verdict": {"word": "doubtful", "reasons": ["The strain is 0.4.", "Look twice if a < b."]}})
    job.finish()
    text = said(session, "info")
    assert "The morph is doubtful. The strain is 0.4. Look twice if a &lt; b." in text
    assert (f"cxcmd:open%20{tmp_path}/report.html" in text) == report


@pytest.mark.parametrize("verdict", [None, {}, "good", {"word": ""}])
def test_without_a_verdict_nothing_is_said(verdict):
    assert verdict_text(verdict) == ""


def test_a_verdict_without_reasons_is_its_word():
    assert verdict_text({"word": "good"}) == "The morph is good."


def test_after_a_training_the_log_leads_to_the_colours(session, run, home, pair):
    """The real worker's maps, or none: links only lead to what is there."""
    job = run("cryotrans train #1 to #2 steps 2 depth 2 width 8 w2Iter 2 frames 2 device cpu")
    has_maps = (job.folder / "displacement.mrc").is_file()
    number = job.series.id_string
    assert (f"cxcmd:cryotrans%20color%20%23{number}%20by%20strain" in said(session, "info")) == has_maps
    for by in MEASURES.keys() - {"partner"} if has_maps else ():
        run(f"cryotrans color #{number} by {by}")
    has_domains = (job.folder / "domains.json").is_file()
    assert (f"cxcmd:cryotrans%20domains%20%23{number}" in said(session, "info")) == has_domains
    if has_domains:
        assert run(f"cryotrans domains #{number}")[0]["domain"] == 1
