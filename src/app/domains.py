"""Rigid domains of a run -> colours of surfaces and residues, and screw axes.

A finished run leaves domains.mrc, a label for each voxel of its initial map, and domains.json, their motions: see
engine/judging/domain_table.py.  Labels must not be interpolated, so that a surface is coloured as `color zone` does it:
each vertex as the nearest labelled voxel, again when the level is changed, and as session files have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from chimerax.atomic import AtomicStructure, Residue
from chimerax.core.models import Model
from chimerax.geometry import Place
from chimerax.map import Volume

from ..engine.judging.domain_table import WATERS, DomainRow, Residues, color_of, labels_at, read_rows, residues_in
from ..engine.maps.mrc_file import read_map
from .arrows import arrows_model
from .coloring import grid_of, place_of

ATTRIBUTE = "cryotrans_domain"
_AROUND = 2.0  # voxels from a labelled one within which a vertex has its colour
_FEWEST_INSIDE = 0.5  # of a structure's atoms, for it to be taken as lying in the map
_THICKNESS = 12.0  # Å, what arrows.py takes for spacing
_BEYOND = 8.0  # Å that an axis reaches out of its domain
_NO_TURN = 0.5  # degrees; below, the engine gives a shift in place of an axis


class Domains(NamedTuple):
    """What a run has found.

    Attributes:
        rows: of the table.
        labels: (nz, ny, nx), the number of the domain, 0 for none.
        to_scene: what takes a voxel's index (x, y, z) to the scene.
        spacing: Å, the longest side of a voxel.
        colors: (n, 4) uint8, of the domains.
    """

    rows: list[DomainRow]
    labels: np.ndarray
    to_scene: Place
    spacing: float
    colors: np.ndarray

    @classmethod
    def read(cls, labels: Path, table: Path, like: Volume, palette: Any = None) -> Domains:
        """Of the run's two files, in place on the model that lies as the initial map does.

        Raises:
            InputError: one is damaged.
        """
        rows = read_rows(table)
        numbers = np.rint(read_map(labels).density).clip(0, len(rows)).astype(np.int64)
        grid = grid_of(labels)
        to_scene = place_of(grid, like) * grid.ijk_to_xyz_transform
        return cls(rows, numbers, to_scene, float(max(grid.step)), _colors(len(rows), palette))

    def color_text(self, number: int) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.colors[number - 1][:3])

    def places_of(self, number: int | None = None) -> np.ndarray:
        """(n, 3), x, y, z, indices of the voxels of a domain, or of all."""
        return np.argwhere(self.labels > 0 if number is None else self.labels == number)[:, ::-1].astype(np.float64)


def color_zones(surfaces: Iterable[Any], found: Domains) -> None:
    """Give each vertex the colour of the nearest voxel that belongs to a domain."""
    from chimerax.surface.colorzone import color_zone

    voxels = found.places_of()
    colors = found.colors[found.labels[tuple(voxels[:, ::-1].astype(np.int64).T)] - 1]
    for surface in surfaces:
        points = (surface.scene_position.inverse() * found.to_scene).transform_points(voxels)
        color_zone(surface, points.astype(np.float32), colors, _AROUND * found.spacing)


def structures_in(session: Any, found: Domains) -> list[Any]:
    """The displayed structures that lie in the map, and do not move with a trajectory."""
    return [
        structure
        for structure in session.models.list(type=AtomicStructure)
        if structure.visible
        and structure.num_coordsets == 1
        and structure.num_atoms
        and (_labels_of(structure, found) > 0).mean() >= _FEWEST_INSIDE
    ]


def residues_of(structure: Any, found: Domains) -> Residues:
    """Which domain each residue lies in, in the structure's order of residues."""
    residues = structure.residues
    of_atom = residues.indices(structure.atoms.residues)
    chains = [str(name) for name in residues.chain_ids]
    numbers = [int(number) for number in residues.numbers]
    labels = np.where(np.isin(structure.atoms.residues.names, WATERS), 0, _labels_of(structure, found))
    return residues_in(labels, np.asarray(of_atom, np.int64), chains, numbers)


def color_residues(session: Any, structure: Any, lying: Residues, found: Domains) -> None:
    """Colour cartoons and atoms by domain, and note it in the residues' attribute."""
    Residue.register_attr(session, ATTRIBUTE, "CryoTRANS", attr_type=int)
    residues = structure.residues
    for residue, number in zip(residues, lying.domains.tolist()):
        setattr(residue, ATTRIBUTE, number)
    for row in found.rows:
        some = residues.filter(lying.domains == row.domain)
        some.ribbon_colors = found.colors[row.domain - 1]
        some.atoms.colors = found.colors[row.domain - 1]


def draw_axes(session: Any, name: str, found: Domains, place: Place) -> Any:
    """Open one model with an arrow for each domain that moves, in its colour; in the place of an earlier one.

    An axis points so that the turn is counter-clockwise to who looks against it.  It is as long as its domain, and
    lies where it passes the border, or else the domain.

    Args:
        place: position of the model; its frame is that of the table.
    """
    session.models.close([model for model in session.models.list(type=Model) if model.name == name])
    arrows = []
    for row in found.rows[1:]:
        axis, point = np.array(row.axis), np.array(row.point)
        if row.angle < _NO_TURN:
            tail, tip = np.array(row.centre), np.array(row.centre) + row.shift * axis
        else:
            # In the frame of the grid, as the table's: a domain's reach along the axis
            voxels = (place.inverse() * found.to_scene).transform_points(found.places_of(row.domain))
            along = (voxels - point) @ axis
            low, high = min(along.min(), 0.0) - _BEYOND, max(along.max(), 0.0) + _BEYOND
            tail, tip = point + low * axis, point + high * axis
        if np.linalg.norm(tip - tail) < 1:
            continue  # Å: it does not move, to speak of
        title = f"Domain {row.domain}: {row.turn_text()}, {row.shift_text()} along the axis"
        color = found.colors[row.domain - 1]
        arrows.append(arrows_model(session, title, tail[None], tip[None], Place(), _THICKNESS, 1.0, color))
    if not arrows:
        return None
    group = Model(name, session)
    group.position = place
    group.add(arrows)
    session.models.add([group])
    return group


def _labels_of(structure: Any, found: Domains) -> np.ndarray:
    """(n,), the domain that each atom lies in, 0 for none."""
    voxels = found.to_scene.inverse().transform_points(np.array(structure.atoms.scene_coords, np.float64))
    return labels_at(voxels[:, ::-1], found.labels)


def _colors(n: int, palette: Any) -> np.ndarray:
    if palette is None:
        texts = [color_of(number) for number in range(1, n + 1)]
        rgb = [[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in texts]
        return np.array([[*color, 255] for color in rgb], np.uint8)
    colors = np.rint(255 * np.asarray(palette.colors)).astype(np.uint8)
    return colors[np.arange(n) % len(colors)]
