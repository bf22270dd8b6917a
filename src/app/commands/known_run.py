"""A run that a command names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ...engine.errors import InputError
from ..markup import quoted
from ..remote.record import is_away
from ..runs import Run, runs_of
from ..wording import in_keywords


def run_in(session: Any, folder: str) -> Run:
    path = Path(folder).expanduser().resolve()
    return runs_of(session).find(path) or Run(path)


def content_of(run: Run) -> dict[str, Any]:
    """What run.json says.

    Raises:
        UserError: there is none, it is damaged, or on another machine still.
    """
    if (record := is_away(run.folder)) is not None:
        raise UserError(
            f"The run in {run.folder} is on {record.machine}, and its checkpoints come when it ends: cryotrans stop, "
            f"or cryotrans runs fetch {quoted(run.folder)}"
        )
    try:
        content = run.content()
    except InputError as error:
        raise UserError(in_keywords(error.marked)) from error
    if not content:
        raise UserError(f"{run.folder} holds no run that has begun. cryotrans runs lists the runs that are known.")
    return content


def path_of_map(run: Run, key: str) -> Path:
    """The run's map as the worker gets it; a run of the programs has it elsewhere."""
    own = run.initial_path if key == "initial" else run.target_path
    return own if own.is_file() else Path(run.content()[key]["path"])
