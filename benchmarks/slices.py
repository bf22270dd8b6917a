"""A picture of what is done to maps: the target as it came, as training sees it, and what the initial map becomes.

    python benchmarks/slices.py OUT.png RUN_FOLDER ...

Folders are those that verdicts.py keeps.  Each is a row: one section of the maps, where initial and target differ most.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.maps.mrc_file import read_map
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.programs.beginning import begin
from chimerax.cryotrans.programs.pair import read_pair, without_belt
from chimerax.cryotrans.programs.progress import Reporter

_HEADS = ("Initial map, as it came", "Target, as it came", "Target, as training sees it", "Initial map, carried")


class _Silent(Reporter):
    def _say(self, text: str) -> None:
        pass


def main() -> None:
    out, *folders = sys.argv[1:]
    rows = [_sections(Path(folder)) for folder in folders]
    height = sum(row[0].shape[0] / row[0].shape[1] for row in rows)
    figure = Figure(figsize=(7.2, 1.72 * height + 0.35))
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(rows), 4, squeeze=False, height_ratios=[row[0].shape[0] / row[0].shape[1] for row in rows]
    )
    for line, folder, row in zip(axes, folders, rows):
        for place, section in zip(line, row):
            high = float(np.percentile(section, 99.7))
            place.imshow(section, cmap="gray", vmin=0, vmax=high, interpolation="bicubic", origin="lower")
            place.set_xticks([])
            place.set_yticks([])
        line[0].set_ylabel(" ".join(Path(folder).name.split("_")[1:]), fontsize=8)
    for place, head in zip(axes[0], _HEADS):
        place.set_title(head, fontsize=8)
    figure.subplots_adjust(0.035, 0.005, 0.995, 1 - 0.25 / figure.get_figheight(), 0.02, 0.02)
    figure.savefig(out, dpi=110)


def _sections(folder: Path) -> list[np.ndarray]:
    content = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    options = TrainingOptions(**content["options"])
    said = {"initial_map": str(folder / "initial.mrc"), "target_map": str(folder / "target.mrc")}
    levels = {"initial_level": options.initial_level, "target_level": options.target_level}
    words = content["command"]
    levels = {key: float(words[words.index(flag) + 1]) for key, flag in zip(levels, ("-t0", "-t1"))}
    said |= levels
    options = TrainingOptions(**{**content["options"], **levels})
    reporter = _Silent()
    pair = without_belt(read_pair(said, reporter), options, reporter)
    _, compared = begin(pair, None, options, torch.device("cpu"), reporter)
    field = load_weights(folder / "run" / content["best"]["weights"])
    generated = compared.comparison.measure(field, 0, 0.0, 0.0).generated
    maps = [read_map(folder / f"{name}.mrc").density for name in ("initial", "target")]
    maps += [compared.target.density, generated]
    differ = np.abs(compared.initial.density.clip(0) - compared.target.density.clip(0))
    section = int(differ.sum(axis=(1, 2)).argmax())
    return [density[section] for density in maps]


if __name__ == "__main__":
    main()
