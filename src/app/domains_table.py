"""The table of rigid domains in the Log."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from ..engine.judging.domain_table import DomainRow, Residues, fixed_text, ranges_text
from .domains import Domains
from .markup import link, table


def domains_table(name: str, found: Domains, residues: Sequence[tuple[Any, Residues]]) -> str:
    """HTML: for each domain colour, share, motion and misfit, and its residues in each structure.

    Args:
        name: the map, as messages name it.
        found: the domains.
        residues: structures that lie in the map, and their residues.
    """
    head = ["Domain", "Share", "Turn", "Shift along axis", "Axis", "Hinge", "Misfit"]
    for structure, _ in residues:
        of = f" of #{structure.id_string}" if len(residues) > 1 else ""
        head += [f"Residues{of}", f"Hinge residues{of}"]
    rows = [[*_cells(row, found.color_text(row.domain)), *_residue_cells(row, residues)] for row in found.rows]
    text = f"{html.escape(name)} is coloured by rigid domains. {html.escape(fixed_text(found.rows))}"
    return f"<p>{text}</p>{table(rows, head)}"


def _cells(row: DomainRow, color: str) -> list[str]:
    swatch = f'<span style="background-color:{color}">&nbsp;&nbsp;&nbsp;&nbsp;</span>'
    motion = [row.turn_text(), row.shift_text(), row.axis_text(), row.hinge_text()]
    if row.relative_to is None:
        motion = ["fixed", "–", "–", "–"]
    return [f"{swatch}&nbsp;{row.domain}", f"{row.share:.0%}", *motion, f"{row.misfit:.1f} Å"]


def _residue_cells(row: DomainRow, residues: Sequence[tuple[Any, Residues]]) -> list[str]:
    cells = []
    for structure, lying in residues:
        hinges = {} if row.relative_to is None else lying.hinges(row.domain)
        for ranges in (lying.ranges(row.domain), hinges):
            text = ranges_text(ranges)
            select = f"select #{structure.id_string}{text.replace(' ', '')}"
            cells.append(link(select, text) if text else "–")
    return cells
