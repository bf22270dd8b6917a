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
    head = ["Domain", "Motion"]
    for structure, _ in residues:
        head.append(f"Residues of #{structure.id_string}" if len(residues) > 1 else "Residues")
    rows = [[*_cells(row, found.color_text(row.domain)), *_residue_cells(row, residues)] for row in found.rows]
    text = f"{html.escape(name)} is coloured by rigid domains. {html.escape(fixed_text(found.rows))}"
    return f"<p>{text}</p>{table(rows, head)}"


def _cells(row: DomainRow, color: str) -> list[str]:
    """Few and narrow: the Log is no wider than a panel."""
    swatch = f'<span style="background-color:{color}">&nbsp;&nbsp;&nbsp;&nbsp;</span>'
    motion = "fixed"
    if row.relative_to is not None:
        motion = f"turns by {row.turn_text()}, shifts by {row.shift_text()} along ({row.axis_text()})"
        motion += "" if row.hinge is None else f", hinge at ({row.hinge_text()})"
    return [f"{swatch}&nbsp;{row.domain}<br>{row.share:.0%}", f"{motion}<br>misfit {row.misfit:.1f} Å"]


def _residue_cells(row: DomainRow, residues: Sequence[tuple[Any, Residues]]) -> list[str]:
    """Of each structure the residues in the domain, and those of its hinge below."""
    cells = []
    for structure, lying in residues:
        hinges = {} if row.relative_to is None else lying.hinges(row.domain)
        parts = []
        for word, ranges in (("", lying.ranges(row.domain)), ("hinge ", hinges)):
            if text := ranges_text(ranges):
                select = f"select #{structure.id_string}{text.replace(' ', '')}"
                parts.append(word + link(select, text))
        cells.append("<br>".join(parts) or "–")
    return cells
