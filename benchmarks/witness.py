"""How often the witness is right: pieces of known structures, and whether a flow takes them to their true places.

    python benchmarks/witness.py RUN_DIRECTORY=PAIR_FOLDER ...

Runs are trainings on pairs as accuracy.py has them, onto the target of 5 Å, levels 0.24, with what --keep leaves.  Of
each run the checkpoint after a quarter of them, which is wrong in places, and the last one are looked at.  A piece lies
wrong if the Cα atoms in it are more than 3 Å off (root mean square), right if less than 2 Å.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from measures import machine_text

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.device import choose_device
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.judging.witness import witness_of
from chimerax.cryotrans.engine.maps.mrc_file import read_map
from chimerax.cryotrans.engine.maps.relative_blur import estimate_blur

_LEVEL = 0.24
_RADIUS = 12.0  # Å: atoms of a piece
_WRONG, _RIGHT = 3.0, 2.0  # Å


def main() -> None:
    choose_device("cpu")
    print(machine_text())
    print("pieces by what is true (wrong, between, right) and whether the witness doubts them")
    total: Counter[tuple[str, bool]] = Counter()
    for words in sys.argv[1:]:
        run, pair = (Path(word) for word in words.split("="))
        content = json.loads((run / "run.json").read_text(encoding="utf-8"))
        checkpoints = sorted((int(step), name) for step, name in content["checkpoints"].items())
        initial, target = read_map(pair / "state0_3A.mrc"), read_map(pair / "state1_5A.mrc")
        blur = estimate_blur(initial.density, target.density, initial.voxel_size)
        atoms, true = (np.load(pair / f"state{k}_CA.npy")[:, ::-1].astype(np.float64) for k in (0, 1))
        for step, name in (checkpoints[len(checkpoints) // 4], checkpoints[-1]):
            field = load_weights(run / name)
            off = np.linalg.norm(carry(atoms, initial, field)[0] - true, axis=1)
            witness = witness_of(initial, target, (_LEVEL, _LEVEL), blur, field, torch.device("cpu"))
            found: Counter[tuple[str, bool]] = Counter()
            for piece in witness.pieces:
                centre = piece.centre * np.array(initial.voxel_size)
                own = np.linalg.norm(atoms - centre, axis=1) < _RADIUS
                if own.any():
                    error = float(np.sqrt((off[own] ** 2).mean()))
                    truth = "wrong" if error > _WRONG else "right" if error < _RIGHT else "between"
                    found[truth, piece.against or piece.unexplained] += 1
            total += found
            rmsd = float(np.sqrt((off**2).mean()))
            print(
                f"{pair.name:12} step {step:5} rmsd {rmsd:6.2f} Å   {_text(found)}   {witness.doubted:.0%} of mass",
                flush=True,
            )
    print(f"all: {_text(total)}")


def _text(found: Counter[tuple[str, bool]]) -> str:
    return ", ".join(
        f"{found[truth, True]} of {found[truth, True] + found[truth, False]} {truth}"
        for truth in ("wrong", "between", "right")
    )


if __name__ == "__main__":
    sys.exit(main())
