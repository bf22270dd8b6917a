"""What train and resume have in common: the job that trains and then opens the trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...engine.maps.density_map import DensityMap
from ..background import run_task
from ..job import CryoTransJob, Frames
from ..runs import Run, runs_of
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
    wanted = Frames(
        initial_path=run.initial_path if maps else path_of_map(run, "initial"),
        cut=0.0,  # all there is, so that surfaces are as smooth as those of the initial map
        level=level,
        weights=None,
        options={"frames": n_frames, "device": device, "no_report": True},
        folder=None,
        name=f"CryoTRANS {run.title()}",
    )
    job = CryoTransJob(session, run.title(), run, python, training, wanted, opens, maps)
    run.task = job
    runs_of(session).add(session, run)
    run_task(session, job, wait)
    return job
