"""series.py: frames in place, with the look of the initial map, at levels whose closed form is known.

The frames are Gaussian blobs that move, widen and weaken.  At a level L a blob of height h and width w shows a sphere
of radius r = w √(2 ln(h/L)), so the level that keeps the sphere of the initial map is h exp(-r²/2w²).
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from chimerax.core.errors import UserError
from chimerax.core.models import Model
from chimerax.geometry import rotation, translation
from chimerax.map_series import MapSeries

from chimerax.cryotrans.app import series as module
from chimerax.cryotrans.app.series import open_series
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import write_map

N_FRAMES = 5
SHAPE = (30, 32, 36)  # nz, ny, nx
STEP = (1.2, 1.1, 1.0)  # Å; x, y, z
ORIGIN = (4103.4012, -57.125, 7.7)  # Å; x, y, z; the 32-bit number in a file is off by 2e-4 Å
LEVEL = 0.4
RADIUS = 5.0 * math.sqrt(2 * math.log(1 / LEVEL))  # Å, of the initial map's surface
TOLERANCE = 0.01  # the surface is a polyhedron of steps of RADIUS/6, the level is found to 0.001


def height(frame):
    return 1 - 0.12 * frame


def width(frame):
    return 5.0 + 0.3 * frame  # Å


def level_of(frame, radius=RADIUS):
    return height(frame) * math.exp(-((radius / width(frame)) ** 2) / 2)


def blob(frame):
    z, y, x = np.indices(SHAPE)
    squared = ((x - 15 - frame) * STEP[0]) ** 2 + ((y - 15.5) * STEP[1]) ** 2 + ((z - 14.5) * STEP[2]) ** 2
    return (height(frame) * np.exp(-squared / (2 * width(frame) ** 2))).astype(np.float32)


def write(path, density, origin=ORIGIN):
    write_map(path, DensityMap(density, STEP[::-1], header_origin=origin[::-1]))
    return path


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "a run"
    folder.mkdir()
    return [write(folder / f"A_to_B_{i:02d}.mrc", blob(i)) for i in range(N_FRAMES)]


@pytest.fixture
def initial(run, tmp_path):
    """The map that the frames were made from, as #1."""
    [volume] = run(f'open "{write(tmp_path / "A.mrc", blob(0))}"')
    volume.data.set_origin(ORIGIN)  # as of a format with 64-bit numbers
    run(f"volume #1 level {LEVEL} color 20,40,60,50")
    return volume


@pytest.fixture
def series(session, paths, initial):
    opened = open_series(session, paths, "CryoTRANS A → B", like=initial)
    initial.display = False
    return opened


def surface_of(frame):
    frame.update_drawings()  # what the next redraw does
    [surface] = frame.surfaces
    return surface


def enclosed(frame):
    """Å³, of the surface that ChimeraX has made, as by "measure volume"."""
    from chimerax.surface import surface_volume_and_area

    surface_of(frame)
    return surface_volume_and_area(frame)[0]


def check_levels(run, series, radius=RADIUS, order=range(N_FRAMES)):
    for i in order:
        run(f"vseries play #{series.id_string} jumpTo {i}")
        frame = series.maps[i]
        assert frame.display
        assert surface_of(frame).level == pytest.approx(level_of(i, radius), rel=TOLERANCE), i
        assert enclosed(frame) == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.3 / radius)  # a polyhedron in it


# --------------------------------------------------------------------------------------------------------------- series


def test_series_is_chimerax_own_file_backed_and_named(session, series, paths):
    assert type(series) is MapSeries and series in session.models.list()
    assert series.name == "CryoTRANS A → B" and series.id_string == "2"
    assert [Path(frame.data.path) for frame in series.maps] == paths
    assert any("Opened map series CryoTRANS A → B as #2, 5 images" in text for text in session.test_log.texts("info"))


def test_only_the_first_frame_is_displayed(series):
    assert [frame.display for frame in series.maps] == [True] + [False] * (N_FRAMES - 1)


