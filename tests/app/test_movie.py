"""cryotrans movie: recorded by ChimeraX's own movie commands, with stand-ins for what is not here.

There are no graphics and no ffmpeg: a function takes note of the scene in place of drawing an image, and a script
writes a file in place of encoding.  All between, from the file of commands to the frames drawn, is ChimeraX.
The frames are those of test_series.py, whose levels have a closed form.
"""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from chimerax.core.errors import UserError
from test_series import LEVEL, N_FRAMES, RADIUS, STEP, TOLERANCE, blob, level_of, write

from chimerax.cryotrans.app.in_step import keep_in_step
from chimerax.cryotrans.app.series import open_series

FORTH = list(range(N_FRAMES))
AND_BACK = [*FORTH, *FORTH[-2::-1]]


class Image(NamedTuple):
    """The scene as one image of the movie would show it."""

    frames: list[int]
    levels: list[float]
    camera: np.ndarray  # (3, 4)
    coordset: int | None
    size: tuple[int | None, int | None]


@pytest.fixture(scope="module")
def movie_commands(chimerax_session):
    """ChimeraX's commands of two bundles that the tests do without elsewhere."""
    from chimerax.movie.moviecmd import register_movie_command
    from chimerax.std_commands import coordset

    register_movie_command(chimerax_session.logger)
    coordset.register_command(chimerax_session.logger)


def write_ffmpeg(folder, last_line):
    """A program that gets ffmpeg's arguments, of which the last is the file to write."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\nfor last; do :; done\n{last_line}\n")
    path.chmod(0o755)


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """The folder of the only ffmpeg there is."""
    folder = tmp_path / "programs"
    folder.mkdir()
    write_ffmpeg(folder, 'echo "$@" > "$last"')
    monkeypatch.setattr("chimerax.app_bin_dir", str(folder))
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def series(session, run, tmp_path):
    """#2, opened by this bundle; #1 is the map it was made from."""
    paths = [write(tmp_path / f"frame_{i}.mrc", blob(i)) for i in range(N_FRAMES)]
    [initial] = run(f'open "{write(tmp_path / "A.mrc", blob(0))}"')
    run(f"volume #1 level {LEVEL} color 20,40,60,50")
    opened = open_series(session, paths, "CryoTRANS A → B", like=initial)
    initial.display = False
    run("view")
    return opened


def make_atoms(session, n_coordsets):
    from chimerax.atomic import AtomicStructure

    structure = AtomicStructure(session, name="atoms")
    residue = structure.new_residue("ALA", "A", 1)
    atom = structure.new_atom("CA", "C")
    residue.add_atom(atom)
    atom.coord = (0, 0, 0)
    structure.add_coordsets(np.arange(3.0 * n_coordsets).reshape(n_coordsets, 1, 3), replace=True)
    structure.active_coordset_id = 1
    session.models.add([structure])
    return structure


@pytest.fixture
def images(session, series, ffmpeg, movie_commands, monkeypatch, tmp_path):
    """What has been recorded."""
    noted = []

    def image_rgba(width=None, height=None, **_):
        from chimerax.atomic import Structure

        frames = [i for i, frame in enumerate(series.maps) if frame is not None and frame.display and frame.visible]
        levels = [surface.level for i in frames for surface in series.maps[i].surfaces if surface.display]
        [coordset] = [s.active_coordset_id for s in session.models.list(type=Structure)] or [None]
        noted.append(Image(frames, levels, view.camera.position.matrix.copy(), coordset, (width, height)))
        return np.zeros((4, 4, 4), np.uint8)

    view = session.main_view
    monkeypatch.setattr(session.ui, "has_graphics", True)
    monkeypatch.setattr(view, "image_rgba", image_rgba)
    folder = tmp_path / "my movies"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield noted
    assert not session.test_log.texts("bug")  # where ChimeraX puts what goes wrong while it draws


def shown(images):
    """The frame of each image."""
    assert all(len(image.frames) == 1 for image in images)
    return [image.frames[0] for image in images]


