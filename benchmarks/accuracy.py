"""How well a training carries one known structure onto another.

    python benchmarks/accuracy.py PAIR_FOLDER [--target-resolution 3|5|7] [any training option]

The folder holds state0_3A.mrc, state1_3A.mrc, state1_5A.mrc, state1_7A.mrc, and the true Cα positions of both states,
state0_CA.npy and state1_CA.npy: (n, 3), x, y, z in Å, row by row the same residue.  Training sees the two maps alone.
Published settings otherwise: both levels 0.24, 1000 steps; every option of cryotrans-train may be given to change them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from measures import agreement, machine_text, n_steps_done, rmsd, run_program

from chimerax.cryotrans.engine.checkpoint import load_weights
from chimerax.cryotrans.engine.density_map import read_map
from chimerax.cryotrans.engine.prediction import carry

_PUBLISHED = {
    ("-t0", "--initial-threshold"): "0.24",
    ("-t1", "--target-threshold"): "0.24",
    ("-n", "--n_steps"): "1000",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on a pair of known structures and compare with the truth.")
    parser.add_argument("pair", type=Path)
    parser.add_argument("--target-resolution", type=int, choices=(3, 5, 7), default=5)
    parser.add_argument("--keep", type=Path, help="keep the run in this directory")
    asked, training = parser.parse_known_args()
    pair = asked.pair
    initial_path, true_path = pair / "state0_3A.mrc", pair / "state1_3A.mrc"
    target_path = pair / f"state1_{asked.target_resolution}A.mrc"
    for names, value in _PUBLISHED.items():
        if not any(name in training for name in names):
            training += [names[0], value]
    if not any(name in training for name in ("-p", "--period")):
        training += ["-p", "250"]
    with tempfile.TemporaryDirectory() as temporary:
        run = asked.keep or Path(temporary, "run")
        maps = ["-i0", str(initial_path), "-i1", str(target_path)]
        seconds = run_program("train", *maps, "-d", str(run), *training)
        run_program(
            *("predict", "-i", str(initial_path), "-w", str(run / "net.pt"), "-d", str(run / "frames")),
            *("--frames", "2", "--progress", "none", "--overwrite"),
        )
        initial, true = read_map(initial_path), read_map(true_path)
        generated = read_map(run / "frames" / "frame_01.mrc")
        n_steps = n_steps_done(run)
        velocity = load_weights(run / "net.pt")
    atoms, true_atoms = (np.load(pair / f"state{k}_CA.npy")[:, ::-1].astype(np.float64) for k in (0, 1))
    [carried] = carry(atoms, initial, velocity)
    before, after = agreement(initial, true), agreement(generated, true)
    print(machine_text())
    print(f"{pair.resolve().name}, 3 Å onto {asked.target_resolution} Å, {' '.join(training)}")
    print(f"CA rmsd             {rmsd(atoms, true_atoms):6.2f} Å before   {rmsd(carried, true_atoms):6.2f} Å after")
    print(f"correlation         {before.correlation:6.3f}   before   {after.correlation:6.3f}   after")
    print(f"FSC = 0.5 at        {before.resolution:6.2f} Å before   {after.resolution:6.2f} Å after")
    print(f"training            {seconds:6.1f} s for {n_steps} steps")


if __name__ == "__main__":
    sys.exit(main())
