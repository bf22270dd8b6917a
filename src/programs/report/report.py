"""report.html: one file that says what a run did and whether its morph can be believed.

Everything is in the file, so that it can be mailed and opens anywhere: charts as SVG, pictures as PNG.  Whatever comes
from outside, such as file names, is escaped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.carrying.model_file import Model
from ...engine.errors import InputError
from ...engine.files.map_names import in_names
from ...engine.files.run_directory import FINAL_WEIGHTS, RunDirectory
from ...engine.files.writing import write_atomically
from ...engine.judging.tables import METRICS_FILE
from ...engine.judging.verdict import best_checkpoint
from ...engine.maps.density_map import DensityMap
from ...engine.maps.grids import assume_grid_of, on_grid_of
from ...engine.maps.mrc_file import read_map
from ..provenance import digest
from .contents import Motion, names_of_models, read_run
from .domains import domains_section
from .page import escaped, is_report, page
from .regions import regions_section
from .sections import (
    figures_section,
    list_section,
    motion_section,
    pictures_section,
    run_section,
    training_section,
    verdict_section,
)
from .witness import witness_section

REPORT_FILE = "report.html"
NO_MATPLOTLIB = (
    "No report is written: it needs matplotlib. Install it into the Python at work (pip install matplotlib)."
)


def write_report(
    path: Path,
    run: RunDirectory,
    initial: DensityMap,
    target: DensityMap,
    generated: NDArray[np.float32],
    step: int | None = None,
    motion: Motion | None = None,
    model: Model | None = None,
) -> str:
    """Write the report of a run, in the place of an earlier one.

    Read from the run's directory are run.json (of which `notes` and `warnings`, lists of sentences, may be missing),
    metrics.csv, fsc.csv and loss.log; of a run from ChimeraX also maps/models.json.

    Args:
        path: report.html.
        run: where it lies.
        initial, target: on one grid, as training had them.
        generated: (nz, ny, nx), the initial map carried to t = 1.
        step: of the checkpoint that `generated` is of; the best one by default.
        motion: of the same, for the histograms.
        model: an atomic model that fits the initial map, to say which residues the domains have.
    Returns:
        A sentence for the user: where the report is, or why there is none.
    Raises:
        OSError: it cannot be written.
    """
    try:
        import matplotlib  # noqa: F401 - an extra; who lacks it shall lack no more than the report
    except ImportError:
        return NO_MATPLOTLIB
    if path.exists() and not is_report(path):
        return f"No report is written: {path} is a file of another kind. Move it away."
    try:
        told = read_run(run, initial, step)
        levels = [float(told.content["options"][f"{key}_level"]) for key in ("initial", "target")]
    except (InputError, KeyError, TypeError, ValueError) as error:
        return f"No report is written: the files of the run in {run.path} do not say enough ({error})."
    blur = _blur(told.content, initial, target)
    sections = [
        verdict_section(told),
        regions_section(run, told, model),
        figures_section(told),
        pictures_section(initial, target, levels, generated, blur),
        training_section(told),
        motion_section(told, motion),
        witness_section(told, model),
        domains_section(run, model) if told.row is told.rows[best_checkpoint(told.rows)] else "",
        list_section("Warnings", told.texts("warnings")),
        run_section(told, blur),
    ]
    # File names may hold bytes that are not UTF-8: these are shown as escapes.
    names = {file: escaped(name) for file, name in names_of_models(run).items()}
    text = in_names(page(_title(told.content), sections), names)
    write_atomically(path, text.encode(errors="backslashreplace"))
    return f"Verdict: {told.verdict.word}. {told.verdict.reasons[0]} The report is {path}."


def report_of_prediction(
    directory: Path, weights: Path, initial: DensityMap, path: str, end: Path, model: Model | None = None
) -> str | None:
    """The same beside the frames of a prediction, where the weights lie in a run and the map is the run's initial map.

    Args:
        directory: of the frames.
        weights: the weight file.
        initial, path: the map that was carried, and its file.
        end: the frame at t = 1.
        model: that was carried along.
    Returns:
        A sentence for the user; None where there is nothing to report on.
    Raises:
        OSError: it cannot be written.
    """
    run = RunDirectory(weights.parent)
    if not (run / METRICS_FILE).is_file() or directory.samefile(run.path):
        return None
    try:
        content = run.read()
        described = content["target"]
        if content["initial"]["sha256"] != digest(path):
            return None
        if not Path(described["path"]).is_file() or described["sha256"] != digest(described["path"]):
            return f"No report is written: the target of the run is not in {described['path']} any more."
        names = {name: int(step) for step, name in content.get("checkpoints", {}).items()}
        target = read_map(described["path"])
        initial = assume_grid_of(initial, target)
        target, _ = on_grid_of(target, initial)
        step = content["step"] if weights.name == FINAL_WEIGHTS else names.get(weights.name)
        generated = read_map(end).density
    except (InputError, KeyError, TypeError, AttributeError, ValueError) as error:
        return f"No report is written: the files of the run in {run.path} do not say enough ({error})."
    return write_report(directory / REPORT_FILE, run, initial, target, generated, step, model=model)


def _blur(content: dict[str, Any], initial: DensityMap, target: DensityMap) -> float:
    """Å, of the initial map to be as coarse as the target; a run of an earlier version has not noted it."""
    for known in (content.get("relative_blur"), content["options"].get("blur")):
        if known is not None:
            return float(known)
    from ...engine.maps.relative_blur import estimate_blur

    return estimate_blur(initial.density, target.density, initial.voxel_size)


def _title(content: dict[str, Any]) -> str:
    names = [str((content.get(key) or {}).get("name", key)) for key in ("initial", "target")]
    return " → ".join(names)
