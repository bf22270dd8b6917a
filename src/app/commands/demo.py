"""cryotrans demo: two maps to try it on."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from chimerax.core.commands import run as run_command
from chimerax.core.errors import UserError

from ...engine.maps import demo_pair
from ...engine.maps.mrc_file import write_map
from ..markup import link, shortened
from ..volumes import open_map
from .folders import home

_INITIAL_COLOR, _TARGET_COLOR = "cornflowerblue", "sandybrown"


def demo(session: Any, directory: str | None = None) -> list[Any]:
    """Make and open two maps of a made-up molecule, and say what to type next."""
    folder = Path(directory).expanduser().absolute() if directory is not None else home() / "demo"
    pair = demo_pair.make_demo_pair()
    models = []
    for density_map, color in ((pair.initial, _INITIAL_COLOR), (pair.target, _TARGET_COLOR)):
        path = folder / density_map.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_map(path, density_map)
        except OSError as error:
            raise UserError(
                f"The folder {folder} cannot be written: {error.strerror}. "
                f"Give another: cryotrans demo directory FOLDER"
            ) from error
        model = open_map(session, path)
        style = f"volume #{model.id_string} style surface level {demo_pair.LEVEL} color {color}"
        run_command(session, style, log=False)
        models.append(model)
    initial, target = (f"#{model.id_string}" for model in models)
    train_link = link(f"cryotrans train {initial} to {target}")
    session.logger.info(
        f"The smaller domain of this made-up molecule turns by {demo_pair.HINGE_ANGLE:g} degrees from {initial} "
        f"({_INITIAL_COLOR}) to {target} ({_TARGET_COLOR}). Train the flow between them: {train_link}, some minutes "
        f"without a GPU. The trajectory opens by itself; play it with vseries play. Files are in "
        f"{html.escape(shortened(folder))}.",
        is_html=True,
    )
    return models
