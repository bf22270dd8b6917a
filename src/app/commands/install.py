"""cryotrans install: a Python that has PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ..background import run_task
from ..installation import Installation


def install(
    session: Any,
    python: str | None = None,
    directory: str | None = None,
    source: str | None = None,
    wait: bool | None = None,
) -> Installation:
    """Take or make a Python that has PyTorch, and try it."""
    if source is not None and "://" not in source:
        folder = Path(source).expanduser().absolute()
        if not any(folder.glob("*.whl")):
            raise UserError(f"{folder} holds no wheels (*.whl). Name a folder of wheels, or the address of an index.")
        source = str(folder)
    if python is not None and source is not None:
        raise UserError("A python that is there needs no source of packages. Leave one of the two out.")
    if python is not None and directory is not None:
        raise UserError("Give a python to use, or a directory to make one in, not both.")
    if any(not task.done for task in session.tasks.find_by_class(Installation)):
        raise UserError("An installation is running already.")
    task = Installation(
        session,
        Path(python).expanduser().absolute() if python is not None else None,
        Path(directory).expanduser() if directory is not None else None,
        source,
    )
    run_task(session, task, wait)
    return task
