"""Maps that a finished run leaves -> colours of a surface, and a colour key.

palettes.py lists the maps, which are all on the grid of the run's initial map.  The first three are of the density at
its start, so that they belong on the initial map and on the first frame; on a later frame they would colour what has
come to the place since, and are refused.  The residual belongs on the target and on the last frame.

ChimeraX does the rest, by commands that stand in the Log to be changed and run again: `color sample` with the map of
the run, open but hidden, and `key` with `2dlabels` for the title.  The hidden map lies on the model that is coloured as
that lies at the moment; ChimeraX samples again when the surface changes, and a session file has both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from chimerax.core.commands import run as run_command
from chimerax.core.errors import UserError
from chimerax.geometry import Place
from chimerax.map import Volume
from chimerax.map_data import GridData, open_file
from chimerax.map_series import MapSeries

from ..engine.errors import InputError
from ..engine.maps.mrc_file import read_map
from .alone import show_alone
from .markup import quoted
from .palettes import MEASURES, Measure, Palette, check_limits, key_labels, palette_text
from .runs import Run, known_runs, runs_of, source_of
from .volumes import density_map_on, index_to_scene, model_text, open_map

_PLACE_TOLERANCE = 0.05  # voxels, over the whole box
_SAME_MAP = 0.1  # of the density, root mean square; a move by half a voxel makes more
_ON_EDGES = 0.5  # of the same, taken off by the soft edge of a mask
_TITLE = "CryoTRANS_key"
_KEY_PLACE = " pos 0.08,0.07 size 0.24,0.03 fontSize 18"  # of the window, clear of its middle


class Subject(NamedTuple):
    """What a command is about.

    Attributes:
        run: whose maps are wanted.
        volume: the model.
        end: which end of the run's flow it is, "initial" or "target".
        like: the model that lies in the scene as the run's initial map does.
    """

    run: Run
    volume: Volume
    end: str
    like: Volume


def color_surface(
    session: Any,
    subject: Subject,
    by: str,
    palette: Palette | None = None,
    limits: tuple[float, float] | None = None,
    key: bool = True,
) -> Volume:
    """Colour the surfaces of a map by a map of its run, and show them.

    Args:
        session: the ChimeraX session.
        subject: from `subject_of`.
        by: one of `MEASURES`.
        palette: by default one that suits.
        limits: the values that the first and the last colour stand for; by default those of the palette, else from the
            98th percentile of the values on the surface.
        key: show a colour key with a title.
    Returns:
        The hidden map that has the values.
    Raises:
        UserError: the run is not finished or has no such map, the limits cannot be used, or there is no surface.
    """
    measure = MEASURES[by]
    if limits is not None:
        check_limits(limits, measure if palette is None else None)
    volume = subject.volume
    path = map_path(subject.run, measure.file)
    if subject.end == "target" and not isinstance(volume.parent, MapSeries):
        _check_unmoved(subject)
    surfaces = shown_surfaces(session, volume)
    show_alone(session, subject.run, volume)
    values = _open_hidden(session, path, subject, measure)
    colors = palette_text(values, surfaces, measure, palette, limits)
    # Of the surfaces one by one, for "#1" would take other models below it too.
    names = " ".join(f"#!{surface.id_string}" for surface in surfaces)
    run_command(session, f"color sample {names} map #{values.id_string} palette {colors}")
    if key:
        _show_key(session, surfaces[0], measure)
    text = f"{model_text(volume)} is coloured by {by}, the values of the hidden map #{values.id_string}, {path.name}. "
    if isinstance(volume.parent, MapSeries):
        text += "ChimeraX drops the colours when the series is played. "
    session.logger.info(f"{text}Give the command again when the model has been moved.")
    return values


# Which run, and where


def subject_of(session: Any, maps: list[Volume], end: str, folder: Path | None) -> Subject:
    """The map that is meant, and its run.

    Args:
        session: the ChimeraX session.
        maps: one map, or the frames of one series, of which the first or the last is taken.
        end: to which end of the flow the map has to belong, "initial" or "target".
        folder: of the run; None for the latest whose map this is.
    Raises:
        UserError: there are other maps than one, no run is known, or the map does not belong to that end of it.
    """
    series = _series_of(maps)
    if series is not None:
        frames = [frame for frame in series.maps if frame is not None]
        volume = maps[0] if len(maps) == 1 else frames[0 if end == "initial" else -1]
        run = _run_in(session, folder if folder is not None else _folder_of_frame(volume))
        _check_frame(series, volume, run, end)
        return Subject(run, volume, end, volume)
    if len(maps) != 1:
        raise UserError(f"One map or one volume series is wanted, got {len(maps)} maps.")
    [volume] = maps
    if folder is not None:
        run = _run_in(session, folder)
        found = next((key for key in ("target", "initial") if _is(run, key, volume)), None)
    else:
        run, found = _latest_with(session, volume, end)
    # Like cryotrans predict, a run that has been named takes any map in the box of its initial map.
    if found != end and (found is not None or end == "target"):
        wanted = "the target or the last frame" if end == "target" else "the initial map or the first frame"
        raise UserError(
            f"{model_text(volume)} is not {wanted} of the run in {run.folder}; what was asked for belongs there."
        )
    return Subject(run, volume, end, volume if end == "initial" else _initial_of(session, run))


def place_of(grid: GridData, like: Volume) -> Place:
    """The position in the scene of a model with this grid that is to lie on `like`, which may have been moved.

    On a grid of another size or step it lies as their files say, in the frame of `like`.
    """
    size, step = np.array(grid.size), np.array(grid.step)
    off = np.abs(step - np.array(like.data.step)) * size / step
    if tuple(size) != tuple(like.data.size) or off.max() > _PLACE_TOLERANCE:
        return like.scene_position
    return index_to_scene(like) * grid.ijk_to_xyz_transform.inverse()


def map_path(run: Run, name: str) -> Path:
    """A file that training has left.

    Raises:
        UserError: it is not there, or the training goes on.
    """
    state, path = run.state(), run.folder / name
    if state in ("gone", "not begun", "damaged"):
        raise UserError(f"{run.folder} holds no run, or a damaged one. cryotrans runs lists the runs that are known.")
    if state == "running":
        raise UserError(f"The run in {run.folder} is being trained. {name} is made when it ends: cryotrans stop")
    again = f"cryotrans resume {quoted(run.folder)}"
    if state not in ("finished", "stopped"):
        raise UserError(f"The run in {run.folder} has not been finished: it is {state}. To finish it: {again}")
    if not path.is_file() and name == MEASURES["partner"].file:
        raise UserError(f"No part of the maps of the run in {run.folder} was found that has no partner in the other.")
    if not path.is_file():
        raise UserError(
            f"The run in {run.folder} has no {name}; an older version trained it. Train the maps again, or some steps "
            f"more: {again} steps {run.content()['step'] + 100}"
        )
    return path


def _run_in(session: Any, folder: Path) -> Run:
    return runs_of(session).find(folder) or Run(folder)


def _series_of(maps: list[Volume]) -> MapSeries | None:
    parents = {volume.parent for volume in maps}
    if len(parents) == 1:
        [parent] = parents
        if isinstance(parent, MapSeries):
            return parent
    return None


def _folder_of_frame(frame: Volume) -> Path:
    path = source_of(frame)
    if path is None or not (Path(path).parents[1] / "run.json").is_file():
        raise UserError(
            f"The frames of {model_text(frame.parent)} are not in the folder of a run. Add to the command which run "
            "they are of: run FOLDER"
        )
    return Path(path).parents[1].resolve()


def _check_frame(series: MapSeries, frame: Volume, run: Run, end: str) -> None:
    """See that a frame is the one that the values belong to: series may be of the way back, frames may be closed."""
    if frame is not series.maps[0 if end == "initial" else -1]:
        which = "first" if end == "initial" else "last"
        raise UserError(
            f"{model_text(frame)} is not the {which} frame, which alone these values belong to. "
            f"Give #{series.id_string}, the series."
        )
    first = series.maps[0]
    if first is None:
        raise UserError(f"The first frame of {model_text(series)}, which tells where it starts, has been closed.")
    carried = Path(source_of(first) or "").parent / "initial.mrc"  # of a prediction; else it is the run's initial map
    if not carried.is_file():
        carried = run.initial_path if run.initial_path.is_file() else Path(_end_path(run, "initial"))
    if not _same(_density(carried), first.full_matrix()):
        raise UserError(
            f"{model_text(series)} does not begin where the flow begins: it is the way back, or another run's. Take "
            "the frames of the way there, or the map itself."
        )


def _same(density: np.ndarray, frame: np.ndarray) -> bool:
    """Is a frame (nz, ny, nx) this density, but for what was cut off or lies on the soft edge of a mask?"""
    if density.shape != frame.shape:
        return False
    kept = frame > 0
    whole = np.linalg.norm(density[kept])
    more = np.linalg.norm((frame - density)[kept].clip(min=0))
    return bool(more <= _SAME_MAP * whole and np.linalg.norm((density - frame)[kept]) <= _ON_EDGES * whole)


def _density(path: Path) -> np.ndarray:
    try:
        return read_map(path).density
    except InputError as error:
        raise UserError(str(error)) from error


def _end_path(run: Run, key: str) -> str:
    return run.models().get(key, {}).get("path") or ""


def _is(run: Run, key: str, volume: Volume) -> bool:
    """Is this model the run's initial or target map?"""
    model, own = (run.initial, run.initial_path) if key == "initial" else (run.target, run.target_path)
    path = source_of(volume)
    return model is volume or (path is not None and path in (_end_path(run, key), str(own)))