@pytest.mark.parametrize("n", [2, 100])
def test_as_many_frames_as_there_are(session, run, paths, initial, tmp_path, n):
    many = [write(tmp_path / f"frame_{i}.mrc", blob(i / n)) for i in range(n)]
    series = open_series(session, many, "many", like=initial)
    assert series.number_of_times() == n
    run(f"vseries play #2 jumpTo {n - 1}")
    assert surface_of(series.maps[-1]).level == pytest.approx(level_of((n - 1) / n), rel=TOLERANCE)


def test_one_frame_is_no_series(session, paths):
    with pytest.raises(UserError, match="A volume series needs 2 frames or more, not 1"):
        open_series(session, paths[:1], "one")
    assert not session.models.list()


def test_missing_frames_are_named(session, paths):
    paths[3].unlink()
    with pytest.raises(UserError, match=r"1 of the 5 frames are gone, the first of them .*A_to_B_03\.mrc"):
        open_series(session, paths, "gone")
    assert not session.models.list()


def test_rewritten_files_are_read_again(session, paths, series, run):
    run("vseries play #2 jumpTo 1")
    assert series.maps[1].full_matrix().max() == pytest.approx(height(1), rel=0.02)
    write(paths[1], 3 * blob(1))
    again = open_series(session, paths, "again")
    assert again.maps[1].full_matrix().max() == pytest.approx(3 * height(1), rel=0.02)


# ---------------------------------------------------------------------------------------------------------------- place


def scene(volume, index):
    return volume.scene_position * volume.data.ijk_to_xyz(index)


def move_itself(session, run, initial):
    run("turn 1,2,3 37 models #1")
    run("move x 12.345 models #1")


def move_its_parent(session, run, initial):
    upper, lower = Model("upper", session), Model("lower", session)
    session.models.add([upper])
    session.models.add([lower], parent=upper)
    session.models.add([initial], parent=lower)
    upper.position = rotation((1, 0.2, 0), 71) * translation((3, 1, -40))
    lower.position = rotation((0, 0.2, 1), -15)
    initial.position = translation((0, 17.5, 0))


def stretch_its_grid(session, run, initial):
    initial.data.set_step(tuple(1.0005 * step for step in STEP))  # by 0.02 voxel over the box


def turn_its_data(session, run, initial):
    initial.data.set_rotation(rotation((0, 1, 1), 33).matrix[:, :3])
    initial.position = rotation((1, 0, 0), 20)


@pytest.mark.parametrize("move", [None, move_itself, move_its_parent, stretch_its_grid, turn_its_data])
def test_every_frame_lies_on_the_initial_map(session, run, paths, initial, move):
    if move is not None:
        move(session, run, initial)
    series = open_series(session, paths, "morph", like=initial)
    for index in [(0, 0, 0), (35, 31, 29), (35, 0, 12)]:
        for frame in series.maps:
            assert np.abs(scene(frame, index) - scene(initial, index)).max() < 1e-4


def test_frames_stay_in_place_while_playing(session, run, frame, initial, paths):
    move_itself(session, run, initial)
    series = open_series(session, paths, "morph", like=initial)
    run("vseries play #2")
    frame(N_FRAMES + 2)
    assert series.maps[-1].display
    for volume in series.maps:
        assert np.abs(scene(volume, (35, 31, 29)) - scene(initial, (35, 31, 29))).max() < 1e-4


def test_without_the_initial_map_frames_lie_where_their_files_say(session, run, paths, initial):
    run("turn y 40 models #1")
    run("close #1")
    for like in (None, initial):
        series = open_series(session, paths, "morph", like=like, level=LEVEL)
        assert scene(series.maps[2], (0, 0, 0)) == pytest.approx(ORIGIN, abs=1e-3)
        assert surface_of(series.maps[0]).level == pytest.approx(LEVEL, rel=TOLERANCE)
        check_levels(run, series)
        run(f"close #{series.id_string}")


