"""The maps of a run, read and put on one grid, after all that can be said against them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..engine.errors import InputError, named
from ..engine.files.run_directory import MASKS, RunDirectory
from ..engine.maps.density_map import DensityMap
from ..engine.maps.grids import assume_grid_of, on_grid_of, placed_on, sizes_text
from ..engine.maps.inspection import check_points, doubts_about
from ..engine.maps.mrc_file import read_map
from ..engine.maps.own_mask import mask_on_grid, mask_round, masked
from ..engine.maps.preparation import suggestion
from ..engine.maps.segments import Segments, check_density, segments_at, segments_of_map
from ..engine.options.training import TRAINING, TrainingOptions
from .progress import Reporter
from .provenance import digest

_MAPS_AND_LEVELS = ("initial_map", "initial_level", "target_map", "target_level")


class Pair(NamedTuple):
    """Both maps on the initial's grid, as they came, and the masks of the user's own there, where there are."""

    initial: DensityMap
    target: DensityMap
    masks: dict[str, DensityMap]  # by "initial" and "target"
    half_maps: tuple[DensityMap, DensityMap] | None = None  # of the target
    segments: Segments | None = None  # of the initial


def read_pair(said: dict[str, Any], reporter: Reporter, required: Sequence[str] = ()) -> Pair:
    """Both maps and their masks, after all that can be said against the options.

    Args:
        said: maps and levels, and whatever else was.
        required: options that must have been said too.
    """
    missing = [name for name in (*_MAPS_AND_LEVELS, *required) if said.get(name) is None]
    maps = {}
    for key in ("initial", "target"):
        if f"{key}_map" in said:
            maps[key] = read_map(said[f"{key}_map"])
        if f"{key}_level" in missing and key in maps:
            raise InputError(_no_level_text(maps[key], f"{key}_level"))
    if missing:
        raise InputError(missing_text(missing))
    initial, target = maps["initial"], maps["target"]
    levels = {"initial": said["initial_level"], "target": said["target_level"]}
    own = {key: read_mask(said[f"{key}_mask"], maps[key], f"{key}_mask") for key in maps if f"{key}_mask" in said}
    counting = dict(maps)  # what of them counts, on their own grids
    for key, mask in own.items():
        on_grid, _ = mask_on_grid(mask, maps[key], f"{key}_mask")
        for note in on_grid.notes:
            reporter.warning(note)
        counting[key], text = masked(maps[key], on_grid, levels[key], f"{key}_mask")
        reporter.note(text)
    doubts = [doubt for key in ("initial", "target") for doubt in doubts_about(counting[key], levels[key])]
    if said.get("recipe") == "auto":
        for key in ("initial", "target"):
            check_points(counting[key], levels[key])
    unsized = sizes_text(initial, target)
    initial = assume_grid_of(initial, target)
    target, resampled = on_grid_of(target, initial, levels["target"])
    for density_map in (initial, target):
        for note in density_map.notes:
            reporter.warning(note)
    for doubt in ([] if unsized is None else [unsized]) + doubts:
        reporter.warning(doubt)
    if resampled:
        reporter.note(resampled)
        if not (target.density >= said["target_level"]).any() or not (target.density > 0).any():
            raise InputError(
                f"Nothing of {target.name} is above level {said['target_level']:g} on the grid of {initial.name}, "
                f"whose coarser voxels average it away: the highest is {target.density.max():.3g}. Lower the level."
            )
    masks = {}
    for key, mask in own.items():
        masks[key], text = mask_on_grid(mask, initial, f"{key}_mask")
        if text:
            reporter.note(text)
    segments = read_segments(said["segments"], initial, levels["initial"]) if "segments" in said else None
    return Pair(initial, target, masks, _read_half_maps(said.get("half_maps", []), initial, reporter), segments)


def without_belt(pair: Pair, options: TrainingOptions, reporter: Reporter) -> Pair:
    """The pair with masks that leave out a belt of detergent or lipid, if both maps have one and no masks are given."""
    if options.conditioning != "auto" or pair.masks:
        return pair
    from ..engine.maps.belt import find_belt

    belt = find_belt(pair.initial, pair.target, (options.initial_level, options.target_level))
    if belt is None:
        return pair
    shares = " and ".join(f"{share:.0%} of {each.name}" for share, each in zip(belt.shares, pair[:2]))
    reporter.note(
        f"{shares} above the levels is smooth and lies still, as a belt of detergent or lipid does: it is left out, "
        f"of what is carried too ({named('conditioning')} off keeps it)."
    )
    masks = {key: pair.initial.with_density(mask) for key, mask in zip(("initial", "target"), belt.masks)}
    return pair._replace(masks=masks)


def _read_half_maps(
    paths: Sequence[str], initial: DensityMap, reporter: Reporter
) -> tuple[DensityMap, DensityMap] | None:
    """On the grid of the initial map."""
    half_maps = []
    for path in paths:
        placed, text = placed_on(read_map(path), initial)
        for note in placed.notes:
            reporter.warning(note)
        if text:
            reporter.note(text)
        half_maps.append(placed)
    return None if not half_maps else (half_maps[0], half_maps[1])


def read_mask(path: str, density_map: DensityMap, option: str) -> DensityMap:
    """A mask as it comes, or one made round the atoms of a model on the grid of the map that they fit."""
    from ..engine.carrying.model_file import SUFFIXES, read_model

    if not path.lower().removesuffix(".gz").endswith(SUFFIXES):
        return read_map(path)
    model = read_model(path)
    return mask_round(model.positions, density_map, model.name, option)


def read_segments(path: str, initial: DensityMap, level: float) -> Segments:
    """The segments of a map of labels, or the chains of a model that fits the initial map."""
    from ..engine.carrying.model_file import SUFFIXES, atom_names, read_model

    if not path.lower().removesuffix(".gz").endswith(SUFFIXES):
        labels = read_map(path)
        segments = segments_of_map(labels, initial)
        check_density(segments, initial, level, labels.name)
        return segments
    model = read_model(path)
    chains = [chain for chain, *_ in atom_names(model)]
    places = (model.positions - initial.origin) / initial.voxel_size
    segments = segments_at(places, np.array(chains), initial, model.name)
    check_density(segments, initial, level, model.name)
    return segments


def segments_of_run(content: dict[str, Any]) -> dict[str, str]:
    """Where the segments of a run are, as they were said; nothing if it has none."""
    kept = content.get("segments")
    if kept is None:
        return {}
    path = str(kept["path"])
    if not Path(path).is_file() or digest(path) != kept["sha256"]:
        raise InputError(
            f"{path}, the segments of the run, is gone or has another content. Put it back, or start a new run in "
            f"another directory."
        )
    return {"segments": path}


def read_validation(path: str | None, initial: DensityMap, reporter: Reporter) -> DensityMap | None:
    """Another map of the target's state, on the initial's grid."""
    if path is None:
        return None
    validation, resampled = on_grid_of(read_map(path), initial)
    for note in validation.notes:
        reporter.warning(note)
    if resampled:
        reporter.note(resampled)
    return validation


def missing_text(names: Sequence[str]) -> str:
    """What is said of options without which there is no run."""
    said = ", ".join(f"{named(name)} ({TRAINING[name].flags[-1]})" for name in names)
    return f"Missing: {said}. cryotrans-train --help lists the options."


def _no_level_text(density_map: DensityMap, option: str) -> str:
    density = density_map.density
    return (
        f"No level given for {density_map.name} ({named(option)}). Its values run from {density.min():.4g} to "
        f"{density.max():.4g}. {suggestion(density_map, named(option))} Best is the contour level that you would show."
    )


def inputs_of(said: dict[str, Any]) -> list[tuple[str, str]]:
    """What each file is to a training that reads it, and the file."""
    targets = said.get("target_map", [])
    found = [
        (f"the initial map ({named('initial_map')})", said.get("initial_map")),
        *(
            (f"the target map ({named('target_map')})", path)
            for path in ([targets] if isinstance(targets, str) else targets)
        ),
        (f"the weights to start from ({named('weight')})", said.get("weight")),
        (f"the validation map ({named('validation_map')})", said.get("validation_map")),
        (f"the initial map's mask ({named('initial_mask')})", said.get("initial_mask")),
        *((f"a half map ({named('half_maps')})", path) for path in said.get("half_maps", ())),
        (f"the target map's mask ({named('target_mask')})", said.get("target_mask")),
        (f"the segments ({named('segments')})", said.get("segments")),
    ]
    return [(what, path) for what, path in found if path is not None]


def mask_of_run(run: RunDirectory, key: str) -> Path:
    """Where the mask of a run is kept.

    Raises:
        InputError: it is gone.
    """
    path = run / MASKS[key]
    if not path.is_file():
        raise InputError(
            f"{path} is gone, the mask of the run's {key} map. Put it back beside the weights: what it masks would "
            f"not be what was trained on."
        )
    return path


def half_maps_of_run(content: dict[str, Any], said: dict[str, Any]) -> list[str]:
    """Where the half maps of a run's target are."""
    return [map_of_run("half", {"half": half}, {}) for half in content.get("half_maps", ())]


def map_of_run(key: str, content: dict[str, Any], said: dict[str, Any]) -> str:
    """Where the run's initial, target or validation map is now."""
    option = named(f"{key}_map")
    path = said.get(f"{key}_map", content[key]["path"])
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}, the {key} map of the run. Say where it is now ({option}).")
    if digest(path) != content[key]["sha256"]:
        raise InputError(
            f"{path} is not the {key} map that the run was begun with: its content is another. Give that one "
            f"({option}), or start a new run in another directory."
        )
    return path
