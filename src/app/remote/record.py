"""remote.json in the folder of a run: on which machine it is, and where there.

Written before anything is started there, so that a ChimeraX that comes later finds it.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...engine.files.writing import write_atomically
from .connection import MACHINE

FILE = "remote.json"


@dataclass
class Record:
    """What is known here of a run there.

    Attributes:
        machine: as ssh calls it.
        folder: of the run, there.
        works: the programs that were started, the latest last: names of folders in it.
        device: on which they compute, in the words of the programs.
        level: at which its trajectory is shown, map units.
        frames: how many are wanted, None for as many as by default.
        state: begun, or fetched when all is here.
    """

    machine: str
    folder: str
    works: list[str] = field(default_factory=list)
    device: str = "auto"
    level: float = 0.0
    frames: int | None = None
    state: str = "begun"

    def write(self, run: Path) -> None:
        write_atomically(run / FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())


def record_in(run: Path) -> Record | None:
    """Of the run in a folder; None if there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        record = Record(**json.loads((run / FILE).read_text(encoding="utf-8")))
        texts = (record.folder, *record.works)
        if re.fullmatch(MACHINE, record.machine) and all(isinstance(text, str) for text in texts):
            return record
    return None


def is_away(run: Path) -> Record | None:
    """The same, if what was done there has not been fetched."""
    record = record_in(run)
    return record if record is not None and record.state != "fetched" else None