@pytest.mark.parametrize("density, step", [(blob(0)[:, ::2].copy(), STEP), (blob(0), (1.3, 1.1, 1.0))])
def test_frames_on_another_grid_keep_it(session, paths, run, tmp_path, density, step):
    other = DensityMap(density, step[::-1], header_origin=(1.0, 2.0, 3.0))
    write_map(tmp_path / "B.mrc", other)
    [like] = run(f'open "{tmp_path / "B.mrc"}"')
    run("turn y 40 models #1")
    series = open_series(session, paths, "morph", like=like)
    assert series.maps[2].data.origin == pytest.approx(ORIGIN, abs=1e-3)
    assert series.maps[2].data.step == pytest.approx(STEP)
    assert series.maps[2].scene_position.same(like.scene_position)


# ----------------------------------------------------------------------------------------------------------------- look


def test_look_is_that_of_the_initial_map(session, paths, initial, run):
    run("volume #1 style mesh step 2 surfaceSmoothing true capFaces false")
    run("volume #1 region 4,4,4,20,20,20")
    series = open_series(session, paths, "morph", like=initial)
    for i in range(N_FRAMES):
        run(f"vseries play #2 jumpTo {i}")
        frame = series.maps[i]
        surface = surface_of(frame)
        assert tuple(surface.color) == tuple(initial.surfaces[0].color)
        assert tuple(surface.color) == (51, 102, 153, 127)
        assert surface.style == "mesh"
        assert frame.rendering_options.surface_smoothing and not frame.rendering_options.cap_faces
        assert tuple(frame.region[2]) == (2, 2, 2)
        assert tuple(frame.region[0]) == (0, 0, 0) and tuple(frame.region[1]) == (35, 31, 29)  # the whole, it moves


def test_colour_is_that_of_the_lowest_surface(session, paths, initial, run):
    run("volume #1 level 0.7 color red level 0.3 color 0,0,100,40")
    run("color #1.1 yellow; color #1.2 lime transparency 50")
    series = open_series(session, paths, "morph", like=initial)
    assert tuple(surface_of(series.maps[0]).color) == (0, 255, 0, 128)
    run("show #2.3 models")  # not by playing
    assert tuple(surface_of(series.maps[2]).color) == (0, 255, 0, 128)
    check_levels(run, series, radius=5 * math.sqrt(2 * math.log(1 / 0.3)))


@pytest.mark.parametrize("drawn", [True, False])
def test_image_style_is_kept(session, paths, initial, run, frame, drawn):
    run("volume #1 style image level 0.2,0 level 0.3,0.6 level 0.9,1")
    if drawn:
        frame()
    series = open_series(session, paths, "morph", like=initial, level=LEVEL)
    run("vseries play #2")
    for _ in range(N_FRAMES):
        frame()
        [shown] = [f for f in series.maps if f.display]
        shown.update_drawings()
        assert shown.image_shown and not shown.surface_shown
        assert np.array_equal(shown.image_levels, [(0.2, 0), (0.3, 0.6), (0.9, 1)])


def test_frames_in_image_style_get_no_surface(session, paths, initial, run):
    run("volume #1 style image")
    series = open_series(session, paths, "morph", like=initial, level=LEVEL)
    run("show #2.4 models")
    assert not series.maps[3].surface_shown


def test_a_colour_given_later_holds_for_all(series, run, frame):
    run("color #2.1 red")
    run("vseries play #2 jumpTo 3")
    assert tuple(surface_of(series.maps[3]).color)[:3] == (255, 0, 0)


# --------------------------------------------------------------------------------------------------------------- levels


def test_each_frame_encloses_the_volume_of_the_initial_map(series, run, initial):
    for i in range(N_FRAMES):
        run(f"vseries play #2 jumpTo {i}")
        assert [frame for frame in series.maps if frame.display] == [series.maps[i]]
        assert enclosed(series.maps[i]) == pytest.approx(enclosed(initial), rel=2e-3)
    check_levels(run, series)


def test_a_level_given_goes_before_the_one_shown(session, run, paths, initial):
    series = open_series(session, paths, "morph", like=initial, level=0.6)
    check_levels(run, series, radius=5 * math.sqrt(2 * math.log(1 / 0.6)))


def test_thresholded_frames_look_as_large_as_the_map_they_are_of(session, run, paths, initial):
    thresholded = blob(0)
    thresholded[thresholded < LEVEL] = 0
    write(paths[0], thresholded)
    series = open_series(session, paths, "morph", like=initial)
    assert surface_of(series.maps[0]).level < 0.8 * LEVEL  # its edge is steeper
    assert enclosed(series.maps[0]) == pytest.approx(enclosed(initial), rel=2e-3)