def command_lines(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def scene(session, series):
    frames = [frame for frame in series.maps if frame is not None]
    return {
        "frames": [frame.display for frame in frames],
        "looks": [[(s.level, tuple(s.rgba)) for s in frame.surfaces] for frame in frames],
        "series": (series.display, set(series.shown_times), series.last_shown_time),
        "camera": session.main_view.camera.position.matrix.tolist(),
        "positions": {m.id: m.position.matrix.tolist() for m in session.models},
        "coordsets": [m.active_coordset_id for m in session.models if hasattr(m, "active_coordset_id")],
        "motions": set(getattr(session, "motion_in_progress", ())),
        "movie": getattr(session, "movie", None),
    }


# --------------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("words, order", [("", FORTH), ("oscillate true", AND_BACK)])
def test_frames_are_recorded_in_order_at_levels_of_equal_volume(run, series, images, words, order):
    run(f"cryotrans movie #2 {words} seconds {0.28 * len(order)}")
    assert shown(images) == [time for time in order for _ in range(7)]
    for image in images:
        assert image.levels == pytest.approx([level_of(image.frames[0])], rel=TOLERANCE)


def test_as_many_voxels_lie_inside_each_frame(run, series, images):
    run("cryotrans movie #2")
    level = {image.frames[0]: image.levels[0] for image in images}
    inside = [np.count_nonzero(series.maps[i].full_matrix() >= level[i]) for i in FORTH]
    assert inside == pytest.approx([4 / 3 * math.pi * RADIUS**3 / math.prod(STEP)] * N_FRAMES, rel=0.02)


def test_the_level_is_that_of_the_frame_shown(run, series, images):
    run("vseries play #2 jumpTo 2")
    radius = 4.0  # Å
    run(f"volume #2.3 level {level_of(2, radius)!r}")
    run("cryotrans movie #2")
    assert [images[i].levels[0] for i in range(0, len(images), 20)] == pytest.approx(
        [level_of(i, radius) for i in FORTH], rel=TOLERANCE
    )


def test_a_series_of_another_make_keeps_its_volume_and_its_ways(session, run, images, tmp_path, series):
    run(f'open "{tmp_path}/frame_0.mrc" "{tmp_path}/frame_4.mrc" vseries true')
    other = session.models.list(model_id=(3,))[0]
    run(f"volume #3.1 level {LEVEL}")
    for _ in range(2):
        run("cryotrans movie #3 seconds 0.08 file other.mp4")
        levels = [float(level) for level in re.findall(r" level (\S+)", Path("other.cxc").read_text(encoding="utf-8"))]
        assert levels == pytest.approx([LEVEL, level_of(4)], rel=TOLERANCE)
    run("vseries play #3 jumpTo 1")
    other.maps[1].update_drawings()
    assert other.maps[1].surfaces[0].level == pytest.approx(LEVEL)  # as ChimeraX plays it


def test_a_series_that_has_never_been_drawn_gets_levels_too(run, images, tmp_path):
    run(f'open "{tmp_path}/frame_0.mrc" "{tmp_path}/frame_4.mrc" vseries true')
    run("cryotrans movie #3 file other.mp4")
    levels = [float(level) for level in re.findall(r" level (\S+)", Path("other.cxc").read_text(encoding="utf-8"))]
    radius = 5.0 * math.sqrt(2 * math.log(1 / levels[0]))
    assert levels[1:] == pytest.approx([level_of(4, radius)], rel=TOLERANCE)


def test_images_in_all_come_near_the_seconds_asked_for(run, images):
    run("cryotrans movie #2")
    assert len(images) == 100  # 4 s at 25 a second
    del images[:]
    run("cryotrans movie #2 seconds 0.01")
    assert shown(images) == FORTH


def test_every_surface_of_several_is_followed(session, run, series, images):
    run(f"volume #2.1 level {LEVEL} color red level {level_of(0, 3.0)!r} color blue")
    session.update_loop.draw_new_frame()
    before = scene(session, series)
    run("cryotrans movie #2")
    assert len(before["looks"][0]) == 2
    assert sorted(images[-1].levels) == pytest.approx(sorted([level_of(4), level_of(4, 3.0)]), rel=TOLERANCE)
    assert scene(session, series) == before


def test_image_style_is_played_as_it_is(run, series, images):
    run("volume #2.1 style image")
    run("cryotrans movie #2 seconds 0.2")
    assert shown(images) == FORTH and not any(image.levels for image in images)
    series.maps[0].update_drawings()
    assert [(frame.display, bool(frame.image_shown)) for frame in series.maps] == [(True, True)] + [(False, False)] * 4
    assert not series.maps[0].surface_shown
    assert "level" not in " ".join(command_lines(Path("CryoTRANS_A_B.cxc")))


@pytest.mark.parametrize("closed, order", [("#2.2", [0, 2, 3, 4, 3, 2, 0]), ("#2.1,3", [1, 3, 4, 3, 1])])
def test_closed_frames_are_passed_over(run, images, closed, order):
    run(f"close {closed}")
    run("cryotrans movie #2 seconds 0.2 oscillate true")
    assert shown(images) == order
    for image in images:
        assert image.levels == pytest.approx([level_of(image.frames[0])], rel=TOLERANCE)


def test_hidden_series_is_shown_and_frames_beside_are_hidden_meanwhile(session, run, series, images):
    run("vseries play #2 jumpTo 2")
    run("show #!2.5 models ; volume #2.5 level 0.2 ; hide #!2 models")
    session.update_loop.draw_new_frame()
    before = scene(session, series)
    assert before["frames"] == [False, False, True, False, True] and not before["series"][0]
    run("cryotrans movie #2 seconds 0.2 file morph.mp4")
    assert shown(images) == FORTH
    assert [image.levels[0] for image in images] == pytest.approx([level_of(i) for i in FORTH], rel=TOLERANCE)
    assert scene(session, series) == before
    run("open morph.cxc")
    assert shown(images) == 2 * FORTH


# ------------------------------------------------------------------------------------------------------- turning, atoms


def angle_between(a, b):
    return math.degrees(math.acos(np.clip((np.trace(a[:, :3].T @ b[:, :3]) - 1) / 2, -1, 1)))


@pytest.mark.parametrize("axis, vector", [("Y", (0, 1, 0)), ("1,0,1", (math.sqrt(0.5), 0, math.sqrt(0.5)))])
@pytest.mark.parametrize("degrees", [90, -77.7])
def test_the_scene_turns_evenly_to_the_angle_with_the_last_image(session, run, images, axis, vector, degrees):
    from chimerax.geometry import rotation

    run("turn 1,2,3 40")
    start, center = session.main_view.camera.position, session.main_view.center_of_rotation
    run(f"cryotrans movie #2 rotate {axis} {degrees} oscillate true seconds {0.28 * len(AND_BACK)}")
    assert len(images) == 63
    seen = [start.matrix, *(image.camera for image in images)]
    steps = [angle_between(a, b) for a, b in zip(seen, seen[1:])]
    assert steps == pytest.approx([abs(degrees) / 63] * 63, rel=1e-4)
    turned = rotation(start.transform_vector(np.array(vector, float)), -degrees, center) * start
    np.testing.assert_allclose(images[-1].camera, turned.matrix, atol=1e-4)


def test_without_turning_the_camera_stays(session, run, images):
    before = session.main_view.camera.position.matrix
    run("cryotrans movie #2")
    for image in images:
        np.testing.assert_allclose(image.camera, before, atol=1e-6)


def test_coordinate_sets_follow_the_frames(session, run, series, images):
    atoms = make_atoms(session, N_FRAMES)
    atoms.active_coordset_id = 4
    run("cryotrans movie #2 model #3 seconds 0.2 oscillate true")
    assert shown(images) == AND_BACK
    assert [image.coordset for image in images] == [time + 1 for time in AND_BACK]
    assert atoms.active_coordset_id == 4


# ------------------------------------------------------------------------------------------------------------ the files


def test_atoms_in_step_with_the_series_are_recorded_with_or_without_being_named(session, run, series, images):
    atoms = make_atoms(session, N_FRAMES)
    keep_in_step(session, series, atoms)
    run("vseries play #2 jumpTo 2")
    for words in ("model #3", ""):
        images.clear()
        run(f"cryotrans movie #2 {words} oscillate true seconds 0.36")
        assert shown(images) == AND_BACK
        assert [image.coordset for image in images] == [time + 1 for time in AND_BACK]
        session.update_loop.draw_new_frame()
        assert [frame.display for frame in series.maps].index(True) == 2 and atoms.active_coordset_id == 3


def test_files_have_the_name_of_the_series_and_lie_in_the_current_folder(session, run, images):
    movie = Path(run("cryotrans movie #2 rotate y 90"))
    assert movie == Path.cwd() / "CryoTRANS_A_B.mp4"
    assert sorted(os.listdir()) == ["CryoTRANS_A_B.cxc", "CryoTRANS_A_B.mp4"]
    assert movie.read_text(encoding="utf-8").split()[:3] == ["-r", "25.0", "-i"]  # what ffmpeg was told
    assert any("A → B: " in text and "open%20" in text for text in session.test_log.texts("info"))


@pytest.mark.parametrize("name", ["morph.mp4", "a, b; c.mp4", "x.mov", "x.avi", "x.wmv", "x.webm", "x.ogv", "x.png"])
def test_every_format_and_odd_names(run, images, tmp_path, name):
    run(f'cryotrans movie #2 seconds 0.2 file "{tmp_path}/{name}"')
    assert (tmp_path / name).is_file() and (tmp_path / name).with_suffix(".cxc").is_file()


def test_the_file_of_commands_makes_the_same_movie_with_chimerax_alone(session, run, images):
    make_atoms(session, N_FRAMES)
    run("vseries play #2 jumpTo 3")
    run("cryotrans movie #2 model #3 file morph.mp4 rotate y 90 oscillate true size 320,240 seconds 1")
    first = images[:]
    assert {image.size for image in first} == {(320, 240)}
    Path("morph.mp4").unlink()
    assert not any("cryotrans" in line for line in command_lines(Path("morph.cxc")) if "movie encode" not in line)
    run("turn x 33 ; vseries play #2 jumpTo 1 ; volume #2.2 level 0.1")
    del images[:]
    run("open morph.cxc")
    assert Path("morph.mp4").is_file()
    assert len(images) == len(first)
    for one, other in zip(first, images):
        assert one.frames == other.frames and one.coordset == other.coordset and one.levels == other.levels
        np.testing.assert_allclose(one.camera, other.camera, atol=1e-5)


def test_one_line_for_each_frame(run, images):
    run("cryotrans movie #2 file morph.mp4 rotate y 90 seconds 1")
    first, *others = [line.split()[0] for line in command_lines(Path("morph.cxc"))]
    assert [first, *others] == ["vseries", "movie", "view", "turn", *["vseries"] * N_FRAMES, "movie"]


def test_it_replaces_its_own_files_and_no_others(run, images):
    run("cryotrans movie #2 file morph.mp4 seconds 0.2")
    run("cryotrans movie #2 file morph.mp4 seconds 0.4")
    assert len(images) == 15
    Path("morph.cxc").write_text("open 1ake\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"morph\.cxc, where the commands are to go, is a file of yours"):
        run("cryotrans movie #2 file morph.mp4")
    assert Path("morph.cxc").read_text(encoding="utf-8") == "open 1ake\n" and len(images) == 15


# ------------------------------------------------------------------------------------------------------------ the scene


def fail_while_drawing(monkeypatch, ffmpeg):
    from chimerax.std_commands import wait

    draw, left = wait.draw_frame, [30]

    def draw_frame(session):
        left[0] -= 1
        if not left[0]:
            raise UserError("out of graphics memory")
        draw(session)

    monkeypatch.setattr(wait, "draw_frame", draw_frame)


def fail_to_encode(monkeypatch, ffmpeg):
    write_ffmpeg(ffmpeg, "exit 1")


def fail_to_begin(monkeypatch, ffmpeg):
    def start_recording(self):
        raise UserError("no room for images")

    monkeypatch.setattr("chimerax.movie.movie.Movie.start_recording", start_recording)


def press_stop(monkeypatch, ffmpeg):
    """As in ChimeraX's window: the button of what stands there meanwhile, in the real widget without a screen."""
    import qt_window

    from chimerax.cryotrans.app import movie

    try:
        qt_window.application()
    except ImportError as error:
        pytest.skip(f"needs PyQt6 and the libraries of the system that it uses ({error})")
    from PyQt6.QtCore import QTimer
    from PyQt6.QtWidgets import QApplication, QPushButton

    in_window = movie.stoppable

    def press():
        QApplication.activeModalWidget().findChild(QPushButton).click()

    def stoppable(session, title, n_steps):
        QTimer.singleShot(0, press)
        return in_window(SimpleNamespace(ui=SimpleNamespace(is_gui=True), logger=session.logger), title, n_steps)

    monkeypatch.setattr(movie, "stoppable", stoppable)


@pytest.mark.parametrize(
    "fail, message",
    [
        (None, None),
        (press_stop, "Recording a movie: stopped"),
        (fail_to_begin, "no room for images"),
        (fail_while_drawing, "out of graphics memory"),
        (fail_to_encode, r"morph\.mp4 could not be encoded. The Log has what ffmpeg said"),
    ],
)
@pytest.mark.parametrize("attended", [True, False])
def test_the_scene_is_as_it_was_whatever_happens(
    session, run, series, images, ffmpeg, monkeypatch, fail, message, attended, tmp_path
):
    series_id = 2
    make_atoms(session, N_FRAMES).active_coordset_id = 2
    if not attended:
        run("open " + " ".join(f'"{tmp_path}/frame_{i}.mrc"' for i in FORTH) + " vseries true")
        series_id, series = 4, session.models.list(model_id=(4,))[0]
        run(f"volume #4.1 level {LEVEL}")
    run(f"vseries play #{series_id} jumpTo 1")
    run(f"volume #{series_id}.2 level 0.3 color purple ; turn 1,2,3 40 models #{series_id} ; turn x 20")
    session.update_loop.draw_new_frame()
    before = scene(session, series)
    if fail is not None:
        fail(monkeypatch, ffmpeg)
        with pytest.raises(UserError, match=message):
            run(f"cryotrans movie #{series_id} model #3 file morph.mp4 rotate y 90")
    else:
        run(f"cryotrans movie #{series_id} model #3 file morph.mp4 rotate y 90")
    assert scene(session, series) == before
    assert Path.cwd().name == "my movies"
    monkeypatch.undo()
    if fail is press_stop:
        sys.modules["qt_window"].withdraw()
    session.update_loop.draw_new_frame()
    assert scene(session, series) == before


def test_what_was_playing_does_not_play_in_the_movie(session, run, images):
    make_atoms(session, N_FRAMES)
    run("vseries play #2 loop true ; coordset #3 1,5 loop 100")
    run("cryotrans movie #2 model #3 seconds 0.4")
    assert shown(images) == [image.coordset - 1 for image in images] == [time for time in FORTH for _ in range(2)]


def test_undo_is_of_what_was_done_before(session, run, images):
    before = list(session.undo.undo_stack)
    run("cryotrans movie #2 rotate y 90")
    assert session.undo.undo_stack == before


def test_playing_goes_on_as_before(session, run, series, images):
    run("cryotrans movie #2 oscillate true")
    for i in (3, 0):
        run(f"vseries play #2 jumpTo {i}")
        assert series.maps[i].surfaces[0].level == pytest.approx(level_of(i), rel=TOLERANCE)


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "words, message",
    [
        ("#1", "One volume series is wanted, as vseries play takes it, got 0"),
        ("#2 model #1", "must specify 1 structure"),
        ("#2 model #3", r"#3 atoms has 3 coordinate sets, #2 CryoTRANS A → B has 5 frames"),
        (
            "#2 file x.gif",
            r"x\.gif: the name of a movie ends with one of \.avi, \.mov, \.mp4, \.ogv, \.png, \.webm, \.wmv",
        ),
        ("#2 file x", "the name of a movie ends with one of"),
        ("#2 file none/x.mp4", r"There is no folder .*none\. Make it first"),
        ("#2 file folder.mp4", r"folder\.mp4 cannot be written: Is a directory"),
        ("#2 file other.mp4", r"other\.cxc cannot be written: Is a directory"),
        ("#2 file /proc/x.mp4", r"/proc cannot be written"),
        ("#2 rotate y", "Expected an axis"),
        ("#2 rotate q 90", "Expected an axis"),
        ("#2 rotate 0,0,0 90", "Expected an axis"),
        ("#2 rotate #3 90", "Expected an axis"),
        ("#2 rotate y nan", "Expected an axis"),
        ("#2 size 0,100", 'Invalid "size" argument'),
        ("#2 size 100", 'Invalid "size" argument'),
        ("#2 seconds 0", 'Invalid "seconds" argument'),
        ("#2 seconds 1e9", 'Invalid "seconds" argument'),
    ],
)
def test_bad_input_is_refused_before_anything_is_shown_or_written(session, run, series, images, words, message):
    make_atoms(session, 3)
    Path("folder.mp4").mkdir()
    Path("other.cxc").mkdir()
    before = scene(session, series)
    with pytest.raises(UserError, match=message):
        run(f"cryotrans movie {words}")
    assert sorted(os.listdir()) == ["folder.mp4", "other.cxc"]
    assert not images and scene(session, series) == before


def test_a_single_frame_is_no_movie(run, images):
    run("close #2.2-5")
    with pytest.raises(UserError, match="has 1 frame; a movie needs 2 or more"):
        run("cryotrans movie #2")


def test_without_graphics_it_says_what_is_needed(session, run, series):
    with pytest.raises(UserError, match="run ChimeraX with its window, or with --nogui --offscreen"):
        run("cryotrans movie #2")


def test_without_ffmpeg_it_says_so(run, images, ffmpeg):
    (ffmpeg / "ffmpeg").unlink()
    with pytest.raises(UserError, match=r"ffmpeg, which encodes movies, is not in .*programs"):
        run("cryotrans movie #2")
    assert not os.listdir() and not images


def test_a_recording_of_the_users_is_left_alone(session, run, images):
    run("movie record")
    recording = session.movie
    with pytest.raises(UserError, match="There is a movie that is being recorded or has not been encoded"):
        run("cryotrans movie #2")
    assert session.movie is recording and recording.is_recording()
    run("movie reset")


def test_ignored_movie_commands_are_not_taken_for_a_movie(run, images):
    run("movie ignore true")
    try:
        with pytest.raises(UserError, match="movie ignore false"):
            run("cryotrans movie #2")
    finally:
        run("movie ignore false")
