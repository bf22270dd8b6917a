"""A picture of what the rules of the verdict look at, for each training of the labelled set: docs/verdict.png.

python benchmarks/verdict_picture.py benchmarks/verdicts.jsonl docs/verdict.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measures import is_right

from chimerax.cryotrans.engine.judging import verdict

_KINDS = {  # marker, colour, size
    "right": ("o", "#2c7fb8", 18),
    "not right, up to 3 Å": ("s", "#f0a030", 22),
    "above 3 Å": ("X", "#c0392b", 30),
    "nothing can be right": ("^", "#555555", 26),
}

Row = dict[str, Any]


def _best(row: Row) -> dict[str, float]:
    return row["measures"][row["best"]]  # type: ignore[no-any-return]


def _closed(row: Row) -> float:
    start = row["measures"][0]["correlation"]
    return (_best(row)["correlation"] - start) / (1 - start)


def _left(row: Row) -> float:
    return _best(row)["transport_distance"] / max(row["measures"][0]["transport_distance"], 1e-9)


_PANELS: list[tuple[str, Callable[[Row], float], tuple[float, float], tuple[float, float]]] = [
    ("Correlation", lambda row: _best(row)["correlation"], verdict._LOW_CORRELATION, (0.4, 1)),
    ("Gap closed", _closed, verdict._LEAST_CLOSED, (-0.1, 1)),
    ("Distance left, of the start's", _left, verdict._MOST_LEFT, (0, 1.1)),
    ("Strain", lambda row: _best(row)["strain"], verdict._MOST_STRAIN, (0, 0.5)),
    ("Folded, of the mass", lambda row: _best(row)["folded"], verdict._MOST_FOLDED, (0, 0.2)),
    ("Doubted by the witness, of the mass", lambda row: row["witness"]["doubted"], verdict._MOST_DOUBTED, (0, 1)),
    ("Doubtful regions, of the mass", lambda row: row["confidence"]["doubtful"], verdict._MOST_DOUBTFUL, (0, 1)),
]


def main() -> None:
    source, out = sys.argv[1:]
    rows = [json.loads(line) for line in Path(source).read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row.get("measures") and row["witness"]]
    figure = Figure(figsize=(9, 4.6))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4).ravel()
    for place, (title, value, limits, span) in zip(axes, _PANELS):
        for limit, colour in zip(limits, ("#f0a030", "#c0392b")):
            place.axvline(limit, color=colour, linewidth=1, linestyle="--")
        for kind, (marker, colour, size) in _KINDS.items():
            own = [row for row in rows if _kind(row) == kind]
            x = np.clip([value(row) for row in own], *span)
            y = np.clip([row["rmsd"] if row["rmsd"] is not None else 60 for row in own], 0.2, 60)
            place.scatter(x, y, size, colour, marker, alpha=0.75, linewidths=0, label=kind)
        place.set_yscale("log")
        place.set_xlim(*span)
        place.set_title(title, fontsize=8)
        place.tick_params(labelsize=7)
    for place in (axes[0], axes[4]):
        place.set_ylabel("Cα rmsd, Å", fontsize=8)
    axes[7].axis("off")
    axes[7].legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="center", frameon=False)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def _kind(row: Row) -> str:
    if row["rmsd"] is None or row["case"] in ("mirror", "noise alone"):
        return "nothing can be right"
    if is_right(row["before"], row["rmsd"]):
        return "right"
    return "above 3 Å" if row["rmsd"] > 3 else "not right, up to 3 Å"


if __name__ == "__main__":
    main()