@pytest.mark.parametrize("options", ["", "cacheFrames 100", "direction backward", "loop true", "normalize true"])
def test_levels_outlast_playing(series, run, frame, options):
    if "loop" in options:
        run("vseries play #2 loop true")
        frame(3 * N_FRAMES)
        run("vseries stop #2")
    else:
        run(f"vseries play #2 {options}")
        frame(N_FRAMES + 2)
    check_levels(run, series, order=[3, 0, 4, 1, 2])


def test_levels_are_right_at_each_moment_of_playing(series, run, frame):
    run("vseries play #2 loop true")
    found = {}
    for _ in range(4 * N_FRAMES):
        frame()
        [shown] = [i for i, volume in enumerate(series.maps) if volume.display]
        found.setdefault(shown, set()).add(surface_of(series.maps[shown]).level)
    assert {i: len(levels) for i, levels in found.items()} == dict.fromkeys(range(N_FRAMES), 1)  # they do not creep


@pytest.mark.parametrize("leave", ["vseries play #2 jumpTo 3", "hide #2.2 models; show #2.4 models"])
def test_a_level_that_the_user_sets_holds_for_the_series(series, run, leave):
    run("vseries play #2 jumpTo 4")
    run("vseries play #2 jumpTo 1")
    radius = 4.5
    run(f"volume #2.2 level {level_of(1, radius)}")
    run(leave)
    assert surface_of(series.maps[3]).level == pytest.approx(level_of(3, radius), rel=TOLERANCE)
    check_levels(run, series, radius)


def test_a_frame_shown_beside_another_gets_its_level(series, run):
    radius = 6.5
    run(f"volume #2.1 level {level_of(0, radius)}")
    run("show #2.5 models")
    assert series.maps[0].display
    assert surface_of(series.maps[4]).level == pytest.approx(level_of(4, radius), rel=TOLERANCE)
    assert surface_of(series.maps[0]).level == pytest.approx(level_of(0, radius), rel=1e-9)


def test_a_frame_shown_by_hand_after_playing_has_a_surface(series, run, frame):
    run("vseries play #2")
    frame(N_FRAMES + 2)
    assert not series.maps[2].surfaces  # ChimeraX has deleted it
    run("show #2.3 models")
    assert surface_of(series.maps[2]).level == pytest.approx(level_of(2), rel=TOLERANCE)


def test_several_surfaces_each_keep_their_volume(series, run):
    radii = 4.0, 6.0
    run(f"volume #2.1 level {level_of(0, radii[0])} level {level_of(0, radii[1])}")
    run("vseries play #2 jumpTo 2")
    run("vseries play #2 jumpTo 4")
    levels = [surface.level for surface in series.maps[4].surfaces]
    assert levels == pytest.approx([level_of(4, radius) for radius in radii], rel=TOLERANCE)


def test_region_and_step_shown_do_not_change_levels(session, paths, initial, run):
    run("volume #1 region 10,0,0,17,31,29 step 2")
    series = open_series(session, paths, "morph", like=initial)
    run("volume #2 region 10,0,0,20,31,29")
    for i in range(N_FRAMES):
        run(f"vseries play #2 jumpTo {i}")
        assert surface_of(series.maps[i]).level == pytest.approx(level_of(i), rel=TOLERANCE)
    run(f"volume #2.5 level {level_of(4, 6.5)}")
    run("vseries play #2 jumpTo 1")
    assert surface_of(series.maps[1]).level == pytest.approx(level_of(1, 6.5), rel=TOLERANCE)


def test_levels_are_found_once(series, run, monkeypatch):
    for i in (1, 2, 0):
        run(f"vseries play #2 jumpTo {i}")
    monkeypatch.setattr(module, "_level_enclosing", None)
    for i in (1, 2, 0, 2):
        run(f"vseries play #2 jumpTo {i}")
        assert surface_of(series.maps[i]).level == pytest.approx(level_of(i), rel=TOLERANCE)


