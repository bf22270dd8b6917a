"""Parts of a map that move as wholes, as `train … domains #5` names them: a map of labels, or the chains of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from chimerax.core.errors import UserError
from chimerax.map import Volume

from ..engine.errors import InputError
from ..engine.maps.density_map import DensityMap
from ..engine.maps.segments import check_density, check_labels, label_map, segments_at
from .masks import MapOrAtomsArg
from .volumes import density_map_of, index_to_scene, model_text
from .wording import in_keywords


class SegmentsArg(MapOrAtomsArg):
    """An open map of labels, or atoms."""

    name = "a map of whole numbers, or atoms, whose chains count"


def segments_on(given: Any, initial: Volume, initial_map: DensityMap, level: float) -> DensityMap:
    """The segments as a map of labels on the grid of the initial map, where both are displayed.

    Args:
        given: what `SegmentsArg` gave.
        initial: the model, then its map and level.
    Raises:
        UserError: there are fewer than two in its box, or the labels are no whole numbers.
    """
    try:
        if isinstance(given, Volume):
            values = density_map_of(given)
            check_labels(values.density, model_text(given))
            index = np.argwhere(np.rint(values.density) >= 1)
            scene = index_to_scene(given) * index[:, ::-1].astype(np.float64)
            labels, name = np.rint(values.density[tuple(index.T)]), model_text(given)
        else:
            scene = np.array(given.scene_coords, np.float64)
            structures = given.unique_structures
            labels = np.array([f"{s.id_string}/{c}" for s, c in zip(given.structures, given.residues.chain_ids)])
            name = ", ".join(model_text(structure) for structure in structures)
        places = (index_to_scene(initial).inverse() * scene)[:, ::-1]  # voxels
        segments = segments_at(places, labels, initial_map, name)
        check_density(segments, initial_map, level, name)
        return label_map(segments, initial_map)
    except InputError as error:
        raise UserError(in_keywords(error.marked)) from error
