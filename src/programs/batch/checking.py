"""A table of pairs checked whole, before anything is started: all its faults at once, each with its line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...engine.errors import InputError, named, worded
from ...engine.files.batch_folder import folder_of_pair
from ...engine.files.run_directory import RunDirectory
from ...engine.maps.density_map import DensityMap
from ...engine.maps.inspection import check_points
from ...engine.maps.mrc_file import read_map
from ...engine.maps.preparation import above_level, suggestion
from ...engine.options.prediction import PredictionOptions
from ...engine.options.training import check_together, training_options
from ...engine.outlook import outlook_of
from ..arguments import ALTERNATIVES
from .columns import MEMORY, MINUTES, NAME, titled
from .pairs import Faults, Row, read_lines, row_of
from .run_of_pair import difference

_MOST_TOLD = 10
_OTHER_MAPS = ("validation_map", "half_maps")
_OTHER_FILES = ("weight", "initial_mask", "target_mask", "segments", "relative_to", "atoms")
_SPARE, _MORE_MEMORY, _MORE_TIME = 2.0, 1000, 5  # a cluster ends what takes more: twice the estimate, MB, minutes


class Resources(NamedTuple):
    """What a pair is expected to need, with room to spare."""

    memory: int  # MB
    minutes: int


class Checked(NamedTuple):
    rows: list[Row]
    resources: list[Resources]  # of each


def checked_table(table: Path, results: Path) -> Checked:
    """Read a table and look at all that it names.

    Args:
        table: the file.
        results: where the pairs' runs are or will be.
    Raises:
        InputError: it cannot be read; or all that is wrong with its lines, the first ten told.
    """
    faults = Faults([])
    rows = [row_of(line, cells, table.parent.absolute(), faults) for line, cells in read_lines(table)]
    for row in rows:
        _check_options(row, faults)
    _check_names(rows, faults)
    resources = _check_maps(rows, faults)
    _check_files(rows, faults)
    for row in rows:
        run = RunDirectory(folder_of_pair(results, row.name))
        if row.name and run.holds_run():
            different = "" if row.faulty else difference(run, row)
            if different:
                way_out = "give this line another name, or move that folder away"
                faults.add(row.line, f"{run.path} holds a run {different}: {way_out}.")
    if faults.found:
        raise InputError(_faults_text(table, sorted(set(faults.found))))
    return Checked(rows, resources)


def _faults_text(table: Path, found: list[tuple[int, str]]) -> str:
    lines = [f"  line {line}: {' '.join(text.split())}" for line, text in found[:_MOST_TOLD]]
    if len(found) > _MOST_TOLD:
        lines.append(f"  and {len(found) - _MOST_TOLD} more.")
    many = "one fault" if len(found) == 1 else f"{len(found)} faults"
    return "\n".join([f"{table} has {many}, and nothing was started:", *lines])


def _check_options(row: Row, faults: Faults) -> None:
    said = row.training
    needed = () if said.get("recipe") == "auto" else ("n_steps", "period")
    for name in filter(row.missing, ("initial_map", "target_map")):
        faults.add(row.line, f"{titled(name)} is missing.")
    for name in filter(row.missing, needed):
        faults.add(row.line, f"{titled(name)} is missing, which {titled('recipe')} {said.get('recipe')} needs.")
    for key in (MEMORY, MINUTES):
        if key in row.cells and not row.cells[key].isdecimal():
            faults.add(row.line, f"“{key}” must be a whole number, not {row.cells[key]!r}.")
    if row.faulty or any(map(row.missing, needed)):
        return
    try:
        check_together(said)
        training_options({"initial_level": 0.0, "target_level": 0.0, **said})
        PredictionOptions(**row.prediction)
        for one, other in ALTERNATIVES:
            if one in row.prediction and other in row.prediction:
                raise InputError(f"{named(one)} and {named(other)} cannot be used together: give one of the two.")
    except InputError as error:
        faults.add(row.line, error)


def _check_names(rows: Iterable[Row], faults: Faults) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(row.name.lower(), row)  # folders of some systems know no capitals
        if other is not row and row.name:
            faults.add(row.line, f"It has the name of line {other.line}, {row.name}: say another one in “{NAME}”.")


def _check_maps(rows: Iterable[Row], faults: Faults) -> list[Resources]:
    """Each map is read once, with all the levels that lines give it; what each pair will need."""
    rows = list(rows)
    uses: dict[str, list[tuple[Row, str]]] = {}
    for row in rows:
        for key in ("initial", "target"):
            if f"{key}_map" in row.training:
                uses.setdefault(row.training[f"{key}_map"], []).append((row, key))
        for name in _OTHER_MAPS:
            value = row.training.get(name, [])
            for path in [value] if isinstance(value, str) else value:
                uses.setdefault(path, []).append((row, ""))
    found: dict[int, Resources] = {}
    for path, users in uses.items():
        try:
            density_map = read_map(path)
        except InputError as error:
            for row, _ in users:
                faults.add(row.line, error)
            continue
        for row, key in users:
            if key:
                _check_level(row, key, density_map, faults, found)
    return [found.get(row.line, Resources(_MORE_MEMORY, _MORE_TIME)) for row in rows]


def _check_level(row: Row, key: str, density_map: DensityMap, faults: Faults, found: dict[int, Resources]) -> None:
    option = f"{key}_level"
    level = row.training.get(option)
    if level is None:
        if row.missing(option):
            faults.add(row.line, f"{titled(option)} is missing. {suggestion(density_map, titled(option))}")
        return
    try:
        kept = above_level(density_map, level)
        if row.training.get("recipe") == "auto" and f"{key}_mask" not in row.training:
            check_points(density_map, level)
    except InputError as error:
        faults.add(row.line, error)
        return
    if key == "initial":
        volume = float(np.prod(density_map.voxel_size))
        found[row.line] = _resources(row, int(np.count_nonzero(kept)), density_map.density.size, volume)


def _resources(row: Row, n_points: int, n_voxels: int, volume: float) -> Resources:
    outlook = outlook_of(n_points, n_voxels, n_points * volume)
    by_hand = row.training.get("recipe") != "auto"
    seconds = outlook.step * row.training.get("n_steps", 0) if by_hand else outlook.longest
    memory = _MORE_MEMORY + math.ceil(_SPARE * outlook.memory / 1e6)
    return Resources(memory, _MORE_TIME + math.ceil(_SPARE * seconds / 60))


def _check_files(rows: Iterable[Row], faults: Faults) -> None:
    """Other files are there, and models are such."""
    from ...engine.carrying.model_file import read_model

    models: dict[str, str] = {}
    for row in rows:
        said: dict[str, Any] = {**row.prediction, **row.training}
        for name in _OTHER_FILES:
            if name in said and not Path(said[name]).is_file():
                faults.add(row.line, f"There is no file {said[name]} ({titled(name)}): check its name and folder.")
        path = said.get("model")
        if path is not None:
            if path not in models:
                try:
                    read_model(path)
                    models[path] = ""
                except InputError as error:
                    models[path] = worded(error.marked, titled)
            if models[path]:
                faults.add(row.line, models[path])
