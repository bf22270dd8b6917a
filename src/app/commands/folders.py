"""Folders that commands make, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chimerax.core.errors import UserError

from ...engine.files.run_directory import RunDirectory
from ...engine.maps.density_map import DensityMap
from ..markup import quoted
from ..places import free_folder, remove_empty
from ..riders import FILE
from ..runs import Run, runs_of
from ..wording import cannot_be_written


def folder_named(run: str | None) -> Path | None:
    return Path(run).expanduser().resolve() if run is not None else None


def home() -> Path:
    return Path.home() / "CryoTRANS"


def stem(model: Any) -> str:
    """A map's name without what ends the names of files."""
    return re.sub(r"\.(mrc|map|ccp4|rec)(\.gz|\.bz2)?$", "", model.name, flags=re.IGNORECASE)


def file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).strip("._") or "map"


def new_run(session: Any, directory: str | None, name: str, initial: Any, targets: Sequence[Any]) -> Run:
    """A new run in a folder, which is made if it was not there.

    Raises:
        UserError: it holds a run or files that a run would replace, or cannot be made.
    """
    folder = Path(directory).expanduser().resolve() if directory is not None else home()
    made = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    try:
        if directory is None:
            folder = free_folder(folder / file_name(name))
            made.append(folder)
        else:
            _check_free(session, folder)
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(made)
        raise UserError(f"{error.filename} cannot be made: {error.strerror}. Give another directory.") from error
    return Run(folder, initial, targets[-1], list(targets[:-1]), made=made)


def _check_free(session: Any, folder: Path) -> None:
    known = runs_of(session).find(folder)
    if known is not None and known.is_active:
        raise UserError(f"Another run is being trained in {folder}. Give another directory.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Give another directory.")
    if RunDirectory(folder).holds_run():
        advice = f"Go on with it, cryotrans resume {quoted(folder)}, or give another directory."
        raise UserError(f"{folder} holds a run already. {advice}")
    if others := RunDirectory(folder).in_the_way():
        raise UserError(
            f"{folder} holds {others[0].relative_to(folder)}, which a new run would replace. Move it away, or give "
            f"another directory."
        )
    if (folder / "maps").exists():
        raise UserError(f"{folder} holds a folder maps, which a run needs for itself. Give another directory.")


def maps_of_run(
    run: Run,
    initial: DensityMap,
    targets: Sequence[DensityMap],
    validation: DensityMap | None = None,
    masks: Mapping[str, DensityMap] = MappingProxyType({}),
    half_maps: Sequence[DensityMap] = (),
    segments: DensityMap | None = None,
) -> dict[Path, DensityMap]:
    """The maps of a new run for the worker, by the files that they are to go to, whose folder is made.

    Args:
        masks: of the user's own.
        half_maps: of the target.
        segments: of the user's own.
    Raises:
        UserError: the folder cannot be written; then nothing is left of the run.
    """
    try:
        run.initial_path.parent.mkdir(exist_ok=True)
        run.write_models()
    except OSError as error:
        run.take_back()
        raise UserError(cannot_be_written(run.folder, error)) from error
    maps = {run.initial_path: initial, **dict(zip(run.target_paths(), targets))}
    if validation is not None:
        maps[run.validation_path] = validation
    maps |= {run.mask_path(key): mask for key, mask in masks.items()}
    maps |= dict(zip(run.half_map_paths(), half_maps))
    if segments is not None:
        maps[run.segments_path] = segments
    return maps


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
