"""Frames -> one volume series, placed on the initial map, each frame at a level that encloses the same volume.

ChimeraX hands display settings from frame to frame: before `vseries play`, `vseries slider` or the mouse mode show a
frame, MapSeries.copy_display_parameters gives it the surface levels of the frame shown before, and with cacheFrames 1
the surfaces of hidden frames are deleted.  So levels of their own do not outlast the first playing.  ChimeraX's remedy,
`vseries play normalize true`, has to be typed, is not there for the slider, and counts voxels, of which a thresholded
frame with its steep edges needs a tenth more than the map it was made of.  Here levels follow the display instead:
whenever a frame is displayed, by whatever command, the Volume calls back, and gets the levels whose surfaces enclose
what those of the frame shown before enclosed (`_EqualVolumes`).  A level that the user gives the frame shown therefore
holds for the whole series.

The models are ChimeraX's own and nothing of ours is in a session file: a ChimeraX without this bundle would refuse to
open it.  Which series to attend to when it is opened again stands, by name, in its metadata (`attend_sessions`).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from chimerax.core.errors import UserError
from chimerax.map import Volume
from chimerax.map_data import open_file
from chimerax.map_series import MapSeries

from .volumes import shown_level, suggested_level

_METADATA_KEY = "CryoTRANS series"
_PLACE_TOLERANCE = 0.05  # voxels, over the whole box
_VOLUME_TOLERANCE = 1e-3  # of the volume that a level is to enclose


def open_series(
    session: Any,
    paths: Sequence[str | os.PathLike[str]],
    name: str,
    like: Volume | None = None,
    level: float | None = None,
) -> MapSeries:
    """Open frames as one series, which lies and looks as `like` does, and show the first.

    The frames stay in their files: session files have the paths only, unless saved with includeMaps true.

    Args:
        session: the ChimeraX session.
        paths: the frames, two or more MRC files of one size, in their order.
        name: of the series.
        like: the map that the frames were made from, as a rule the initial; hide it afterwards.  None or a closed one:
            the frames lie where their files say.
        level: map units; every frame encloses the volume that `like`, or else the first frame, encloses at it.  Without
            one that of the surface which `like` shows, or else a suggestion.
    Returns:
        The series, in the session.
    Raises:
        UserError: there is only one frame, they differ in size, or a file is missing or no map.
    """
    from chimerax.map.volume import open_grids

    if len(paths) < 2:
        raise UserError(f"A volume series needs 2 frames or more, not {len(paths)}: open the file by itself.")
    if like is not None and like.deleted:
        like = None
    missing = [str(path) for path in paths if not os.path.isfile(path)]
    if missing:
        raise UserError(f"{len(missing)} of the {len(paths)} frames are gone, the first of them {missing[0]}")
    grids = [grid for path in paths for grid in open_file(str(path), log=session.logger)]
    [series], _ = open_grids(session, grids, name, vseries=True)
    for frame, grid in zip(series.maps, grids):
        if frame.data is not grid:  # ChimeraX has this file open and shares what it has read, perhaps before a rewrite
            frame.data.values_changed()
    first = series.maps[0]
    if like is None:
        level = suggested_level(first) if level is None else level
        volume = _enclosed(first, level)
    else:
        _place(series, like)
        for frame in series.maps:
            _dress(frame, like)
        if level is None:
            level = shown_level(like)
        volume = _enclosed(like, suggested_level(like) if level is None else level)
    levels = _EqualVolumes(series, [volume])
    levels.apply(first)
    attend_sessions(session)
    session.models.add([series])
    return series


def attend_sessions(session: Any) -> None:
    """Have levels followed in series that come back with a session; a second call does nothing.

    To be called when ChimeraX starts the bundle, so that it has been before a session is opened.
    """
    if getattr(session, "_cryotrans_attends", False):
        return
    session._cryotrans_attends = True
    session.triggers.add_handler("begin save session", _on_save)
    session.triggers.add_handler("end restore session", _on_restore)


def _on_save(_: str, session: Any) -> None:
    names = sorted({series.name for series in _series_of(session) if series in _attended})
    session.metadata.pop(_METADATA_KEY, None)
    if names:
        session.metadata[_METADATA_KEY] = names


def _on_restore(_: str, session: Any) -> None:
    names = session.metadata.get(_METADATA_KEY, ())
    for series in _series_of(session):
        if series.name in names and series not in _attended:
            _EqualVolumes(series, [])


def _series_of(session: Any) -> list[MapSeries]:
    return [model for model in session.models.list(type=MapSeries) if not model.deleted]


def _place(series: MapSeries, like: Volume) -> None:
    """Put the frames where `like` is: its grid, exactly, if theirs is that of it; its position in the scene."""
    grid = like.data
    for frame in series.maps:
        data = frame.data
        off = np.abs(np.subtract(data.step, grid.step)) * np.array(grid.size) / np.array(grid.step)
        if tuple(data.size) == tuple(grid.size) and off.max() <= _PLACE_TOLERANCE:
            data.set_step(grid.step)  # files have 32-bit numbers, which are off by 1e-4 Å at 2000 Å
            data.set_origin(grid.origin)
            data.set_rotation(grid.rotation)  # there are none in the files
    series.position = like.scene_position  # the series lies at the top of the scene, its frames at its origin


def _dress(frame: Volume, like: Volume) -> None:
    """Give a frame the look of `like`: colour, transparency, style, step, rendering options; but not its level."""
    frame.copy_settings_from(like, copy_thresholds=False, copy_region=False, copy_xform=False)
    if like.surfaces:
        lowest = min(like.surfaces, key=lambda surface: surface.level)
        frame.set_parameters(default_rgba=tuple(lowest.rgba))  # what surfaces still to be made take
        for surface in frame.surfaces:
            surface.rgba = lowest.rgba
    if _in_image_style(like):
        frame.set_display_style("image")
        frame.set_parameters(image_levels=like.image_levels, image_colors=like.image_colors)
    frame.new_region(*frame.full_region()[:2], like.region[2], adjust_step=False)


_attended: weakref.WeakSet[MapSeries] = weakref.WeakSet()


class _EqualVolumes:
    """Gives the frames of a series surface levels that enclose equal volumes, each when it is displayed.

    The volumes, one for each surface, are those of the frame that is shown or was shown last.  What has been found for
    a frame is kept, so that a loop costs nothing from its second turn on and levels do not creep; it is dropped when
    the user has set other levels.
    """

    def __init__(self, series: MapSeries, volumes: Sequence[float]) -> None:
        """`volumes` are in Å³; none means those of the frame shown."""
        self._series = series
        self._volumes = list(volumes)
        self._levels: dict[Volume, list[float]] = {}  # the volumes' levels, for frames that have been shown
        for frame in series.maps:
            frame.add_volume_change_callback(self._on_change)
        _attended.add(series)

    def apply(self, frame: Volume) -> None:
        """Set the levels of a frame, unless it is in image style."""
        if _in_image_style(frame):
            return
        if frame not in self._levels:
            self._levels[frame] = [_level_enclosing(frame, volume) for volume in self._volumes]
        if self._levels[frame] != _levels(frame):
            frame.set_parameters(surface_levels=self._levels[frame])

    def _on_change(self, frame: Volume, change: str) -> None:
        if change not in ("displayed", "thresholds changed"):
            return
        if change == "displayed" and not frame.display:
            self._note(frame)
        elif frame.display and (change == "displayed" or self._is_copy(frame)):
            for other in self._series.maps:  # closed frames are None
                if other is not None and other is not frame and other.display:
                    self._note(other)
            if self._volumes:
                self.apply(frame)

    def _is_copy(self, frame: Volume) -> bool:
        """Whether a frame that the user has shown beside another has got that one's levels, as playing gives them."""
        shown = self._series.maps[self._series.last_shown_time]
        return shown not in (None, frame) and shown.display and _levels(shown) == _levels(frame)

    def _note(self, frame: Volume) -> None:
        """Take over levels that the user has given a frame which is or was shown."""
        levels = _levels(frame)
        if levels and levels != self._levels.get(frame):
            self._volumes = [_enclosed(frame, level) for level in levels]
            self._levels = {frame: levels}


