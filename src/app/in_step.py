"""A volume series and a structure with a coordinate set for each frame: where one of the two goes, the other follows.

Coordinate set k + 1 belongs to frame k.  ChimeraX tells of a frame that is displayed at once, of another coordinate
set before it draws the next image.  What is told is compared with what is there, and only what differs is changed, so
that the two cannot call each other for ever.

Session files have nothing of this bundle in them: as for series.py, which models belong together stands, by number
and name, in the session's metadata.
"""

from __future__ import annotations

from typing import Any

from chimerax.map import Volume
from chimerax.map_series import MapSeries

_METADATA_KEY = "CryoTRANS coordinate sets"


class _InStep:
    """Ends when one of the two is closed."""

    def __init__(self, series: MapSeries, structure: Any) -> None:
        self.series, self.structure = series, structure
        self._callback = self._on_frame  # one object, by which ChimeraX knows it again
        for frame in _frames(series):
            frame.add_volume_change_callback(self._callback)
        self._handler = structure.triggers.add_handler("changes", self._on_structure)
        for frame in _frames(series):
            if frame.display:
                self._on_frame(frame, "displayed")

    def has_ended(self) -> bool:
        """Is one of the two closed?  Then let go of the other."""
        ended = self.series.deleted or self.structure.deleted
        if ended and self._handler is not None:
            self._handler.remove()
            self._handler = None
            for frame in _frames(self.series):
                if not frame.deleted:
                    frame.remove_volume_change_callback(self._callback)
        return ended

    def _on_frame(self, frame: Volume, change: str) -> None:
        if change != "displayed" or not frame.display or self.has_ended():
            return
        wanted = self.series.maps.index(frame) + 1
        if self.structure.active_coordset_id != wanted and wanted in self.structure.coordset_ids:
            self.structure.active_coordset_id = wanted

    def _on_structure(self, _: str, change: Any) -> None:
        _, changes = change
        if self.has_ended() or "active_coordset changed" not in changes.structure_reasons():
            return
        time = self.structure.active_coordset_id - 1
        wanted = self.series.maps[time] if 0 <= time < len(self.series.maps) else None
        some_shown = any(frame.display for frame in _frames(self.series))  # else the user has hidden the series
        if wanted is not None and not wanted.display and some_shown:
            from chimerax.map_series.play import Play_Series

            Play_Series([self.series], session=self.series.session).change_time(time)


def keep_in_step(session: Any, series: MapSeries, structure: Any) -> None:
    """Show each frame of a series together with its coordinate set of a structure, until one of the two is closed.

    Args:
        session: the ChimeraX session, in which both are.
        series: frames 0, 1, ...
        structure: with coordinate sets 1, 2, ...; it gets that of the frame shown.
    """
    _pairs_of(session).append(_InStep(series, structure))


def structures_of(session: Any, series: MapSeries) -> list[Any]:
    """The structures that go with a series."""
    return [pair.structure for pair in _pairs_of(session) if pair.series is series]


def _pairs_of(session: Any) -> list[_InStep]:
    """Those of the session that have not ended."""
    session._cryotrans_in_step = [pair for pair in getattr(session, "_cryotrans_in_step", ()) if not pair.has_ended()]
    return session._cryotrans_in_step


def _frames(series: MapSeries) -> list[Volume]:
    return [frame for frame in series.maps if frame is not None]  # a closed one is None


# Sessions


def attend_sessions(session: Any) -> None:
    """Have the two go on together when they come back with a session.

    To be called when ChimeraX starts the bundle, so that it has been before a session is opened.
    """
    session.triggers.add_handler("begin save session", _on_save)
    session.triggers.add_handler("end restore session", _on_restore)


def _on_save(_: str, session: Any) -> None:
    session.metadata.pop(_METADATA_KEY, None)
    saved = [[_name_of(pair.series), _name_of(pair.structure)] for pair in _pairs_of(session)]
    if saved:
        session.metadata[_METADATA_KEY] = saved


def _on_restore(_: str, session: Any) -> None:
    known = {model for pair in _pairs_of(session) for model in (pair.series, pair.structure)}  # combine true
    added = [model for model in session.models.list() if model not in known]
    every_series = [model for model in added if isinstance(model, MapSeries)]
    structures = [model for model in added if hasattr(model, "coordset_ids")]
    for series_name, structure_name in session.metadata.get(_METADATA_KEY, ()):
        series, structure = _of_name(every_series, series_name), _of_name(structures, structure_name)
        if series is not None and structure is not None:
            keep_in_step(session, series, structure)
            structures.remove(structure)


def _name_of(model: Any) -> str:
    return f"#{model.id_string} {model.name}"


def _of_name(models: list[Any], name: str) -> Any:
    """The model of that number and name, else of that name: beside other models it may get another number."""
    found = [model for model in models if _name_of(model) == name]
    found += [model for model in models if model.name == name.split(" ", 1)[1]]
    return found[0] if found else None
