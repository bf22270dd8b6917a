"""Masks of the user's own in commands: a map or atoms, as displayed, put on the grid of a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from chimerax.core.commands import Annotation, AnnotationError, ObjectsArg
from chimerax.core.errors import UserError
from chimerax.map import Volume

from ..engine.errors import InputError
from ..engine.maps.density_map import DensityMap
from ..engine.maps.own_mask import mask_on_grid, mask_round, masked
from .volumes import density_map_on, index_to_scene, model_text
from .wording import in_keywords


class MapOrAtomsArg(Annotation):
    """An open map, or atoms; what they are is for others to say."""

    @classmethod
    def parse(cls, text: str, session: Any) -> tuple[Any, str, str]:
        objects, used, rest = ObjectsArg.parse(text, session)
        volumes = [model for model in objects.models if isinstance(model, Volume)]
        if len(volumes) == 1 and len(objects.atoms) == 0:
            return volumes[0], used, rest
        if volumes or len(objects.atoms) == 0:
            raise AnnotationError(
                f"“{used}” names {len(volumes)} maps and {len(objects.atoms)} atoms; wanted is one map, or atoms"
            )
        return objects.atoms, used, rest


class MaskArg(MapOrAtomsArg):
    """An open mask, or atoms."""

    name = "a map from 0 to 1, or atoms"


def own_mask(mask: Any, initial: Volume, density_map: DensityMap, level: float, option: str) -> DensityMap:
    """A mask on the grid of the initial map, where both are displayed.

    Args:
        mask: what `MaskArg` gave.
        initial: the model whose grid is wanted.
        density_map: what is masked, on that grid.
        level: its contour level.
        option: which option the mask was given with.
    Raises:
        UserError: it is no mask, lies elsewhere, or leaves next to nothing of the map.
    """
    try:
        if isinstance(mask, Volume):
            on_grid = density_map_on(mask, initial)
            on_grid, _ = mask_on_grid(on_grid, on_grid, option)
        else:
            places = index_to_scene(initial).inverse() * np.array(mask.scene_coords, np.float64)  # voxels, x, y, z
            names = ", ".join(model_text(structure) for structure in mask.unique_structures)
            positions = places[:, ::-1] * density_map.voxel_size + density_map.origin
            on_grid = mask_round(positions, density_map, names, option)
        masked(density_map, on_grid, level, option)
    except InputError as error:
        raise UserError(in_keywords(error.marked)) from error
    return on_grid