def _in_image_style(volume: Volume) -> bool:
    return bool(volume.image_shown or volume.image_will_show) and not volume.surface_shown


def _levels(frame: Volume) -> list[float]:
    return [float(surface.level) for surface in frame.surfaces]


def _enclosed(volume: Volume, level: float) -> float:
    """Å³ inside the surface at a level, over the full data, whatever region and step are shown."""
    return _voxels_inside(_where_positive(volume.full_matrix()), level) * abs(volume.data.voxel_volume())


def _level_enclosing(volume: Volume, enclosed: float) -> float:
    """The level, map units, whose surface encloses so many Å³, up to a thousandth.

    What Volume.surface_level_for_enclosed_volume does by ten bisections of the whole map; this makes four to seven
    contours of the part that is not empty, as people wait for it when they play a series for the first time.
    """
    matrix = _where_positive(volume.full_matrix())
    wanted = enclosed / abs(volume.data.voxel_volume())  # voxels
    low, high = 0.0, float(matrix.max())  # levels that enclose too much, too little
    inside_low, inside_high = float(np.count_nonzero(matrix > 0)), 0.0
    positive = matrix[matrix > 0]
    rank = min(max(1, round(wanted)), positive.size)
    level = float(np.partition(positive, -rank)[-rank]) if rank else high  # as if each voxel were a cube
    for step in range(30):
        inside = _voxels_inside(matrix, level)
        if abs(inside - wanted) <= _VOLUME_TOLERANCE * wanted:
            break
        if inside > wanted:
            low, inside_low = level, inside
        else:
            high, inside_high = level, inside
        level = (low + high) / 2
        if step % 3 and inside_low > wanted:  # mostly by the secant, which alone may get stuck at one end
            level = low + (high - low) * (inside_low - wanted) / (inside_low - inside_high)
    return level


def _voxels_inside(matrix: np.ndarray, level: float) -> float:
    from chimerax.map._map import contour_surface
    from chimerax.surface import enclosed_volume

    vertices, triangles = contour_surface(matrix, level, cap_faces=True, calculate_normals=False)
    return float(enclosed_volume(vertices, triangles)[0] or 0)


def _where_positive(matrix: np.ndarray) -> np.ndarray:
    """The part of (nz, ny, nx) that has density above zero, with a voxel more at each side: less to contour."""
    inside = matrix > 0
    if not inside.any():
        return matrix
    part = []
    for others in ((1, 2), (0, 2), (0, 1)):
        [planes] = inside.any(axis=others).nonzero()
        part.append(slice(max(0, planes[0] - 1), planes[-1] + 2))
    return matrix[tuple(part)]
