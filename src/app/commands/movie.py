"""cryotrans movie: a volume series as a film."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ..markup import file_link, link, quoted
from ..movie import SECONDS, Rotation, record_movie
from ..volumes import model_text
from .folders import file_name


def movie(
    session: Any,
    series: list[Any],
    model: Any = None,
    file: str | None = None,
    rotate: Rotation | None = None,
    oscillate: bool = False,
    size: tuple[int, int] | None = None,
    seconds: float = SECONDS,
) -> str:
    """Record a volume series, with the commands that do it beside the movie."""
    if len(series) != 1:
        raise UserError(f"One volume series is wanted, as vseries play takes it, got {len(series)}.")
    [wanted] = series
    path = Path(file if file is not None else file_name(wanted.name) + ".mp4").expanduser().absolute()
    script = record_movie(session, wanted, path, model, rotate, oscillate, size, seconds)
    session.logger.info(
        f"Movie of {html.escape(model_text(wanted))}: {file_link(path)}. The commands that recorded it, to "
        f"change and to run again: {link(f'open {quoted(script)}')}",
        is_html=True,
    )
    return str(path)  # ChimeraX may be asked for it as JSON
