"""cryotrans install: a Python that has PyTorch, on this machine or another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ..background import BackgroundTask, run_task
from ..installation import Installation
from ..remote.installation import RemoteInstallation


def install(
    session: Any,
    host: str | None = None,
    python: str | None = None,
    directory: str | None = None,
    source: str | None = None,
    wait: bool | None = None,
) -> BackgroundTask:
    """Take or make a Python that has PyTorch, here or on another machine, and try it."""
    if host is not None:
        return _on_host(session, host, python, directory, source, wait)
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


def _on_host(
    session: Any, host: str, python: str | None, directory: str | None, source: str | None, wait: bool | None
) -> RemoteInstallation:
    if directory is not None:
        raise UserError(f"On {host} the environment is made in ~/.cryotrans. Leave directory out.")
    if source is not None and "://" not in source:
        raise UserError(
            f"source {source} is of this machine. For {host} give the address of an index, or leave it out."
        )
    task = RemoteInstallation(session, host, python or "", source)
    run_task(session, task, wait)
    return task
