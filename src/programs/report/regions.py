"""The section of the report on places that are doubtful by themselves, though the rest may be right."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...engine.carrying.model_file import Model
from ...engine.errors import InputError
from ...engine.files.run_directory import RunDirectory
from ...engine.judging.domain_table import Residues, labels_at, ranges_text
from ...engine.judging.measures import BELIEVED, CONFIDENCE_FILE
from ...engine.maps.mrc_file import read_map
from .contents import Run
from .domains import residues_of
from .page import escaped

_HEAD = ("Place, x, y, z (Å)", "Mass", "Confidence")


def regions_section(run: RunDirectory, told: Run, model: Model | None = None) -> str:
    """HTML of what run.json has of the confidence; nothing where it was not taken.

    Args:
        run: where confidence.mrc lies.
        told: the run, and the checkpoint that is shown.
        model: one that fits the initial map, to say which residues lie there.
    """
    confidence = told.content.get("confidence")
    if not confidence or confidence["step"] != told.row.step:
        return ""
    regions = confidence["regions"]
    text = (
        "Each place is believed as far as it fits where the flow takes it (as well as is usual in this run), keeps its "
        f"shape, and agrees with the witness; {CONFIDENCE_FILE} has it from 0 to 1. "
    )
    if not regions:
        return f"<section><h2>Confidence</h2><p>{text}No region of 1 % of the mass or more is doubtful.</p></section>"
    text += f"Below one half: {confidence['doubtful']:.0%} of the mass."
    residues = None if model is None else _residues_of(run, model, regions)
    rows = "".join(_row(region, number, residues) for number, region in enumerate(regions, 1))
    head = f'<th scope="col" style="text-align:left">{_HEAD[0]}</th>'
    head += "".join(f'<th scope="col">{words}</th>' for words in _HEAD[1:])
    table = f'<table class="measures"><tr>{head}</tr>{rows}</table>'
    return f"<section><h2>Confidence</h2><p>{text}</p>{table}</section>"


def _row(region: dict[str, Any], number: int, residues: Residues | None) -> str:
    place = "{:.1f}, {:.1f}, {:.1f}".format(*region["place"])
    if residues is not None:
        place += f"<small>{escaped(ranges_text(residues.ranges(number)) or 'no residues')}</small>"
    return f'<tr><th scope="row">{place}</th><td>{region["share"]:.1%}</td><td>{region["confidence"]:.2f}</td></tr>'


def _residues_of(run: RunDirectory, model: Model, regions: list[dict[str, Any]]) -> Residues | None:
    """Those in doubtful places, with the number of the nearest region."""
    try:
        confidence = read_map(run / CONFIDENCE_FILE)
    except InputError:
        return None
    voxels = (model.positions - np.array(confidence.origin)) / np.array(confidence.voxel_size)
    doubtful = labels_at(voxels, np.where((confidence.density > 0) & (confidence.density < BELIEVED), 1, 0)) > 0
    centres = np.array([region["place"][::-1] for region in regions])
    nearest = ((model.positions[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    return residues_of(model, np.where(doubtful, nearest + 1, 0))
