"""Folders that commands make, and what they are called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ...engine.errors import InputError
from ...engine.files.run_directory import RunDirectory
from ..markup import quoted
from ..riders import FILE
from ..runs import Run, free_folder, runs_of


def folder_named(run: str | None) -> Path | None:
    return Path(run).expanduser().resolve() if run is not None else None


def home() -> Path:
    return Path.home() / "CryoTRANS"


def stem(model: Any) -> str:
    """A map's name without what ends the names of files."""
    return re.sub(r"\.(mrc|map|ccp4|rec)(\.gz|\.bz2)?$", "", model.name, flags=re.IGNORECASE)


def file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("._") or "map"


def new_run_folder(session: Any, directory: str | None, name: str) -> Path:
    """The folder of a new run, made if it was not there.

    Raises:
        UserError: it holds a run, or cannot be made.
    """
    try:
        if directory is None:
            return free_folder(home() / file_name(name))
        folder = Path(directory).expanduser().resolve()
        known = runs_of(session).find(folder)
        if known is not None and known.is_active:
            raise UserError(f"Another run is being trained in {folder}. Give another directory.")
        RunDirectory(folder).check_free()
        if (folder / "maps").exists():
            raise UserError(f"{folder} holds a folder maps, which a run needs for itself. Give another directory.")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    except InputError as error:
        if folder.is_dir():
            advice = f"Go on with it, cryotrans resume {quoted(folder)}, or give another directory."
            raise UserError(f"{folder} holds a run already. {advice}") from error
        raise UserError(f"{folder} is a file. Give another directory.") from error
    except OSError as error:
        raise UserError(f"{error.filename} cannot be made: {error.strerror}. Give another directory.") from error


def new_frames_folder(directory: str | None, trained: Run | None, initial: Any) -> Path:
    """The folder of new frames, made if it was not there.

    Raises:
        UserError: it holds frames, or cannot be made.
    """
    try:
        if directory is None:
            if trained is not None:
                return free_folder(trained.folder / "frames")
            return free_folder(home() / (file_name(stem(initial)) + "_frames"))
        folder = Path(directory).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be made: {error.strerror}. Give another directory.") from error
    if any(folder.glob("frame_*.mrc")) or (folder / "initial.mrc").exists():
        raise UserError(f"{folder} holds frames already, or a map named initial.mrc. Give another directory.")
    if (folder / FILE).exists() or (folder / "frame_atoms.npz").exists():
        raise UserError(f"{folder} holds atoms already, {FILE} or frame_atoms.npz. Give another directory.")
    return folder
