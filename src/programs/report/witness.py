"""The section of the report on pieces that were docked by themselves: where they doubt the flow, and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...engine.carrying.model_file import Model
from ...engine.judging.domain_table import Residues, ranges_text
from .contents import Run
from .domains import residues_of
from .page import escaped

_BALL = 12.0  # Å, radius of a piece
_HEAD = ("Place, x, y, z (Å)", "Mass", "Fits here", "Best fit", "That far away")


def witness_section(told: Run, model: Model | None = None) -> str:
    """HTML of what run.json has of the witness, those that doubt the flow one by one; nothing where it has not spoken.

    Args:
        told: the run, and the checkpoint that is shown.
        model: one that fits the initial map, to say which residues lie in the pieces.
    """
    witness = told.content.get("witness")
    if not witness or witness["step"] != told.row.step:
        return ""
    pieces = witness["pieces"]
    doubtful = sorted((k for k, piece in enumerate(pieces) if piece["doubt"]), key=lambda k: -pieces[k]["share"])
    text = (
        f"{len(pieces)} pieces of the initial map, balls of {_BALL:g} Å, were docked into the target by themselves, "
        "over all turns and places. A piece is doubted if it fits ill where the flow takes it and far better "
        "elsewhere, or if it fits nowhere near. "
        f"The local correlation that is usual in this run is {witness['usual']:.2f}. "
    )
    if not doubtful:
        return _section(f"<p>{text}All of them fit where the flow takes them.</p>")
    text += f"Doubted: {len(doubtful)}, with {witness['doubted']:.0%} of the mass; witness.mrc shows them."
    residues = None if model is None else _residues_of(model, pieces)
    rows = "".join(_row(pieces[k], k + 1, residues) for k in doubtful)
    head = f'<th scope="col" style="text-align:left">{_HEAD[0]}</th>'  # over places, which stand on the left
    head += "".join(f'<th scope="col">{words}</th>' for words in _HEAD[1:])
    return _section(f'<p>{text}</p><table class="measures"><tr>{head}</tr>{rows}</table>')


def _section(content: str) -> str:
    return f"<section><h2>Witness</h2>{content}</section>"


def _row(piece: dict[str, Any], number: int, residues: Residues | None) -> str:
    place = "{:.1f}, {:.1f}, {:.1f}".format(*piece["place"])
    if residues is not None:
        place += f"<small>{escaped(ranges_text(residues.ranges(number)) or 'no residues')}</small>"
    there = [f"{piece['best']:.2f}", f"{piece['apart']:.1f} Å"]
    if piece["doubt"] != "elsewhere":  # another pose is no better, or no other place
        there = ["–", "–"]
    cells = "".join(f"<td>{cell}</td>" for cell in (f"{piece['share']:.1%}", f"{piece['fit']:.2f}", *there))
    return f'<tr><th scope="row">{place}</th>{cells}</tr>'


def _residues_of(model: Model, pieces: list[dict[str, Any]]) -> Residues:
    """Each with the nearest piece, numbered from 1, if it lies in its ball."""
    centres = np.array([piece["place"][::-1] for piece in pieces])
    squares = np.stack([((model.positions - centre) ** 2).sum(1) for centre in centres])
    return residues_of(model, np.where(squares.min(0) <= _BALL**2, squares.argmin(0) + 1, 0))
