"""cryotrans predict: the trajectory of a trained flow as a volume series."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ..background import run_task
from ..job import Frames
from ..masks import own_mask
from ..remote.machines import remote_in
from ..riders import FILE, Riders
from ..runs import Run, runs_of
from ..volumes import density_map_of, level_of, model_text, shown_level, suggested_level
from ..wording import cannot_be_written
from .beginning import first_device, job_on, python_for
from .folders import new_frames_folder
from .known_run import content_of, run_in


def predict(
    session: Any,
    initial: Any,
    run: str | None = None,
    weights: str | None = None,
    checkpoint: int | str | None = None,
    level: float | None = None,
    frames: int | None = None,
    times: list[float] | None = None,
    reverse: bool = False,
    integrator: str | None = None,
    substeps: int | None = None,
    relative_to: Any = None,
    model: Any = None,
    rigid: str | None = None,
    directory: str | None = None,
    name: str | None = None,
    device: str = "auto",
    wait: bool | None = None,
) -> Any:
    """Carry a map along a trained flow and open the frames; returns the series, or the job that will open it."""
    if run is not None and weights is not None:
        raise UserError("Give a run or weights, not both.")
    if checkpoint is not None and weights is not None:
        raise UserError("A checkpoint is one of a run: give a run with it, or weights alone.")
    if frames is not None and times is not None:
        raise UserError("Give a number of frames or their times, not both.")
    if rigid is not None and model is None:
        raise UserError(f"rigid {rigid} is for atoms: say which with model, as model #5.")
    if first_device(device) != device:
        raise UserError(f"A prediction is computed by one device, not by {device}. Name one.")
    trained = None if weights is not None else _run_for(session, initial, run)
    if trained is not None:
        content = content_of(trained)
        weights_path = _weights_of(trained, checkpoint)
        shown = content["options"]["initial_level"]
    else:
        assert weights is not None
        weights_path = Path(weights).expanduser().absolute()
        shown = level
    cut = 0.0 if level is None else level_of(initial, level, "level")
    if (now_shown := shown_level(initial)) is not None:
        shown = now_shown
    shown = suggested_level(initial) if shown is None else shown
    python = python_for(session, device)
    density_map = density_map_of(initial)
    riders = None
    if model is not None:
        riders = Riders(model, initial, rigid)
        riders.look_for_density(density_map, cut if trained is None else content["options"]["initial_level"], initial)
    part = None if relative_to is None else own_mask(relative_to, initial, density_map, shown, "relative_to")
    folder = new_frames_folder(directory, trained, initial)
    initial_path, atoms_path, part_path = folder / "initial.mrc", folder / FILE, folder / "still_part.mrc"
    maps = {initial_path: density_map, **({} if part is None else {part_path: part})}
    if riders is not None:
        try:
            riders.write(atoms_path)
        except OSError as error:
            atoms_path.unlink(missing_ok=True)
            raise UserError(cannot_be_written(folder, error)) from error
    if name is None:
        name = f"CryoTRANS {_way(initial, trained, reverse)}"
    remote = remote_in(device)
    wanted = Frames(
        initial_path=initial_path,
        cut=cut,
        level=shown,
        weights=weights_path,
        options={
            "frames": frames,
            "times": times,
            "reverse": reverse,
            "integrator": integrator,
            "substeps": substeps,
            "relative_to": part_path if part is not None else None,
            "device": device if remote is None else remote.device,
            "atoms": atoms_path if riders is not None else None,
        },
        folder=folder,
        name=name,
        riders=riders,
    )
    place = Run(folder, initial)
    if trained is not None:
        place = dataclasses.replace(trained, initial=initial, task=None, made=None)
    job = job_on(remote, session, _way(initial, trained, reverse), place, python, None, wanted, maps=maps)
    waited = run_task(session, job, wait)
    return job.series if waited else job


def _weights_of(trained: Run, checkpoint: int | str | None) -> Path:
    """
    Raises:
        UserError: there are none.
    """
    path = trained.weights(checkpoint)
    if path is not None:
        return path
    if checkpoint is not None and trained.weights() == trained.folder:
        raise UserError(
            f"The run in {trained.folder} has several legs, each of which begins where the best checkpoint of the one "
            f"before ends. Leave checkpoint {checkpoint} out."
        )
    last = trained.weights("last")
    if last is None:
        raise UserError(f"The run in {trained.folder} has no weights yet: it has not come to its first checkpoint.")
    if checkpoint == "best":
        raise UserError(f"{trained.folder} does not say which checkpoint is its best. Use checkpoint last.")
    kept = sorted(int(path.stem[4:]) for path in trained.folder.glob("net_*.pt") if path.stem[4:].isdigit())
    numbers = ", ".join(map(str, kept))
    raise UserError(f"The run in {trained.folder} has no checkpoint {checkpoint}. It has {numbers or 'only the last'}.")


def _run_for(session: Any, initial: Any, folder: str | None) -> Run:
    if folder is not None:
        return run_in(session, folder)
    found = runs_of(session).last_on(session, initial)
    if found is None:
        raise UserError(
            f"No run on {model_text(initial)} is known. Train one, cryotrans train #{initial.id_string} to …, or say "
            f"which: cryotrans predict #{initial.id_string} run FOLDER"
        )
    return found


def _way(initial: Any, trained: Run | None, reverse: bool) -> str:
    """ "A → B", "B → A", or "A" if it is not known where the flow leads."""
    names = trained.names_of_targets() if trained is not None else []
    if not names:
        return initial.name + (", reversed" if reverse else "")
    names = [initial.name, *names]
    return " → ".join(names[::-1] if reverse else names)