def test_levels_are_found_in_a_few_contours(series, run, monkeypatch):
    counted = []

    def count(*args, contour=module._voxels_inside):
        counted.append(args)
        return contour(*args)

    monkeypatch.setattr(module, "_voxels_inside", count)
    for i in range(1, N_FRAMES):
        run(f"vseries play #2 jumpTo {i}")
    assert len(counted) <= 7 * (N_FRAMES - 1)  # bisection takes 10


def test_an_empty_frame_does_not_stop_the_play(session, run, paths, initial):
    write(paths[1], np.zeros(SHAPE))
    open_series(session, paths, "morph", like=initial)
    for i in (1, 2, 0):
        run(f"vseries play #2 jumpTo {i}")
    check_levels(run, session.models.list(type=MapSeries)[0], order=[0, 2, 4])


def test_a_closed_surface_comes_back_with_the_next_frame(series, run):
    run("close #2.1.1")
    run("vseries play #2 jumpTo 2")
    assert surface_of(series.maps[2]).level == pytest.approx(level_of(2), rel=TOLERANCE)


def test_a_closed_frame_is_passed_over(series, run):
    run("close #2.2")
    run("vseries play #2 jumpTo 2")
    assert surface_of(series.maps[2]).level == pytest.approx(level_of(2), rel=TOLERANCE)


def test_two_series_do_not_disturb_each_other(session, series, run, paths, frame, initial):
    other = open_series(session, paths[::-1], "other", like=initial, level=0.6)
    run("vseries play #2,3")
    frame(N_FRAMES + 2)
    check_levels(run, series)
    radius = 5 * math.sqrt(2 * math.log(1 / 0.6))
    for i in range(N_FRAMES):
        run(f"vseries play #3 jumpTo {i}")
        assert surface_of(other.maps[i]).level == pytest.approx(level_of(N_FRAMES - 1 - i, radius), rel=TOLERANCE)


# ----------------------------------------------------------------------------------------------------- saving, sessions


