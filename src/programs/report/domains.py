"""The section of the report on rigid domains: what turns against what, in words and in a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...engine.carrying.model_file import Model, atom_names
from ...engine.errors import InputError
from ...engine.files.run_directory import RunDirectory
from ...engine.judging.domain_table import (
    DOMAINS_FILE,
    LABELS_FILE,
    WATERS,
    DomainRow,
    Residues,
    color_of,
    fixed_text,
    labels_at,
    ranges_text,
    read_rows,
    residues_in,
)
from ...engine.maps.bounding_box import bounding_box
from ...engine.maps.density_map import DensityMap
from ...engine.maps.mrc_file import read_map
from .page import escaped
from .pictures import MARGIN, surface_picture

_HEAD = ("Share", "Turn", "Shift along axis", "Axis", "Hinge", "Misfit")


def domains_section(run: RunDirectory, model: Model | None = None) -> str:
    """HTML of what training has left in domains.json and domains.mrc; nothing where there is none.

    Args:
        run: where they lie.
        model: one that fits the initial map, whose residues are to be listed.
    """
    try:
        rows = read_rows(run / DOMAINS_FILE)
        labels = read_map(run / LABELS_FILE)
    except InputError:
        return ""
    head = "".join(f'<th scope="col">{text}</th>' for text in _HEAD)
    residues = None if model is None else residues_of(model, _labels_of(model, labels))
    table = f'<table class="measures"><tr><td></td>{head}</tr>{"".join(_row(row, residues) for row in rows)}</table>'
    text = escaped(fixed_text(rows))
    said = (
        "Parts that the flow moves as rigid bodies, found by it alone. Turn and shift are about and along the axis of "
        "a screw, counter-clockwise to who looks against it (x, y, z). The hinge is where it passes the border of the "
        "two domains (x, y, z in Å), if it does. Misfit is how far "
        "the flow is from a rigid motion, rms: where it is large, the part bends or the flow is unsure."
    )
    return (
        f"<section><h2>Domains</h2><p>{text}</p>{table}{_pictures(labels, len(rows))}"
        f"<p><small>{said}</small></p></section>"
    )


def _row(row: DomainRow, residues: Residues | None) -> str:
    motion = [row.turn_text(), row.shift_text(), row.axis_text(), row.hinge_text()]
    if row.relative_to is None:
        motion = ["fixed", "–", "–", "–"]
    cells = [f"{row.share:.0%}", *motion, f"{row.misfit:.1f} Å"]
    swatch = f'<span class="swatch" style="background:{color_of(row.domain)}"></span>'
    shown = "".join(f"<td>{cell}</td>" for cell in cells)
    listed = ""
    if residues is not None:
        listed = ranges_text(residues.ranges(row.domain)) or "no residues"
        hinges = "" if row.relative_to is None else ranges_text(residues.hinges(row.domain))
        listed = f"<small>{escaped(listed)}{escaped(f'; hinge residues {hinges}') if hinges else ''}</small>"
    return f'<tr><th scope="row">{swatch}Domain {row.domain}{listed}</th>{shown}</tr>'


def _labels_of(model: Model, labels: DensityMap) -> NDArray[np.int64]:
    return labels_at((model.positions - np.array(labels.origin)) / np.array(labels.voxel_size), labels.density)


def residues_of(model: Model, labels: NDArray[np.int64]) -> Residues:
    """The residues of a model by the labels of its atoms, (n,), 0 for none; waters have none."""
    _, first, residue_of = np.unique(model.residue_of, return_index=True, return_inverse=True)
    chains, numbers = [str(name) for name in model.chains[first]], [int(number) for number in model.residues[first]]
    dry = [name not in WATERS for _, _, name, _, _ in atom_names(model)]
    return residues_in(labels * dry, residue_of.reshape(-1), chains, numbers)


def _pictures(labels: DensityMap, n: int) -> str:
    """The domains as seen against the three axes, each in its colour."""
    inside = labels.density > 0.5
    if not inside.any():
        return ""
    numbers = np.clip(np.rint(labels.density[bounding_box(inside, MARGIN)]), 0, n).astype(np.int64)
    heads = cells = ""
    for axis, name in enumerate("zyx"):
        sizes = [size for other, size in enumerate(labels.voxel_size) if other != axis]
        source = surface_picture(numbers, axis, [color_of(k) for k in range(1, n + 1)], sizes)
        heads += f'<span class="head">against {name}</span>'
        cells += f'<img alt="Domains, against {name}" src="{source}">'
    return f'<div class="pictures three">{heads}{cells}</div>'
