"""Volume series -> movie: a file of ChimeraX's own commands, and ChimeraX runs it.

There is one source of what the movie shows, the file beside it: `record_movie` writes it, then has ChimeraX open it as
a user would, so that a file which somebody changes makes the movie that differs in just that.  It holds no command of
this bundle.  The level of each frame is written out; found by `_EqualVolumes` of series.py, it encloses what the
surface of the frame shown encloses.

An image of the movie is drawn by each step of `wait`.  A frame of the series stands for some images, while the scene
turns from image to image: one `turn` over the whole length goes on beside the frames.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from chimerax.core.commands import Annotation, AnnotationError, AxisArg, FloatArg
from chimerax.core.commands import run as run_command
from chimerax.core.errors import UserError
from chimerax.map import Volume
from chimerax.map_series import MapSeries

from .markup import quoted
from .series import _attended, _EqualVolumes, _in_image_style, _levels
from .stoppable import stoppable
from .volumes import model_text

SECONDS = 4.0  # of a movie, forth and back: long enough to see what moves
_IMAGES_PER_SECOND = 25  # ChimeraX's default
_FRAME = "vseries play "  # begins the line of a frame
_FIRST_LINE = "# A movie by cryotrans movie: "  # tells files of ours, which may be replaced, from others


class Rotation(NamedTuple):
    """A turn of the scene, as `turn` takes it."""

    axis: str
    degrees: float


class RotationArg(Annotation):
    """An axis and degrees, as "y 90" or "1,1,0 -45"."""

    name = "an axis (x, y, z or three numbers) and degrees"

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[Rotation, str, str]:
        try:
            axis, axis_text, rest = AxisArg.parse(text, session)
            degrees, degrees_text, rest = FloatArg.parse(rest.lstrip(), session)
        except AnnotationError as error:
            raise AnnotationError(f"Expected {cls.name}, as “y 90”") from error
        if axis.coords is None or not 0 < math.hypot(*axis.coords) < math.inf or not math.isfinite(degrees):
            raise AnnotationError(f"Expected {cls.name}, as “y 90”")  # axes of atoms would move with the atoms
        return Rotation(axis_text, degrees), f"{axis_text} {degrees_text}", rest


def record_movie(
    session: Any,
    series: MapSeries,
    path: Path,
    model: Any = None,
    rotation: Rotation | None = None,
    oscillate: bool = False,
    size: tuple[int, int] | None = None,
    seconds: float = SECONDS,
) -> Path:
    """Record the frames of a series, and write the commands that do it beside the movie; leave the scene as it was.

    Args:
        session: the ChimeraX session, with graphics.
        series: of two frames or more.
        path: of the movie, in a folder that exists; its suffix is one of ChimeraX's movie formats.
        model: an atomic structure with a coordinate set for each frame, which changes with the frames.
        rotation: of the whole scene from the view before the first image to the last image.
        oscillate: forth and back, ending with the first frame, in place of forth.
        size: width and height in pixels, by default those of the window.
        seconds: about the length; every frame of the series gets the same whole number of images, one or more.
    Returns:
        The path of the file of commands.
    Raises:
        UserError: there are no graphics, ffmpeg is missing, a movie is being recorded already, the frames are fewer
            than two or another number than the coordinate sets, the suffix is unknown, or a file cannot be written:
            then nothing has been played.  Or recording or encoding failed, or was stopped.
    """
    _check_recorder(session)
    _check_frames(series, model)
    script = _check_files(path)
    times = [time for time, frame in enumerate(series.maps) if frame is not None]
    if oscillate:
        times += times[-2::-1]
    n_images = max(1, round(seconds * _IMAGES_PER_SECOND / len(times)))  # of each frame
    with _scene_kept(session, series, model), session.undo.block():
        head = _head_lines(series, model, size)
        # Before frames change: the centre is that of what is displayed.
        view = _view_lines(session.main_view, rotation, n_images * len(times))
        levels = _equal_levels(session, series)
        lines = [
            *head,
            *view,
            "",
            f"# The frames, {n_images} images each, at levels that enclose equal volumes",
            *(_frame_line(series, time, levels[time], model, n_images) for time in times),
            "",
            f"movie encode {quoted(path.name)} framerate {_IMAGES_PER_SECOND}",
        ]
        try:
            script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{script} cannot be written: {error.strerror}. Give another file.") from error
        _run_script(session, script)
        if getattr(session, "movie", None) is not None:  # what ChimeraX leaves, and a text in the Log, if ffmpeg fails
            raise UserError(f"The movie {path} could not be encoded. The Log has what ffmpeg said.")
    return script


def _head_lines(series: MapSeries, model: Any, size: tuple[int, int] | None) -> list[str]:
    """What the file is, and all up to the first image but for the view."""
    series_id, name = f"#{series.id_string}", " ".join(series.name.split())
    needed = f"that series open as {series_id}" + (f" and the atoms as #{model.id_string}" if model is not None else "")
    return [
        f"{_FIRST_LINE}{series_id} {name}",
        f"# Open this file to record it again, with {needed}. Change it as you like, but save",
        "# it under another name: cryotrans movie replaces files of its own.",
        "",
        f"vseries stop {series_id}",
        *([f"coordset stop #{model.id_string}"] if model is not None else []),
        *(f"show #!{part.id_string} models" for part in _lineages(series, model) if not part.display),
        *(f"hide #!{frame.id_string} models" for frame in _beside(series)),
        f"movie record size {size[0]},{size[1]}" if size is not None else "movie record",
    ]


def _frame_line(series: MapSeries, time: int, levels: list[float], model: Any, n_images: int) -> str:
    commands = [f"{_FRAME}#{series.id_string} jumpTo {time}"]
    if levels:  # none in image style; "change surface" because ChimeraX wants it where both styles are shown
        written = " ".join(f"level {level!r}" for level in levels)
        commands.append(f"volume #{series.maps[time].id_string} change surface {written}")
    if model is not None:
        commands.append(f"coordset #{model.id_string} {model.coordset_ids[time]}")
    return " ; ".join([*commands, f"wait {n_images}"])


def _view_lines(view: Any, rotation: Rotation | None, n_images: int) -> list[str]:
    """The camera as it is, and a turn that reaches its end with the last image, about a centre that stays."""
    lines = [f"view matrix camera {_numbers(view.camera.position.matrix.ravel())}"]
    if rotation is not None and rotation.degrees:
        step = f"{rotation.degrees / n_images:.12g}"
        lines += [
            "",
            f"# {rotation.degrees:g} degrees in all, over {n_images} images",
            f"turn {rotation.axis} {step} {n_images} center {_numbers(view.center_of_rotation)}",
        ]
    return lines


def _numbers(values: Any) -> str:
    return ",".join(f"{value:.9g}" for value in values)


def _run_script(session: Any, script: Path) -> None:
    """Run the commands in the folder of the file, as opening it does, until somebody stops it.

    Not by `open`, which would put the file into the list of recent ones.
    """
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    n_frames = sum(line.startswith(_FRAME) for line in lines)
    here = os.getcwd()
    os.chdir(script.parent)
    try:
        with stoppable(session, "Recording a movie", n_frames) as tell:
            done = 0
            for line in lines:
                if line.startswith(_FRAME):
                    tell(done, f"Movie: frame {done + 1} of {n_frames}")
                    done += 1
                elif line.startswith("movie encode"):
                    tell(done, "Movie: encoding")
                run_command(session, line, log=False)
    finally:
        os.chdir(here)


# Levels


def _equal_levels(session: Any, series: MapSeries) -> dict[int, list[float]]:
    """The surface levels that each frame gets when it is shown, of volumes equal to those of the frame shown now.

    There are none in image style.  What has been found for a series that is attended to is used as it is, so that
    recording does not find it again.
    """
    shown = _shown_time(series)
    others = _beside(series)
    own = _EqualVolumes(series, []) if series not in _attended else None
    try:
        for frame in others:
            frame.display = False
        _jump(session, series, shown)
        levels: dict[int, list[float]] = {time: [] for time in range(series.number_of_times())}
        if _in_image_style(series.maps[shown]):
            return levels
        for time, frame in enumerate(series.maps):
            if frame is not None:
                _jump(session, series, time)
                levels[time] = _levels(frame)
        return levels
    finally:
        if own is not None:
            _attended.discard(series)
            for frame in series.maps:
                if frame is not None:
                    frame.remove_volume_change_callback(own._on_change)


def _jump(session: Any, series: MapSeries, time: int) -> None:
    run_command(session, f"vseries play #{series.id_string} jumpTo {time}", log=False)


def _shown_time(series: MapSeries) -> int:
    """The frame that the movie takes its look from: the one shown, or shown last."""
    shown = [time for time, frame in enumerate(series.maps) if frame is not None and frame.display]
    if series.last_shown_time in shown or not shown:
        last = series.last_shown_time
        return last if series.maps[last] is not None else next(t for t, f in enumerate(series.maps) if f is not None)
    return shown[0]


def _beside(series: MapSeries) -> list[Volume]:
    """Frames that are displayed beside the one that counts."""
    shown = _shown_time(series)
    return [frame for time, frame in enumerate(series.maps) if frame is not None and frame.display and time != shown]


# The scene


@contextmanager
def _scene_kept(session: Any, series: MapSeries, model: Any) -> Iterator[None]:
    """Put back what a movie changes, recorder and motions included, whatever happens."""
    frames = [frame for frame in series.maps if frame is not None]
    looks = [(frame, _look(frame)) for frame in frames]
    displays = [(part, part.display) for part in [*frames, *_lineages(series, model)]]
    coordset = model.active_coordset_id if model is not None else None
    camera = session.main_view.camera
    position = camera.position
    shown = _shown_time(series)
    motions = _motions(session)
    try:
        yield
    finally:
        for motion in _motions(session) - motions:
            motion.done()
        if getattr(session, "movie", None) is not None:
            run_command(session, "movie reset", log=False)
        _jump(session, series, shown)  # brings back the style too, and frees what the other frames show
        for part, display in displays:
            part.display = display
        for frame, look in looks:
            if look and look != _look(frame):
                levels, colors = zip(*look)
                frame.set_parameters(surface_levels=list(levels), surface_colors=list(colors))
        if model is not None:
            model.active_coordset_id = coordset
        camera.position = position


def _look(frame: Volume) -> list[tuple[float, tuple[float, ...]]]:
    """The level and the colour of each surface."""
    return [(surface.level, tuple(surface.rgba)) for surface in frame.surfaces]


def _motions(session: Any) -> set[Any]:
    return set(getattr(session, "motion_in_progress", ()))


def _lineages(*models: Any) -> list[Any]:
    """Models and those that they are part of, but for the root of the scene; None is passed over."""
    found = []
    for model in models:
        while model is not None and model.id:
            found.append(model)
            model = model.parent
    return found


# Checks


def _check_recorder(session: Any) -> None:
    if not session.ui.has_graphics:
        raise UserError(
            "Recording a movie draws its images, and there are no graphics here: run ChimeraX with its window, or with "
            "--nogui --offscreen."
        )
    if getattr(session, "ignore_movie_commands", False):
        raise UserError("ChimeraX has been told to ignore movie commands. Take that back first: movie ignore false")
    if getattr(session, "movie", None) is not None:
        raise UserError(
            "There is a movie that is being recorded or has not been encoded. End it first, with movie encode, or with "
            "movie reset, which deletes its images."
        )
    from chimerax import app_bin_dir  # ChimeraX brings an ffmpeg of its own

    if shutil.which("ffmpeg", path=os.pathsep.join([os.environ.get("PATH", ""), app_bin_dir])) is None:
        raise UserError(
            f"ffmpeg, which encodes movies, is not in {app_bin_dir}, where ChimeraX has it, nor in the PATH. Install "
            "ChimeraX again, or ffmpeg."
        )


def _check_frames(series: MapSeries, model: Any) -> None:
    n_frames = sum(frame is not None for frame in series.maps)
    if n_frames < 2:
        raise UserError(f"{model_text(series)} has {n_frames} frame; a movie needs 2 or more.")
    if model is not None and model.num_coordsets != series.number_of_times():
        raise UserError(
            f"{model_text(model)} has {model.num_coordsets} coordinate sets, {model_text(series)} has "
            f"{series.number_of_times()} frames; a structure with one coordinate set for each frame is wanted."
        )


def _check_files(path: Path) -> Path:
    """The path of the file of commands, after seeing that both files can be written."""
    from chimerax.movie.formats import formats

    suffixes = sorted({f".{format['suffix']}" for format in formats.values()})
    if path.suffix not in suffixes:
        raise UserError(f"{path.name}: the name of a movie ends with one of {', '.join(suffixes)}.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}. Make it first, or give another file.")
    script = path.with_suffix(".cxc")
    wanted = path.parent
    try:
        with tempfile.TemporaryFile(dir=wanted):
            pass
        for wanted in (path, script):
            if wanted.exists():
                with wanted.open("r+b") as file:
                    head = file.read(len(_FIRST_LINE))
                if wanted == script and head != _FIRST_LINE.encode():
                    raise UserError(f"{script}, where the commands are to go, is a file of yours. Give another file.")
    except OSError as error:
        raise UserError(f"{wanted} cannot be written: {error.strerror}. Give another file.") from error
    return script
