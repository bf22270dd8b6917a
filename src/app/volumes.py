"""Volume <-> DensityMap: axis order, spacing, origin, placement, contour level.

ChimeraX's models say x, y, z, the engine's maps z, y, x; they meet here and nowhere else.  A Volume has two frames: its
own, in which data.origin and data.step place the grid, and the scene, where scene_position puts it.  Maps are compared
as they are displayed, in the scene, but at full resolution and extent, whatever region, step and style are shown.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
from chimerax.core.errors import UserError
from chimerax.geometry import Place
from chimerax.map import Volume
from chimerax.map_data import interpolate_volume_data

from ..engine.maps import preparation
from ..engine.maps.density_map import DensityMap
from ..engine.maps.grids import SAID_OUTSIDE, sizes_text
from ..engine.maps.inspection import hot_voxel
from ..engine.maps.preparation import above_level
from .wording import in_models

_PLACE_TOLERANCE = 0.05  # voxels; two places closer than this are one
_MOST_VOXELS = 1_000_000  # that are looked at, every n-th of more: a window must not wait
_ANGLE_TOLERANCE = 0.01  # degrees; shears a box of 300 voxels by 0.05 voxel


def open_map(session: Any, path: Path) -> Any:
    """Open a map; the command `open` loses what follows a semicolon in a path that has no blank."""
    [model], _ = session.open_command.open_data(str(path))
    session.models.add([model])
    return model


def density_map_of(volume: Volume) -> DensityMap:
    """The data of a model on its own grid, whatever part of them is shown.

    The array is ChimeraX's own where that is float32: not for writing into.  A rotation inside the data (the MRC label
    "Chimera rotation") is left out, as the grid is what counts here; index_to_scene has it.

    Raises:
        UserError: the axes of the grid are not at right angles.
    """
    angles = volume.data.cell_angles
    if any(abs(angle - 90) > _ANGLE_TOLERANCE for angle in angles):
        alpha, beta, gamma = angles
        raise UserError(
            f"{model_text(volume)} has cell angles of {alpha:.5g}, {beta:.5g}, {gamma:.5g} degrees; all must be 90. "
            f"Put it on the grid of a map that has right angles first: volume resample #{volume.id_string} onGrid MAP"
        )
    return _on_grid_of(volume, volume.full_matrix(), volume.name)


def density_map_on(target: Volume, initial: Volume) -> DensityMap:
    """The target's data on the grid of `initial`, both where they are displayed in the scene; zero outside the target.

    Trilinear interpolation by ChimeraX, plane by plane to save memory.  Where voxels of the same index lie within 0.05
    voxel of each other in the scene, the data are taken as they are.

    Args:
        target: the map to interpolate; its grid may be of any kind.
        initial: the map whose grid is wanted.
    Returns:
        (nz, ny, nx) of `initial`, with its voxel size and origin and the name of `target`.
    Raises:
        UserError: no density of the target lies in the box of `initial`, or the axes of `initial` are not at right
            angles.
    """
    nz, ny, nx = density_map_of(initial).grid_shape
    if _share_a_grid(target, initial):
        return _on_grid_of(initial, target.full_matrix(), target.name)
    # Volume.interpolate_on_grid and volume resample pass over the positions of parent models.
    to_target = index_to_scene(target).inverse() * index_to_scene(initial)
    matrix = target.full_matrix()
    plane = np.zeros((ny, nx, 3), dtype=np.float32)  # x, y, z of its voxels
    plane[..., 1], plane[..., 0] = np.indices((ny, nx))
    density = np.empty((nz, ny, nx), dtype=np.float32)
    for z in range(nz):
        plane[..., 2] = z
        values, _ = interpolate_volume_data(plane.reshape(-1, 3), to_target, matrix, "linear")
        density[z] = values.reshape(ny, nx)
    if not density.any():
        raise UserError(
            f"{model_text(target)} has no density in the box of {model_text(initial)}, as they are displayed. Move one "
            f"onto the other first, with the mouse or “move”; fitmap #{target.id_string} inMap #{initial.id_string} "
            f"does the rest. If a header places it wrongly: volume #{target.id_string} origin X,Y,Z"
        )
    return _on_grid_of(initial, density, target.name)


def doubts_before(initial: Volume, target: Volume, on_grid: DensityMap, level: float) -> list[str]:
    """What speaks against a target and is no longer to be seen once it is on the initial's grid.

    Args:
        on_grid: the target there, whose own doubts the worker tells.
        level: of the target, map units.
    """
    if _share_a_grid(target, initial):
        return []
    models = {"initial.mrc": initial, "target.mrc": target}
    maps = [_on_grid_of(model, model.full_matrix(), file) for file, model in models.items()]
    unsized = sizes_text(maps[0], maps[1])
    found = [] if unsized is None else [in_models(unsized, models)]
    if not any(hot_voxel(on_grid, above_level(on_grid, level))):  # interpolation shares it out among eight
        hot = hot_voxel(maps[1], above_level(maps[1], level))
        found += [in_models(text, {"target.mrc": target}) for text in hot]
    share = _share_outside(target, initial, level)
    if share > SAID_OUTSIDE:
        found.append(
            f"{share:.0%} of the density above {level:.4g} of {model_text(target)} lies outside the box of "
            f"{model_text(initial)} and is left out. Use a larger box, or move one onto the other first (type: fitmap "
            f"#{target.id_string} inMap #{initial.id_string})."
        )
    return found


def _share_outside(target: Volume, initial: Volume, level: float) -> float:
    """What share of the target's mass above the level lies outside the initial's box, as displayed; 0 to 1."""
    matrix = target.full_matrix()  # (nz, ny, nx)
    kept = np.flatnonzero((matrix >= level) & (matrix > 0))
    kept = kept[:: 1 + len(kept) // _MOST_VOXELS]
    voxels = np.stack(np.unravel_index(kept, matrix.shape)[::-1], axis=1).astype(np.float64)  # (n, 3) x, y, z
    places = (index_to_scene(initial).inverse() * index_to_scene(target)) * voxels
    outside = ((places < -0.5) | (places > np.array(initial.data.size) - 0.5)).any(axis=1)
    mass = matrix.ravel()[kept].astype(np.float64)
    return float(mass[outside].sum() / mass.sum()) if mass.any() else 0.0


def shown_level(volume: Volume) -> float | None:
    """The lowest level of the surfaces shown, in map units; None in image style or where no surface has been made.

    Of a hidden model that of the surfaces which it had: "hide #1 models" hides them one by one.
    """
    surfaces = [surface for surface in volume.surfaces if surface.display or not volume.display]
    return min((float(surface.level) for surface in surfaces), default=None)


def suggested_level(volume: Volume) -> float:
    """A level that keeps the highest hundredth of the voxels, in map units."""
    return preparation.suggested_level(_on_grid_of(volume, volume.full_matrix(), volume.name))


def check_level(volume: Volume, level: float | None, keyword: str) -> None:
    """Refuse a level that a training cannot start from.

    Args:
        volume: the map that the level is for.
        level: map units; None where the user gave none and no surface is shown.
        keyword: what the user types before it, "level" or "toLevel".
    Raises:
        UserError: the map is not finite everywhere, there is no level, it is negative or not a number, or nothing
            reaches it.
    """
    matrix = volume.full_matrix()
    low, high = float(matrix.min()), float(matrix.max())
    if not math.isfinite(low + high):  # what is no number shows in both
        n_bad = matrix.size - int(np.count_nonzero(np.isfinite(matrix)))
        raise UserError(
            f"{model_text(volume)} must be finite everywhere: {n_bad:,} of {matrix.size:,} voxels are NaN or infinite. "
            f"Set them to zero, or make the map again."
        )
    span = f"{model_text(volume)} has values from {low:.4g} to {high:.4g}"
    if not high > 0:
        raise UserError(f"{span}: there is no density above zero to move. Is it the right map?")
    if level is not None and 0 <= level <= high:
        return
    remedy = f"Add {keyword} with the contour level that you would show; {keyword} {suggested_level(volume):.3g} keeps"
    remedy += " the highest 1 % of its voxels."
    if level is None:
        raise UserError(f"{model_text(volume)} shows no surface whose level could be taken. {span}. {remedy}")
    if level > high:
        raise UserError(f"Level {level:g} keeps nothing: {span}. {remedy}")
    raise UserError(f"Level {level:g} cannot be used: only density above zero can be moved, and {span}. {remedy}")


def model_text(volume: Volume) -> str:
    """A model as messages name it, "#1.2 name"."""
    return f"#{volume.id_string} {volume.name}"


def index_to_scene(volume: Volume) -> Place:
    """What takes a voxel's index (x, y, z) to its place in the scene (x, y, z), Å."""
    return volume.scene_position * volume.data.ijk_to_xyz_transform


