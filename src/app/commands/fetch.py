"""cryotrans runs fetch: a run on another machine, found again: followed to its end, fetched and opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError
from chimerax.map import Volume

from ..background import run_task
from ..job import CryoTransJob, Frames
from ..remote.job import RemoteJob
from ..remote.machines import Remote
from ..remote.record import record_in
from ..runs import Run, runs_of, source_of
from ..volumes import open_map
from .beginning import first_device
from .known_run import run_in


def fetch(session: Any, folder: str, wait: bool | None = None) -> CryoTransJob:
    """Follow a run that another machine has, to its end, fetch it and open its trajectory."""
    run = run_in(session, folder)
    record = record_in(run.folder)
    if record is None:
        raise UserError(f"The run in {run.folder} is on no other machine, so that there is nothing to fetch.")
    if run.is_active:
        raise UserError(f"The run in {run.folder} is being followed now.")
    run.forget_closed()
    run.initial = run.initial or _open_again(session, run)
    remote = Remote(record.machine, record.device)
    wanted = Frames(
        initial_path=run.initial_path,
        cut=0.0,
        level=record.level,
        weights=None,
        options={"frames": record.frames, "device": first_device(record.device), "no_report": True},
        folder=None,
        name=f"CryoTRANS {run.title()}",
    )
    job = RemoteJob(session, run.title(), run, None, {}, wanted, remote=remote, found_again=True)
    run.task = job
    runs_of(session).add(session, run)
    session.logger.info(f"CryoTRANS: {run.title()} on {record.machine} is followed to its end, then fetched.")
    run_task(session, job, wait)
    return job


def _open_again(session: Any, run: Run) -> Any:
    """The open model that the run's initial map was, else that map, opened and hidden."""
    paths = {str(run.initial_path), run.models().get("initial", {}).get("path")} - {None}
    for model in session.models.list(type=Volume):
        if source_of(model) in paths:
            return model
    path: Path = run.initial_path
    if not path.is_file():
        raise UserError(f"The map {path} of this run is gone, so that its trajectory cannot be placed.")
    model = open_map(session, path)
    model.name = run.models().get("initial", {}).get("name", model.name)
    model.display = False
    return model
