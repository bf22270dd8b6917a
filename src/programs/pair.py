"""The maps of a run, read and put on one grid, after all that can be said against them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engine.errors import InputError
from ..engine.maps.density_map import DensityMap
from ..engine.maps.grids import assume_grid_of, on_grid_of
from ..engine.maps.mrc_file import read_map
from ..engine.maps.preparation import above_level, suggested_level
from .progress import Reporter
from .provenance import digest

REQUIRED = ("initial_map", "initial_threshold", "target_map", "target_threshold", "directory", "n_steps", "period")
FLAGS = dict(zip(REQUIRED, ("-i0", "-t0", "-i1", "-t1", "-d", "-n", "-p")))


def read_pair(said: dict[str, Any], reporter: Reporter) -> tuple[DensityMap, DensityMap]:
    """Both maps on the initial's grid, after all that can be said against the options."""
    missing = [name for name in REQUIRED if name not in said]
    maps = {}
    for key in ("initial", "target"):
        if f"{key}_map" in said:
            maps[key] = read_map(said[f"{key}_map"])
        if f"{key}_threshold" in missing and key in maps:
            raise InputError(_no_level_text(maps[key], FLAGS[f"{key}_threshold"]))
    if missing:
        spoken = {name: name.replace("_", "-") for name in missing} | {"n_steps": "n_steps"}
        flags = ", ".join(f"{FLAGS[name]} (--{spoken[name]})" for name in missing)
        raise InputError(f"Missing: {flags}. cryotrans-train --help lists the options.")
    initial, target = maps["initial"], maps["target"]
    above_level(target, said["target_threshold"])  # its range is said of the map as it came
    initial = assume_grid_of(initial, target)
    target, resampled = on_grid_of(target, initial)
    for density_map in (initial, target):
        for note in density_map.notes:
            reporter.warning(note)
    if resampled:
        reporter.note(resampled)
        if not (target.density >= said["target_threshold"]).any() or not (target.density > 0).any():
            raise InputError(
                f"Nothing of {target.name} above level {said['target_threshold']:g} lies in the box of {initial.name}: "
                f"the maps do not overlap. Move one onto the other first, or mend the origin in its header."
            )
    return initial, target


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


def _no_level_text(density_map: DensityMap, flag: str) -> str:
    density, level = density_map.density, suggested_level(density_map)
    return (
        f"No level given for {density_map.name} ({flag}). Its values run from {density.min():.4g} to "
        f"{density.max():.4g}; {flag} {level:.3g} keeps its highest 1 %. Best is the contour level that you would show."
    )


def inputs_of(said: dict[str, Any]) -> list[tuple[str, str]]:
    """What each file is to a training that reads it, and the file."""
    targets = said.get("target_map", [])
    found = [
        ("the initial map (-i0)", said.get("initial_map")),
        *(("the target map (-i1)", path) for path in ([targets] if isinstance(targets, str) else targets)),
        ("the weights to start from (-w)", said.get("weight")),
        ("the validation map (--validation-map)", said.get("validation_map")),
    ]
    return [(what, path) for what, path in found if path is not None]


def map_of_run(key: str, content: dict[str, Any], said: dict[str, Any]) -> str:
    """Where the run's initial or target map is now."""
    flag, path = FLAGS[f"{key}_map"], said.get(f"{key}_map", content[key]["path"])
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}, the {key} map of the run. Say where it is now ({flag}).")
    if digest(path) != content[key]["sha256"]:
        raise InputError(
            f"{path} is not the {key} map that the run was begun with: its content is another. Give that one ({flag}), "
            f"or start a new run in another directory."
        )
    return path
