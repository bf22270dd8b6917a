"""Start and end of points -> one model of arrows that show where the density moves.

A finished run leaves motion.npz, with `start` and `end` (n, 3), x, y, z in Å, in the frame of its initial map.  Space
is divided into cubes, and each cube with points has one arrow, from the mean of their starts to the mean of their ends.
An arrow says how far and in which direction, not on which way.

ChimeraX makes cones and cylinders that lie along z, about the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from chimerax.core.errors import UserError
from chimerax.core.models import Surface
from chimerax.geometry import Place, translation, vector_rotation
from chimerax.surface import combine_geometry_vnt, cone_geometry, cylinder_geometry

from ..engine.files.array_file import read_arrays

SPACING = 6.0  # Å
SHORTEST = 0.5  # Å; shorter arrows are lost in the surface
_SHAFT, _HEAD, _HEAD_LENGTH = 0.07, 0.18, 0.4  # of the length, or of the spacing for longer arrows


def read_motion(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends, (n, 3) float64 each, x, y, z in Å.

    Raises:
        UserError: the file is damaged.
    """
    try:
        arrays = read_arrays(path)
        start, end = (arrays[key].astype(np.float64, casting="same_kind") for key in ("start", "end"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}. Train again, or resume the run by some steps.") from error
    if start.ndim != 2 or start.shape[1] != 3 or start.shape != end.shape or not np.isfinite([start, end]).all():
        raise UserError(f"{path} is damaged: two arrays of n points are wanted. Train again, or resume the run.")
    return start, end


def arrows_of(start: np.ndarray, end: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """One arrow for each cube with points: tails and tips, (m, 3), from (n, 3); lengths in Å."""
    cubes, of_point = np.unique(np.floor(start / spacing).astype(np.int64), axis=0, return_inverse=True)
    of_point = of_point.reshape(-1)  # numpy 2.0 had another shape
    counts = np.bincount(of_point, minlength=len(cubes))
    tails, tips = (
        np.stack([np.bincount(of_point, points[:, axis], len(cubes)) for axis in range(3)], axis=1) / counts[:, None]
        for points in (start, end)
    )
    return tails, tips


def draw_arrows(
    session: Any,
    name: str,
    tails: np.ndarray,
    tips: np.ndarray,
    place: Place,
    spacing: float,
    scale: float,
    color: Sequence[int],
) -> Surface:
    """Open one surface model of arrows; session files have it as it is.  Arguments and errors: see `arrows_model`."""
    model = arrows_model(session, name, tails, tips, place, spacing, scale, color)
    session.models.add([model])
    return model


def arrows_model(
    session: Any,
    name: str,
    tails: np.ndarray,
    tips: np.ndarray,
    place: Place,
    spacing: float,
    scale: float,
    color: Sequence[int],
) -> Surface:
    """Make one surface model of arrows, which is not yet open.

    Args:
        session: the ChimeraX session.
        name: of the model.
        tails, tips: (m, 3), x, y, z in Å, in the frame that `place` puts into the scene.
        place: position of the model.
        spacing: Å, from one arrow to the next; an arrow is no thicker for being longer than it.
        scale: by which arrows are lengthened, from their tails.
        color: r, g, b, a from 0 to 255.
    Raises:
        UserError: none is as long as half an Å.
    """
    motions = scale * (tips - tails)
    lengths = np.linalg.norm(motions, axis=1)
    parts = []
    for tail, motion, length in zip(tails, motions, lengths):
        if length >= SHORTEST:
            parts += _arrow(tail, motion, length, min(length, spacing))
    if not parts:
        longest = f"{lengths.max() / scale:.2g} Å at most" if len(lengths) else "nowhere"
        raise UserError(f"There is nothing to draw: it moves {longest}. Lengthen the arrows, as with scale 10.")
    model = Surface(name, session)
    model.SESSION_SAVE_DRAWING = True  # else ChimeraX takes it that something else makes it again
    model.set_geometry(*combine_geometry_vnt(parts))
    model.color = np.array(color, np.uint8)
    model.position = place
    return model


def _arrow(tail: np.ndarray, motion: np.ndarray, length: float, size: float) -> list[tuple[Any, Any, Any]]:
    """Vertices, normals and triangles of shaft and head, (n, 3) each."""
    head = _HEAD_LENGTH * size
    shaft = length - head
    pieces = [
        (cylinder_geometry(radius=_SHAFT * size, height=shaft, nc=12), shaft / 2),
        (cone_geometry(radius=_HEAD * size, height=head, nc=16), shaft + head / 2),
    ]
    turn = vector_rotation((0, 0, 1), motion / length)
    placed = []
    for (vertices, normals, triangles), height in pieces:
        position = translation(tail) * turn * translation((0, 0, height))
        placed.append((position.transform_points(vertices), position.transform_vectors(normals), triangles))
    return placed
