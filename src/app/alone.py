"""What a command shows is alone: the rest of its run is hidden, or two surfaces of one molecule lie in each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from chimerax.map import Volume
from chimerax.map_series import MapSeries

from .in_step import structures_of
from .runs import Run, source_of


def show_alone(session: Any, run: Run, shown: Any) -> None:
    """Hide the other maps, series and carried structures of a run.

    Args:
        session: the ChimeraX session.
        run: whose models they are.
        shown: a map, or a series or one of its frames; with it stays what goes in step with it.
    """
    series = shown if isinstance(shown, MapSeries) else shown.parent
    kept = {shown, series, *(structures_of(session, series) if isinstance(series, MapSeries) else ())}
    for model in _models_of(session, run):
        if model not in kept:
            model.display = False
    for model in (shown, series):
        if isinstance(model, (Volume, MapSeries)):
            model.display = True


def _models_of(session: Any, run: Run) -> Iterator[Any]:
    """Of a series itself, not its frames, one of which stays displayed."""
    own = [model for model in (run.initial, *run.between, run.target) if model is not None and not model.deleted]
    yield from own
    described = run.models()
    files = {end.get("path") for end in (described.get("initial", {}), described.get("target", {}))} - {None}
    for model in session.models.list():
        if isinstance(model, MapSeries) and _in(run.folder, model.maps):
            yield model
            yield from structures_of(session, model)
        elif isinstance(model, Volume) and not isinstance(model.parent, MapSeries) and model not in own:
            yield from [model] if source_of(model) in files or _in(run.folder, [model]) else ()


def _in(folder: Path, volumes: Iterable[Any]) -> bool:
    """Is one of these opened from a file in the folder?"""
    paths = [source_of(volume) for volume in volumes if volume is not None]
    return any(path is not None and folder in Path(path).parents for path in paths)
