"""The demo: from two maps to a trajectory, with a picture that shows whether it worked.

    python benchmarks/demo.py [FOLDER]

Makes a molecule whose hinge motion is known (engine/maps/demo_pair.py), trains on its maps, predicts the frames, and
compares with the truth, which training does not see.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from measures import agreement, machine_text, n_steps_done, rmsd, run_program

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, TARGET_RESOLUTION, DemoPair, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

_SHOWN = (0, 2, 5, 8, 10)  # frames in the picture
_CUT = 2  # empty rows of voxels at its lower edge


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo pair, train on it, predict, and draw the result.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo_output"))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    pair = make_demo_pair()
    initial_path, target_path = folder / pair.initial.name, folder / pair.target.name
    write_map(initial_path, pair.initial)
    write_map(target_path, pair.target)
    level = str(LEVEL)
    seconds = run_program(
        *("train", "-i0", str(initial_path), "-t0", level, "-i1", str(target_path), "-t1", level),
        *("-d", str(folder / "run"), "--recipe", "auto", "--seed", "0", "--overwrite"),
    )
    weights = folder / "run" / "net.pt"
    run_program("predict", "-i", str(initial_path), "-w", str(weights), "-d", str(folder / "frames"), "--overwrite")
    frames = [read_map(path) for path in sorted((folder / "frames").glob("frame_*.mrc"))]
    velocity = load_weights(weights)
    times = np.linspace(0, 1, len(frames))
    carried = carry(pair.initial_atoms, pair.initial, velocity, list(times))
    _draw(pair, frames, [atoms[pair.is_alpha] for atoms in carried], folder / "demo.png")
    before, after = agreement(pair.initial, pair.target), agreement(frames[-1], pair.target)
    on_the_way = max(rmsd(atoms, pair.atoms_at(time)) for atoms, time in zip(carried, times))
    print(machine_text())
    print(
        f"rmsd to the true motion {rmsd(pair.initial_atoms, pair.target_atoms):.2f} Å before, "
        f"{rmsd(carried[-1], pair.target_atoms):.2f} Å after (at most {on_the_way:.2f} Å on the way); "
        f"correlation with the target {before.correlation:.3f} before, {after.correlation:.3f} after; "
        f"{n_steps_done(folder / 'run')} steps in {seconds:.0f} s"
    )
    print(f"Look at {folder / 'demo.png'} and {folder / 'run' / 'report.html'}.")
    print(f"To play the frames in ChimeraX: open {folder}/frames/frame_*.mrc vseries true")


def _draw(pair: DemoPair, frames: list[DensityMap], carried: list[np.ndarray], path: Path) -> None:
    """Frames and target from the side, with the carried Cα atoms; below, the frames minus the target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    target = _seen(pair.target)
    figure, rows = plt.subplots(2, len(_SHOWN) + 1, figsize=(13.2, 4.1), layout="constrained")
    for axes in rows.flat:
        axes.set_axis_off()
    limit = 0.7 * target.max()
    for above, below, number in zip(*rows, _SHOWN):
        seen = _seen(frames[number])
        word = {0: "initial, ", 10: "generated, "}.get(number, "")
        above.set_title(f"{word}t = {number / 10:g}")
        above.imshow(seen, cmap="gray_r", origin="lower", interpolation="bilinear", vmax=1.3 * target.max())
        _draw_atoms(above, carried[number], frames[number])
        below.imshow(seen - target, cmap="RdBu", origin="lower", interpolation="bilinear", vmin=-limit, vmax=limit)
    rows[1][0].set_title("initial minus target")
    rows[1][len(_SHOWN) - 1].set_title("generated minus target")
    rows[0][-1].imshow(target, cmap="gray_r", origin="lower", interpolation="bilinear")
    _draw_atoms(rows[0][-1], carried[-1], pair.target)
    rows[0][-1].set_title(f"target, {TARGET_RESOLUTION:g} Å")
    text = (
        "dots: Cα atoms, carried\n\nred: only the target\nhas density here\nblue: only the frame\n\n"
        "pale at t = 1:\nthe motion was found"
    )
    rows[1][-1].text(0.02, 0.5, text, va="center", transform=rows[1][-1].transAxes)
    figure.savefig(path, dpi=110)


def _draw_atoms(axes: Any, atoms: np.ndarray, density_map: DensityMap) -> None:
    """As dots in the picture of `_seen`; atoms (n, 3) are z, y, x in Å."""
    _, y, x = (atoms / np.array(density_map.voxel_size)).T
    axes.scatter(x, y - _CUT, s=1.5, color="tab:orange", linewidths=0)


def _seen(density_map: DensityMap) -> np.ndarray:
    """Along z, scaled to one sum, so that maps of two resolutions can be compared."""
    projection = density_map.density.sum(axis=0, dtype=np.float64)
    return projection[_CUT:-6] / projection.sum()


if __name__ == "__main__":
    main()
