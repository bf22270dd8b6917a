"""cryotrans runs and stop: which runs there are, and the end of one that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ..background import run_task
from ..job import CryoTransJob
from ..markup import link
from ..remote.looking import Looking
from ..remote.record import is_away
from ..runs import Run, known_runs
from ..runs_table import runs_table
from .fetch import fetch as fetch_run


def stop(session: Any, run: str | None = None) -> list[CryoTransJob]:
    """Have running jobs save, end, and open what there is."""
    jobs = _active_jobs(session)
    if run is not None:
        folder = Path(run).expanduser().resolve()
        jobs = [job for job in jobs if str(job.id) == run or job.folder == folder]
        if not jobs:
            raise UserError(f"No job of CryoTRANS has the number or the folder {run}. cryotrans runs lists them.")
    elif not jobs:
        raise UserError("No job of CryoTRANS is running.")
    for job in jobs:
        job.stop()
        session.logger.info(f"CryoTRANS {job.name}: finishes what it is at, saves and ends.")
    return jobs


def runs(session: Any, fetch: str | None = None, wait: bool | None = None) -> list[Run] | CryoTransJob:
    """List the runs of this session and the recent ones of this user; or fetch one from another machine."""
    if fetch is not None:
        return fetch_run(session, fetch, wait)
    _active_jobs(session)
    found = known_runs(session)
    if found:
        session.logger.info(runs_table(found), is_html=True)
        away = [run for run in found if not run.is_active and is_away(run.folder) is not None]
        if away:
            run_task(session, Looking(session, away), wait)
    else:
        session.logger.info(f"There are no runs yet. To try it: {link('cryotrans demo')}", is_html=True)
    return found


def _active_jobs(session: Any) -> list[CryoTransJob]:
    jobs = session.tasks.find_by_class(CryoTransJob)
    for job in jobs:
        job.process()
    return [job for job in jobs if not job.done]
