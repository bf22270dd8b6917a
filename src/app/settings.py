"""What this user's ChimeraX remembers from one session to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core import configfile
from chimerax.core.settings import Settings

_N_RECENT = 30


class _UserSettings(Settings):
    AUTO_SAVE = {  # noqa: RUF012 - ChimeraX's way of declaring settings
        "python": "",  # path of the Python that runs the engine, if the user or `cryotrans install` chose one
        "machines": {},  # others to compute on, as ssh calls them, and the Python there; "" for an environment of ours
        "recent_runs": [],  # folders, the latest first
    }


def user_settings(session: Any) -> _UserSettings:
    """The settings as they are on disk now, where another ChimeraX may have changed them."""
    return _UserSettings(session, "CryoTRANS")


def remember_run(session: Any, folder: Path) -> None:
    """Put a run's folder at the head of the recent ones."""
    if configfile.only_use_defaults:
        return
    settings = user_settings(session)
    others = [other for other in settings.recent_runs if other != str(folder)]
    settings.recent_runs = [str(folder), *others][:_N_RECENT]


def forget_run(session: Any, folder: Path) -> None:
    """Take a run's folder out of the recent ones."""
    settings = user_settings(session)
    if str(folder) in settings.recent_runs:
        settings.recent_runs = [other for other in settings.recent_runs if other != str(folder)]
