"""cryotrans resume: a run that goes on from its last checkpoint."""

from __future__ import annotations

from typing import Any

from chimerax.core.errors import UserError

from ...engine.files.run_directory import FINAL_WEIGHTS
from ..job import CryoTransJob
from ..markup import quoted
from ..remote.record import record_in
from ..runs import Run, source_of
from ..volumes import open_map
from .beginning import begin, python_for
from .known_run import content_of, path_of_map, run_in


def resume(
    session: Any,
    folder: str,
    steps: int | None = None,
    frames: int | None = None,
    device: str | None = None,
    open: bool = True,
    wait: bool | None = None,
) -> CryoTransJob:
    """Go on with a run from its last checkpoint."""
    run = run_in(session, folder)
    if run.is_active:
        raise UserError(f"The run in {run.folder} is being trained now.")
    content = content_of(run)
    if "legs" in content and content["state"] == "finished":
        raise UserError(f"All legs of the run in {run.folder} are finished. For more steps, start a new run.")
    done, n_steps = content["step"], steps if steps is not None else content["n_steps"]
    settled = content["options"]["recipe"] == "auto" and content["state"] == "finished"  # never of several legs
    if settled and done != content["options"].get("n_steps"):
        raise UserError(
            f"The run in {run.folder} is finished: after {done} steps nothing improved any more. To go on with other "
            f"settings, start from its weights: cryotrans train … weights {quoted(run.folder / FINAL_WEIGHTS)}"
        )
    has_ended = content["state"] == "finished"  # else it was killed after its last step, and has only to be ended
    if (done > n_steps or (done == n_steps and has_ended)) and "legs" not in content:
        raise UserError(
            f"The run in {run.folder} has done its {done} steps. To go on beyond, give more: "
            f"cryotrans resume {quoted(run.folder)} steps {2 * done or 1}"
        )
    if device is None and (record := record_in(run.folder)) is not None:  # where it was trained before
        device = f"ssh:{record.machine}/{record.device}"
    python = python_for(session, device)
    run.forget_closed()
    run.initial = run.initial or _open_again(session, run, content, "initial")
    run.target = run.target or _open_again(session, run, content, "target")
    leg = f"leg {content['leg']}, " if "legs" in content else ""
    session.logger.info(f"CryoTRANS: going on with {run.title()} from {leg}step {done} of {n_steps}, in {run.folder}.")
    training = {"resume": True, "directory": run.folder, "n_steps": steps, "device": device}
    level = content["options"]["initial_level"]
    return begin(session, run, python, training, level, frames, device or content["device"]["asked"], open, wait)


def _open_again(session: Any, run: Run, content: dict[str, Any], key: str) -> Any:
    """The open model that the run's map was, else the run's map, opened and hidden."""
    from chimerax.map import Volume

    path = path_of_map(run, key)
    paths = {str(path), run.models().get(key, {}).get("path"), content[key]["path"]} - {None}
    for model in session.models.list(type=Volume):
        if source_of(model) in paths:
            return model
    if not path.is_file():
        raise UserError(f"The map {path} of this run is gone, so that it cannot be resumed. Start a new run.")
    model = open_map(session, path)
    model.name = run.models()[key]["name"]
    model.display = False
    return model
