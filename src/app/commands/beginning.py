"""What train and resume have in common: the job that trains and then opens the trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...engine.maps.density_map import DensityMap
from ..background import run_task
from ..job import CryoTransJob, Frames
from ..remote.job import RemoteJob
from ..remote.machines import Remote, remote_in
from ..runs import Run, runs_of
from ..worker_python import find_python
from .known_run import path_of_map


def begin(
    session: Any,
    run: Run,
    python: Path | None,
    training: dict[str, object],
    level: float,
    n_frames: int | None,
    device: str,
    opens: bool,
    wait: bool | None,
    maps: Mapping[Path, DensityMap] = MappingProxyType({}),
) -> CryoTransJob:
    """Start a job that trains.

    Args:
        device: of this machine, or another machine, see `remote_in`.
    """
    remote = remote_in(device)
    if remote is not None:
        device = remote.device
        training["device"] = device
    wanted = Frames(
        initial_path=run.initial_path if maps else path_of_map(run, "initial"),
        cut=0.0,  # all there is, so that surfaces are as smooth as those of the initial map
        level=level,
        weights=None,
        options={"frames": n_frames, "device": first_device(device), "no_report": True},
        folder=None,
        name=f"CryoTRANS {run.title()}",
    )
    job = job_on(remote, session, run.title(), run, python, training, wanted, opens, maps)
    run.task = job
    runs_of(session).add(session, run)
    run_task(session, job, wait)
    return job


def first_device(device: str) -> str:
    """Of several that train, as in cuda:0,1, the one that predicts."""
    return device.partition(",")[0]


def job_on(remote: Remote | None, *about: Any, **more: Any) -> CryoTransJob:
    """A job, as `CryoTransJob`, on another machine if one is given."""
    return CryoTransJob(*about, **more) if remote is None else RemoteJob(*about, remote=remote, **more)


def python_for(session: Any, device: str | None) -> Path | None:
    """The Python that is to compute, None where the job looks: a window must not wait for it.

    Raises:
        UserError: there is none.
    """
    return None if session.ui.is_gui or remote_in(device or "") is not None else find_python(session)