def _share_a_grid(a: Volume, b: Volume) -> bool:
    """Whether voxels of the same index lie at the same place in the scene: then the corners of the boxes do."""
    if tuple(a.data.size) != tuple(b.data.size):
        return False
    last = np.array(a.data.size) - 1
    corners = np.array(list(np.ndindex(2, 2, 2))) * last  # (8, 3) x, y, z
    moved = (index_to_scene(b).inverse() * index_to_scene(a)) * corners.astype(np.float64)
    return bool(np.abs(moved - corners).max() <= _PLACE_TOLERANCE)


def _on_grid_of(volume: Volume, density: np.ndarray, name: str) -> DensityMap:
    z, y, x = range(2, -1, -1)
    size, origin = volume.data.step, volume.data.origin  # x, y, z
    return DensityMap(
        cast("np.ndarray", density.astype(np.float32, copy=False)),  # (nz, ny, nx)
        voxel_size=(float(size[z]), float(size[y]), float(size[x])),
        header_origin=(float(origin[z]), float(origin[y]), float(origin[x])),
        name=name,
    )


def level_of(volume: Volume, level: float | None, keyword: str) -> float:
    """The level that was given, else the one shown.

    Raises:
        UserError: none is shown, or it keeps nothing.
    """
    if level is None:
        level = shown_level(volume)
    check_level(volume, level, keyword)
    assert level is not None
    return level
