"""What became of a pair, from the files of its run."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.errors import InputError
from ...engine.files.array_file import read_arrays
from ...engine.files.batch_folder import FRAMES, RESULT_FILE, THUMBNAIL, Outcome
from ...engine.files.run_directory import RunDirectory
from ...engine.files.writing import write_atomically
from ...engine.judging.tables import METRICS_FILE, read_metrics
from ..report.report import REPORT_FILE
from .pairs import Row

_SHOWN = ("Initial", "Target", "Generated")
_PICTURE = re.compile(r'alt="(\w+), along z" src="data:image/png;base64,([^"]+)"')
_HEIGHT, _GAP = 64, 4  # pixels
_NUMBERS = ("correlation", "resolution", "distance", "motion", "model_motion", "steps", "seconds")


def figures_of(folder: Path) -> dict[str, Any]:
    """What the files of a run say of it; nothing of what they do not have.

    Args:
        folder: of the run.
    """
    figures: dict[str, Any] = {}
    try:
        content = RunDirectory(folder).read()
        rows = read_metrics(folder / METRICS_FILE)
        best = next(row for row in rows if row.step == content["best"]["step"])
        figures |= {"verdict": content["verdict"]["word"], "reasons": content["verdict"]["reasons"]}
        figures |= {"correlation": best.correlation, "resolution": best.resolution}
        figures |= {"distance": rows[0].transport_distance, "steps": content["step"], "seconds": content["seconds"]}
    except (InputError, KeyError, TypeError, StopIteration):
        return figures
    figures |= {"motion": _motion(folder / "motion.npz"), "model_motion": motion_of_model(folder / FRAMES)}
    return {name: value for name, value in figures.items() if not (isinstance(value, float) and math.isnan(value))}


def _motion(path: Path) -> float:
    """Å, root mean square over the points in the file; not a number where there is none."""
    try:
        arrays = read_arrays(path)
        return _rms(arrays["end"].astype(np.float64) - arrays["start"])
    except (OSError, ValueError, KeyError):
        return math.nan


def motion_of_model(frames: Path) -> float:
    """Å, from the first frame of the model to the last, root mean square over its atoms."""
    path = next((path for path in (frames / "frame_model.cif", frames / "frame_model.pdb") if path.is_file()), None)
    if path is None:
        return math.nan
    try:
        import gemmi

        structure = gemmi.read_structure(str(path), merge_chain_parts=False)
        first, last = (
            np.array([atom.atom.pos.tolist() for atom in structure[index].all()]) for index in (0, len(structure) - 1)
        )
        return _rms(last - first)
    except (ImportError, RuntimeError, ValueError, IndexError):
        return math.nan


def _rms(differences: NDArray[np.float64]) -> float:
    return float(np.sqrt((differences**2).sum(axis=1).mean())) if len(differences) else math.nan


def write_thumbnail(folder: Path) -> None:
    """Initial map, target and generated map beside each other, as the run's report shows them; none without a report.

    Raises:
        OSError: it cannot be written.
    """
    try:
        from matplotlib.image import imread, imsave

        found = dict(_PICTURE.findall((folder / REPORT_FILE).read_text(encoding="utf-8", errors="replace")))
        pictures = [_low(imread(io.BytesIO(base64.b64decode(found[name])), format="png")) for name in _SHOWN]
    except (ImportError, OSError, KeyError, ValueError, SyntaxError):
        return
    height = max(len(picture) for picture in pictures)
    strip = []
    for picture in pictures:
        filled = np.zeros((height, picture.shape[1] + _GAP, 3), picture.dtype)
        top = (height - len(picture)) // 2
        filled[top : top + len(picture), : picture.shape[1]] = picture[:, :, :3]
        strip.append(filled)
    file = io.BytesIO()
    imsave(file, np.hstack(strip)[:, :-_GAP].copy(), format="png")
    write_atomically(folder / THUMBNAIL, file.getvalue())


def _low(picture: NDArray[Any]) -> NDArray[Any]:
    """No higher than a thumbnail."""
    every = math.ceil(len(picture) / _HEIGHT)
    return picture[::every, ::every]


def outcome_of(row: Row, folder: Path) -> Outcome:
    """What became of a pair.

    Args:
        row: of the table that was checked.
        folder: of the pair.
    """
    maps = (str(row.training.get("initial_map", "")), str(row.training.get("target_map", "")))
    try:
        content = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        numbers = [float(content.get(name, math.nan)) for name in _NUMBERS]
        if content["state"] == "failed":
            return Outcome(row.name, "failed", str(content["said"]), *maps, *numbers)
        verdict = content.get("verdict", "not judged")
        return Outcome(row.name, verdict, " ".join(content.get("reasons", [])[:1]), *maps, *numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        said = f"It has not come to its end: see logs/{row.name}.log. Run cryotrans-batch again to go on."
        return Outcome(row.name, "not finished", said, *maps, *[math.nan] * len(_NUMBERS))
