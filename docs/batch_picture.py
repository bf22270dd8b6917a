"""The picture of a report on many pairs: python docs/batch_picture.py FOLDER makes FOLDER/results and docs/batch.png.

Four states of the demo's molecule, each with those after it, at most 600 steps a pair, and one pair that fails.
Needs Snakemake and Chromium.
"""

from __future__ import annotations

import csv
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

from chimerax.cryotrans.engine.maps.demo_pair import INITIAL_RESOLUTION, LEVEL, density_of, make_demo_pair
from chimerax.cryotrans.engine.maps.mrc_file import write_map

_STATES = {"open": 0.0, "half_open": 0.4, "nearly_closed": 0.75, "closed": 1.0}  # shares of the hinge's way
_WINDOW = "1240,1420"  # pixels


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    pair = make_demo_pair()
    for name, share in _STATES.items():
        write_map(folder / f"{name}.mrc", density_of(pair.atoms_at(share), INITIAL_RESOLUTION, f"{name}.mrc"))
    (folder / "not_weights.pt").write_text("no weights\n")
    with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        head = ["name", "initial", "target", "initial level", "target level", "recipe", "n_steps", "period", "weight"]
        table.writerow(head)
        for a, b in itertools.combinations(_STATES, 2):
            table.writerow([f"{a}_to_{b}", f"{a}.mrc", f"{b}.mrc", LEVEL, LEVEL, "auto", 600])
        table.writerow(["damaged", "open.mrc", "closed.mrc", LEVEL, LEVEL, "cryotrans", 10, 5, "not_weights.pt"])
    command = [sys.executable, "-m", "chimerax.cryotrans.programs.batch.program", "pairs.csv", "-d", "results"]
    subprocess.run([*command, "--cores", "1"], cwd=folder)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit(f"No Chromium on PATH: the report is in {folder / 'results'}.")
    shot = [f"--screenshot={Path(__file__).with_name('batch.png')}", f"--window-size={_WINDOW}"]
    subprocess.run([chromium, "--headless", "--no-sandbox", *shot, (folder / "results" / "report.html").as_uri()])


if __name__ == "__main__":
    main()