def test_a_frame_can_be_saved(series, run, tmp_path):
    run(f'save "{tmp_path / "x.mrc"}" model #2.4')
    with mrcfile.open(tmp_path / "x.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, blob(3))
        assert (float(mrc.voxel_size.x), float(mrc.voxel_size.z)) == pytest.approx((STEP[0], STEP[2]))
        assert mrc.header.origin.item() == pytest.approx(ORIGIN, rel=1e-6)


@pytest.fixture
def reopened(session, run, tmp_path):
    def reopened(include_maps):
        run(f'save "{tmp_path / "x.cxs"}" includeMaps {include_maps}')
        run("close session")
        assert not session.models.list()
        run(f'open "{tmp_path / "x.cxs"}"')
        [found] = session.models.list(type=MapSeries)
        return found

    return reopened


@pytest.mark.parametrize("include_maps", ["false", "true"])
@pytest.mark.parametrize("played", [False, True])
def test_session_round_trip(session, run, frame, initial, paths, reopened, tmp_path, include_maps, played):
    move_itself(session, run, initial)
    places = [scene(initial, index) for index in [(0, 0, 0), (35, 31, 29)]]
    series = open_series(session, paths, "CryoTRANS A → B", like=initial)
    colour = tuple(surface_of(series.maps[0]).color)
    shown = 0
    if played:
        run("vseries play #2")
        frame(N_FRAMES + 2)
        run("vseries play #2 jumpTo 2")
        shown = 2

    found = reopened(include_maps)

    assert found is not series and type(found) is MapSeries
    assert (found.name, found.id_string, found.number_of_times()) == ("CryoTRANS A → B", "2", N_FRAMES)
    assert [volume.display for volume in found.maps] == [i == shown for i in range(N_FRAMES)]
    assert surface_of(found.maps[shown]).level == pytest.approx(level_of(shown), rel=TOLERANCE)
    assert tuple(surface_of(found.maps[shown]).color) == colour
    check_levels(run, found, order=[4, 3, 0, 1, 2, 4])
    for volume in found.maps:
        assert bool(volume.data.path) == (include_maps == "false")
        for index, place in zip([(0, 0, 0), (35, 31, 29)], places):
            assert np.abs(scene(volume, index) - place).max() < 1e-4
    assert tuple(surface_of(found.maps[4]).color) == colour
    size = (tmp_path / "x.cxs").stat().st_size
    assert (size < 100_000) == (include_maps == "false")


def test_a_hidden_frame_keeps_its_surface_in_a_session(series, run, reopened):
    run("vseries play #2 jumpTo 1; hide #2.2 models")
    found = reopened("false")
    run("show #2.2 models")
    assert surface_of(found.maps[1]).level == pytest.approx(level_of(1), rel=TOLERANCE)


def test_sessions_can_be_saved_again_and_again(series, run, reopened):
    for shown in (3, 1, 4):
        found = reopened("false")
        run(f"vseries play #2 jumpTo {shown}")
    check_levels(run, found)


def test_a_renamed_series_is_known_again(series, run, reopened):
    run('rename #2 "my morph"')
    check_levels(run, reopened("false"))


def test_another_series_in_the_session_is_left_alone(session, series, run, paths, reopened):
    run(f"open {' '.join(f'{chr(34)}{path}{chr(34)}' for path in paths)} vseries true name plain")
    run(f'save "{paths[0].parent / "x.cxs"}"')
    run("close session")
    run(f'open "{paths[0].parent / "x.cxs"}"')
    [plain] = [found for found in session.models.list(type=MapSeries) if found.name != "CryoTRANS A → B"]
    run(f"volume #{plain.id_string}.1 level 0.5")
    run(f"vseries play #{plain.id_string} jumpTo 3")
    assert surface_of(plain.maps[3]).level == 0.5  # as ChimeraX does it


def test_a_session_opened_beside_another(session, series, run, tmp_path):
    run(f'save "{tmp_path / "x.cxs"}"')
    run(f'open "{tmp_path / "x.cxs"}" combine true')
    [there, added] = session.models.list(type=MapSeries)
    assert there is series
    assert {len(frame.change_callbacks) for frame in series.maps} == {1}
    check_levels(run, series)
    check_levels(run, added)


def test_a_session_without_series_says_nothing_of_them(session, series, run, reopened, tmp_path):
    run(f'save "{tmp_path / "y.cxs"}"')
    run("close #2")
    run(f'save "{tmp_path / "y.cxs"}"')
    assert module._METADATA_KEY not in session.metadata


# In a process of its own: an application that has just been started, with or without the bundle.
ELSEWHERE = """
import sys
from pathlib import Path
import headless
folder, path, bundle = sys.argv[1:]
session = headless.start(Path(folder))
sys.excepthook = sys.__excepthook__
if bundle == "yes":
    (Path(folder) / "bundle").mkdir()
    headless.link_bundle(session, Path(headless.__file__).resolve().parents[2], Path(folder) / "bundle")
    from chimerax.cryotrans.app.series import attend_sessions
    attend_sessions(session)
from chimerax.core.commands import run
run(session, f'open "{path}"', log=False)
from chimerax.map_series import MapSeries
[series] = session.models.list(type=MapSeries)
for i in (4, 0, 2):
    run(session, f"vseries play #{series.id_string} jumpTo {i}", log=False)
    series.maps[i].update_drawings()
    print("level", series.maps[i].minimum_surface_level)
assert ("chimerax.cryotrans" in sys.modules) == (bundle == "yes")
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("bundle", ["yes", "no"])
def test_session_opens_elsewhere(series, run, tmp_path, bundle, monkeypatch):
    # ChimeraX 1.7.1 has a session require the bundles of all that were saved since it was started, our runs too.
    monkeypatch.setattr("chimerax.core.session._UniqueName._bundle_infos", set())
    run(f'save "{tmp_path / "x.cxs"}"')
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path), str(tmp_path / "x.cxs"), bundle],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    levels = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("level ")]
    if bundle == "yes":
        assert levels == pytest.approx([level_of(i) for i in (4, 0, 2)], rel=TOLERANCE)
    else:  # one level for all, but there they are
        assert levels == pytest.approx([level_of(0)] * 3, rel=TOLERANCE)
