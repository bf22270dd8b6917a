"""What each option is worth: one training for each, on a pair of known structures.

    python benchmarks/options.py PAIR_FOLDER [--target-resolution 3|5|7] [--seed N]

Folder as for accuracy.py.  A row is one call of cryotrans-train (two where it refines), and how far the known Cα atoms
then are from where they belong, where the shell correlation with the true 3 Å map falls to 0.5, how much the flow
strains what it carries, and what the training took.  The truth is never shown to it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from measures import agreement, machine_text, n_steps_done, rmsd, run_program

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.judging.tables import METRICS_FILE, read_metrics
from chimerax.cryotrans.engine.maps.mrc_file import read_map

_W2 = "-n 600 -p 600"
_AUTO = "--recipe auto -p 1000"
# Options of the training, and of a second one that goes on from its weights.
_ROWS = [
    (_W2, None),
    (f"{_W2} --w2_eps 5e-5 --eps_start 1e-3", None),
    (f"{_W2} --debiased", None),
    (f"{_W2} --reach 0.1", None),
    (f"{_W2} --mu_mesh 1e-3", None),
    (f"{_W2} --mu_mesh 1e-3 --mesh_share 0.1", None),
    (f"{_W2} --hold-out 0.05", None),
    (f"{_W2} --flow domains --lr 4e-3 -b 3", None),
    (_W2, "-n 300 -p 300 --l2 --lr 1e-4"),
    (_W2, "-n 300 -p 300 --loss correlation"),
    (_AUTO, None),
    (f"{_AUTO} --flow network", None),
    (f"{_AUTO} --flow domains", None),
    (f"{_AUTO} --hold-out 0.05", None),
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train with one option after the other.")
    parser.add_argument("pair", type=Path)
    parser.add_argument("--target-resolution", type=int, choices=(3, 5, 7), default=5)
    parser.add_argument("--seed", default="0")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for k, (first, second) in enumerate(_ROWS):
            rows.append(_row(asked, Path(temporary, str(k)), first, second))
    print(machine_text())
    print(f"{asked.pair.resolve().name}, 3 Å onto {asked.target_resolution} Å, levels 0.24, seed {asked.seed}")
    print("CA rmsd   FSC = 0.5   strain   steps   time     options")
    print("\n".join(rows))


def _row(asked: argparse.Namespace, folder: Path, first: str, second: str | None) -> str:
    initial_path = asked.pair / "state0_3A.mrc"
    target_path = asked.pair / f"state1_{asked.target_resolution}A.mrc"
    seconds, n_steps = 0.0, 0
    weights: list[str] = []
    run = folder
    for k, options in enumerate(filter(None, (first, second))):
        run = folder / str(k)
        maps = ["-i0", str(initial_path), "-t0", "0.24", "-i1", str(target_path), "-t1", "0.24", "-d", str(run)]
        more = [*options.split(), *weights, "--seed", asked.seed, "--no-report", "--progress", "none"]
        seconds += run_program("train", *maps, *more)
        n_steps += n_steps_done(run)
        weights = ["-w", str(run / "net.pt")]
    run_program(
        *("predict", "-i", str(initial_path), "-w", str(run / "net.pt"), "-d", str(folder / "frames")),
        *("--frames", "2", "--progress", "none"),
    )
    initial, true = read_map(initial_path), read_map(asked.pair / "state1_3A.mrc")
    resolution = agreement(read_map(folder / "frames" / "frame_01.mrc"), true).resolution
    atoms, true_atoms = (np.load(asked.pair / f"state{k}_CA.npy")[:, ::-1].astype(np.float64) for k in (0, 1))
    error = rmsd(carry(atoms, initial, load_weights(run / "net.pt"))[0], true_atoms)
    strain = read_metrics(run / METRICS_FILE)[-1].strain
    text = first if second is None else f"{first}, then {second}"
    return f"{error:5.2f} Å {resolution:9.2f} Å {strain:8.2f} {n_steps:7} {seconds:5.0f} s     {text}"


if __name__ == "__main__":
    main()
