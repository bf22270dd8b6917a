"""cryotrans batch: what became of many pairs that cryotrans-batch has run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chimerax.core.errors import UserError

from ...engine.errors import InputError
from ...engine.files.batch_folder import TABLE_FILE, Outcome, read_table
from ..batch_table import batch_table


def batch(session: Any, folder: str) -> list[Outcome]:
    """List what became of the pairs in a folder, the best verdicts first, with links that open them."""
    path = Path(folder).expanduser().resolve()
    try:
        outcomes = read_table(path / TABLE_FILE)
    except InputError as error:
        raise UserError(str(error)) from error
    session.logger.info(batch_table(path, outcomes), is_html=True)
    return outcomes