def _latest_with(session: Any, volume: Volume, end: str) -> tuple[Run, str]:
    """The latest run that has this map at this end, else at the other."""
    runs = [run for run in known_runs(session) if run.weights() is not None]
    for key in (end, "initial", "target"):
        for run in runs:
            if _is(run, key, volume):
                return run, key
    raise UserError(
        f"No run on {model_text(volume)} is known. Train one, cryotrans train #{volume.id_string} to …, or add the "
        f"run's folder to the command: run FOLDER"
    )


def _initial_of(session: Any, run: Run) -> Volume:
    for volume in session.models.list(type=Volume):
        if _is(run, "initial", volume):
            return volume
    raise UserError(
        f"The initial map of the run in {run.folder} is not open, and it says where the target lies. Open it, or "
        "colour the last frame of the trajectory."
    )


def _check_unmoved(subject: Subject) -> None:
    """See that the target still lies on the initial map as it did when training began."""
    run, target = subject.run, subject.volume
    if not run.target_path.is_file():
        return  # a run of the programs, in which both lie as their files say
    there = density_map_on(target, subject.like).density
    then = _density(run.target_path)
    if there.shape != then.shape or np.linalg.norm(there - then) > _SAME_MAP * np.linalg.norm(then):
        raise UserError(
            f"{model_text(target)} does not lie on {model_text(subject.like)} as it did when it was trained, so that "
            "the values would be sampled at wrong places. Move it back, or colour the last frame of the trajectory."
        )


