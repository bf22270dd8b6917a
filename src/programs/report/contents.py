"""What the report is made of: the files of a run, and what follows from them."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import InputError, first_line
from ...engine.files.map_names import names_by_file
from ...engine.files.patterns import read_json
from ...engine.files.run_content import MODELS
from ...engine.files.run_directory import LOSS_FILE, RunDirectory
from ...engine.judging.measures import Measures
from ...engine.judging.tables import FSC_FILE, METRICS_FILE, read_fsc, read_metrics
from ...engine.judging.verdict import Verdict, best_checkpoint, verdict_on
from ...engine.judging.whole_motion import WholeMotion
from ...engine.maps.density_map import DensityMap


class Motion(NamedTuple):
    """What `Comparison` and what it measured say of each point."""

    weights: NDArray[np.float32]  # (n,)
    displacement: NDArray[np.float64]  # (n, 3), Å
    volume_change: NDArray[np.float64]  # (n,)
    whole: WholeMotion | None = None


class Run(NamedTuple):
    """What the files of a run say, and what follows from them."""

    content: dict[str, Any]
    rows: list[Measures]
    shown: int  # index of the checkpoint that is shown
    verdict: Verdict
    frequencies: NDArray[np.float64]
    curves: dict[int, NDArray[np.float64]]
    losses: list[float]

    @property
    def row(self) -> Measures:
        return self.rows[self.shown]

    @property
    def stages(self) -> list[tuple[int, str]]:
        """First step and name of each stage, as recipe auto notes them."""
        matches = (re.match(r"Step (\d+): (.+?)(, \d+ points)?\.$", note) for note in self.texts("notes"))
        return [(int(match[1]), match[2]) for match in matches if match]

    def texts(self, key: str) -> list[str]:
        return [str(text) for text in self.content.get(key) or []]


def names_of_models(run: RunDirectory) -> dict[str, str]:
    """What the user calls the maps, by the files that ChimeraX has made of them for a run; {} of a run from files."""
    for folder in (run.path, run.path.parent):  # a leg's run lies in that of all legs
        with contextlib.suppress(OSError, ValueError):
            return names_by_file(read_json(folder / "maps" / "models.json", MODELS))
    return {}


def read_losses(path: Path) -> list[float]:
    """What `RunDirectory.write_losses` wrote.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        return [float(line) for line in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}). Remove it, or train again.") from error


def read_run(run: RunDirectory, initial: DensityMap, step: int | None) -> Run:
    content, rows = run.read(), read_metrics(run / METRICS_FILE)
    if not rows:
        raise InputError(f"{METRICS_FILE} is empty")
    frequencies, curves = read_fsc(run / FSC_FILE)
    losses = read_losses(run / LOSS_FILE)
    steps = [row.step for row in rows]
    shown = steps.index(step) if step in steps else best_checkpoint(rows)
    verdict = verdict_on(
        rows,
        shown,
        initial.voxel_size,
        without_partner=content.get("without_partner") or [],
        witness=content.get("witness"),
        confidence=content.get("confidence"),
        ceiling=content.get("ceiling"),
        ended_early=bool(content.get("ended_early")) and shown == best_checkpoint(rows),
        has_settled=bool(content.get("has_settled")),
    )
    return Run(content, rows, shown, verdict, frequencies, dict(curves), losses)
