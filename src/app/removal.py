"""The end of a run: forgotten, or deleted with what it has made, and nothing of the user's with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError
from chimerax.map import Volume
from chimerax.map_series import MapSeries

from ..engine.files.run_directory import RunDirectory
from .places import remove_empty
from .riders import FILE
from .runs import MAP_FILES, Run, runs_of, source_of
from .settings import forget_run

_BESIDE_FRAMES = ("report.html", "initial.mrc", "still_part.mrc", FILE)


def forget(session: Any, run: Run) -> None:
    """Leave it where it is, out of the lists."""
    runs_of(session).forget(run)
    forget_run(session, run.folder)


def delete(session: Any, run: Run) -> None:
    """Close what is open of it, and remove its files; a folder goes if nothing else is in it.

    Raises:
        UserError: it is being trained, or a file cannot be removed.
    """
    if run.state() == "running":
        raise UserError(f"The run in {run.folder} is being trained. Stop it first: cryotrans stop")
    folder, maps = run.folder, run.folder / "maps"
    frames = [path for path in folder.glob("frames*") if path.is_dir()]
    opened = [model for model in session.models.list(type=Volume) if _lies_in(model, [folder, maps, *frames])]
    series = {model.parent for model in opened if isinstance(model.parent, MapSeries)}
    session.models.close([*series, *(model for model in opened if model.parent not in series)])
    try:
        RunDirectory(folder).clear()
        for path in [*(path for path in _files(maps) if MAP_FILES.fullmatch(path.name)), folder / "worker.log"]:
            path.unlink(missing_ok=True)
        for path in [path for place in frames for path in _files(place) if path.name.startswith("frame_")]:
            path.unlink()
        for path in [place / name for place in frames for name in _BESIDE_FRAMES]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be removed: {error.strerror}.") from error
    remove_empty([folder, maps, *frames])
    forget(session, run)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


def _lies_in(model: Any, folders: list[Path]) -> bool:
    path = source_of(model)
    return path is not None and Path(path).parent in folders
