"""How well a training carries one known structure onto another.

    python benchmarks/accuracy.py PAIR_FOLDER [--target-resolution 3|5|7] [any training option]

The folder holds state0_3A.mrc, state1_3A.mrc, state1_5A.mrc, state1_7A.mrc, and the true Cα positions of both states,
state0_CA.npy and state1_CA.npy: (n, 3), x, y, z in Å, row by row the same residue, and all atoms, state0.pdb and
state1.pdb, in the same order.  Training sees the two maps alone.
Published settings otherwise: both levels 0.24, 1000 steps; every option of cryotrans-train may be given to change them,
--recipe auto among them.  Where the folder has path_dims_CA.npy, (frames, n, 3), another's way between the states,
every frame of ours is compared with the nearest one of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from measures import agreement, machine_text, n_steps_done, rmsd, run_program

from chimerax.cryotrans.engine.carrying.atoms import move_rigidly, rms_change
from chimerax.cryotrans.engine.carrying.model_file import atom_names, bonds_of, read_model, rigid_groups
from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.flow.velocity import Field
from chimerax.cryotrans.engine.judging.measures import Measures
from chimerax.cryotrans.engine.judging.tables import METRICS_FILE, read_metrics
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map

_GOOD = 1.3  # Å, of which the time is told
_NEAR = 2.0  # Å: of a residue that is where it belongs
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
    auto = "auto" in training
    for names, value in _PUBLISHED.items():
        if auto and "-n" in names:
            continue
        if not any(name in training for name in names):
            training += [names[0], value]
    if not any(name in training for name in ("-p", "--period")):
        training += ["-p", "50"]
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
        measures = read_metrics(run / METRICS_FILE)
        content = json.loads((run / "run.json").read_text(encoding="utf-8"))
        fields = {row.step: load_weights(run / content["checkpoints"][str(row.step)]) for row in measures}
    atoms, true_atoms = (np.load(pair / f"state{k}_CA.npy")[:, ::-1].astype(np.float64) for k in (0, 1))
    [carried] = carry(atoms, initial, velocity)
    before, after = agreement(initial, true), agreement(generated, true)
    print(machine_text())
    print(f"{pair.resolve().name}, 3 Å onto {asked.target_resolution} Å, {' '.join(training)}")
    print(f"CA rmsd             {rmsd(atoms, true_atoms):6.2f} Å before   {rmsd(carried, true_atoms):6.2f} Å after")
    off_by = np.linalg.norm(carried - true_atoms, axis=1)
    print(f"CA median           {np.median(off_by):6.2f} Å, {np.mean(off_by < _NEAR):.0%} within {_NEAR:g} Å")
    print(f"correlation         {before.correlation:6.3f}   before   {after.correlation:6.3f}   after")
    print(f"FSC = 0.5 at        {before.resolution:6.2f} Å before   {after.resolution:6.2f} Å after")
    print(f"measures            {_text_of(measures[-1])}")
    print_atoms(pair, initial, velocity)
    errors = {step: rmsd(carry(atoms, initial, field)[0], true_atoms) for step, field in fields.items()}
    print(f"best checkpoint     {errors[content['best']['step']]:6.2f} Å at step {content['best']['step']}")
    reached = next((row for row in measures if errors[row.step] <= _GOOD), None)
    if reached:
        print(f"{_GOOD} Å after         {reached.seconds:6.1f} s, {reached.step} steps")
    if (pair / "path_dims_CA.npy").exists():
        path = np.load(pair / "path_dims_CA.npy")[:, :, ::-1]
        frames = carry(atoms, initial, velocity, [k / 10 for k in range(11)])
        off = [min(rmsd(frame, other) for other in path) for frame in frames]
        print("frames from path    " + " ".join(f"{distance:.1f}" for distance in off) + " Å")
    print(f"training            {seconds:6.1f} s for {n_steps} steps")


def _text_of(row: Measures) -> str:
    return (
        f"correlation {row.correlation:.3f}, FSC = 0.5 with the target at {row.resolution:.2f} Å, "
        f"{row.transport_distance:.2f} Å to go, strain {row.strain:.2f}, folded {row.folded:.2%}"
    )


def print_atoms(pair: Path, initial: DensityMap, field: Field) -> None:
    """All atoms of state0.pdb against those of state1.pdb, each by itself and with rigid residues."""
    model, true = (read_model(pair / f"state{k}.pdb") for k in (0, 1))
    before, bonds = model.positions, bonds_of(model)
    is_ca = np.array([name == "CA" for _, _, _, name, _ in atom_names(model)])
    [free] = carry(before, initial, field)
    rigid = move_rigidly(before, free, rigid_groups(model, "residue"))
    for words, after in (("before", before), ("carried", free), ("rigid residues", rigid)):
        everywhere, backbone = rmsd(after, true.positions), rmsd(after[is_ca], true.positions[is_ca])
        changed = rms_change(bonds, before, after)
        print(f"atoms {words:14s}{everywhere:6.2f} Å rmsd, CA {backbone:6.2f} Å, bonds changed by {changed:.3f} Å rms")


if __name__ == "__main__":
    sys.exit(main())