# Colours


def shown_surfaces(session: Any, volume: Volume) -> list[Any]:
    """Show the map, of a series that frame, and make its surfaces.

    Raises:
        UserError: there are none.
    """
    series = volume.parent
    if isinstance(series, MapSeries):
        run_command(session, f"vseries play #{series.id_string} jumpTo {series.maps.index(volume)}")
    elif not volume.display:
        run_command(session, f"show #!{volume.id_string} models")
    volume.update_drawings()
    surfaces = [surface for surface in volume.surfaces if surface.vertices is not None and len(surface.vertices)]
    if not surfaces or not volume.surface_shown:
        raise UserError(
            f"{model_text(volume)} shows no surface that could be coloured. Show one: "
            f"volume #{volume.id_string} style surface"
        )
    return surfaces


def _open_hidden(session: Any, path: Path, subject: Subject, measure: Measure) -> Volume:
    """The run's map, in place; the model of an earlier command if there is one."""
    name = f"{measure.title} of {model_text(subject.volume)}"  # each has its own, for each may be moved
    place = place_of(grid_of(path), subject.like)
    for model in session.models.list(type=Volume):
        if source_of(model) == str(path) and not model.display and model.name == name:
            model.data.values_changed()  # the run may have gone on
            break
    else:
        model = open_map(session, path)
        model.name = name
        model.display = False
    model.scene_position = place
    return model


def grid_of(path: Path) -> GridData:
    """The grid of a map's file; values are read when they are needed."""
    try:
        [grid] = open_file(str(path))
    except Exception as error:  # ChimeraX's readers raise all kinds
        raise UserError(f"{path} cannot be read as a map: {error}") from error
    return grid


def drop_key(session: Any) -> None:
    """Take away the colour key that `color_surface` has shown."""
    from chimerax.label.label2d import find_label

    if session.ui.has_graphics and find_label(session, _TITLE) is not None:
        run_command(session, f"2dlabels delete {_TITLE} ; key delete")


def _show_key(session: Any, surface: Any, measure: Measure) -> None:
    from chimerax.color_key.model import get_model
    from chimerax.core.colors import rgba_to_rgba8
    from chimerax.label.label2d import find_label
    from chimerax.surface.colorvol import volume_coloring

    colormap = volume_coloring(surface).colormap
    colors = ("#{:02x}{:02x}{:02x}".format(*rgba_to_rgba8(color)[:3]) for color in colormap.colors)
    pairs = " ".join(f"{color}:{label}" for color, label in zip(colors, key_labels(colormap.data_values)))
    place = "" if get_model(session, create=False) is not None else _KEY_PLACE  # the user may have moved it
    bar = run_command(session, f"key {pairs}{place}")
    if not session.ui.has_graphics:
        return  # ChimeraX refuses labels, though not keys
    verb = "create" if find_label(session, _TITLE) is None else "change"
    (x, y), (_, height) = bar.pos, bar.size
    run_command(
        session, f'2dlabels {verb} {_TITLE} text "{measure.title}" xpos {x:.3g} ypos {y + height + 0.01:.3g} size 18'
    )
