"""cryotrans domains: the parts that move as rigid bodies, in colours, as a table, with their axes."""

from __future__ import annotations

from typing import Any

from chimerax.core.errors import UserError

from ...engine.errors import InputError
from ..alone import show_alone
from ..coloring import drop_key, grid_of, map_path, place_of, shown_surfaces, subject_of
from ..domains import Domains, color_residues, color_zones, draw_axes, residues_of, structures_in
from ..domains_table import domains_table
from ..volumes import model_text
from .folders import folder_named
from .known_run import path_of_map


def domains(
    session: Any,
    maps: list[Any],
    model: Any = None,
    run: str | None = None,
    arrows: bool = True,
    palette: Any = None,
) -> list[dict[str, Any]]:
    """Color the initial map, and models in it, by rigid domains; returns what stands in the table, a dict a domain."""
    subject = subject_of(session, maps, "initial", folder_named(run))
    labels, table = (map_path(subject.run, name) for name in ("domains.mrc", "domains.json"))
    try:
        found = Domains.read(labels, table, subject.like, palette)
    except InputError as error:
        raise UserError(str(error)) from error
    structures = [model] if model is not None else structures_in(session, found)
    residues = [(structure, residues_of(structure, found)) for structure in structures]
    if model is not None and not residues[0][1].domains.any():
        raise UserError(
            f"No atom of {model_text(model)} lies in {model_text(subject.volume)}, as they are displayed. Fit it "
            f"first, as with fitmap #{model.id_string} inMap #{subject.volume.id_string}"
        )
    color_zones(shown_surfaces(session, subject.volume), found)
    show_alone(session, subject.run, subject.volume)
    drop_key(session)
    for structure, lying in residues:
        color_residues(session, structure, lying, found)
    if arrows:
        place = place_of(grid_of(path_of_map(subject.run, "initial")), subject.like)
        draw_axes(session, f"Screw axes of {subject.run.title()}", found, place)
    session.logger.info(domains_table(model_text(subject.volume), found, residues), is_html=True)
    return [
        {
            **row._asdict(),
            "color": found.color_text(row.domain),
            "residues": {structure.id_string: lying.ranges(row.domain) for structure, lying in residues},
        }
        for row in found.rows
    ]
