"""How well a training finds motions that are known exactly: hinges, sliding domains, one of ten, a ring of units.

    python benchmarks/phantoms.py [hinge] [far_hinge] [slide] [one_of_ten] [ring] [any training option]

The molecules are made of the demo's domain of seven helices, those of the ring of all of the demo's molecule, turned at
random, as maps of 2 Å voxels: 3 Å before the motion, 5 Å after it.  Printed is the rmsd of all atoms from their true
places; training sees the two maps alone.
By default: --recipe auto and level 0.1.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measures import machine_text, rmsd, run_program
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.maps.demo_pair import make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import write_map

_VOXEL, _LEVEL = 2.0, "0.1"
_INITIAL_RESOLUTION, _TARGET_RESOLUTION = 3.0, 5.0  # Å
_N_LARGE = 7 * 20 * 4  # atoms of the demo's larger domain, which come first
_Z = np.array([1.0, 0.0, 0.0])

Atoms = NDArray[np.float64]  # (n, 3), z, y, x, Å


class Phantom(NamedTuple):
    before: Atoms
    after: Atoms
    side: int  # of the cube, voxels


def hinge() -> Phantom:
    """One of two domains turns by 40 degrees about an axis at the joint's edge."""
    a, b = _domain(1, x=-21), _domain(2, x=21)
    pivot = np.array([0.0, -20.0, 0.0])
    return _centred(np.concatenate((a, b)), np.concatenate((a, _turned(b - pivot, 40 * _Z) + pivot)), 64)


def slide() -> Phantom:
    """Two domains slide past each other by half their width."""
    a, b = _domain(3, x=-17), _domain(4, x=17)
    way = np.array([0.0, np.ptp(a[:, 1]) / 4, 0.0])
    return _centred(np.concatenate((a, b)), np.concatenate((a + way, b - way)), 64)


def ring() -> Phantom:
    """Seven subunits round z each turn by 40 degrees about the radius."""
    unit, out = _molecule(5), np.array([0.0, 0.0, 48.0])
    turned = _turned(unit, 40 * np.array([0.0, 0.0, 1.0]))
    places = [360 / 7 * k * _Z for k in range(7)]
    before, after = (np.concatenate([_turned(atoms + out, place) for place in places]) for atoms in (unit, turned))
    return _centred(before, after, 96)


def far_hinge() -> Phantom:
    """A hinge that turns by 60 degrees while its domain goes 25 Å away."""
    a, b = _domain(1, x=-21), _domain(2, x=21)
    pivot = np.array([0.0, -20.0, 0.0])
    way = 25 * np.array([0.6, 0.8, 0.0])
    return _centred(np.concatenate((a, b)), np.concatenate((a, _turned(b - pivot, 60 * _Z) + pivot + way)), 80)


def one_of_ten() -> Phantom:
    """Ten domains in two layers, of which one turns by 90 degrees about its own middle."""
    places = [(36.0 * i - 18, 38.0 * (j // 3) - 19, 38.0 * (j % 3) - 38) for i in (0, 1) for j in range(5)]
    domains = [_domain(20 + k) + np.array(place) for k, place in enumerate(places)]
    middle, axis = np.array(places[4]), np.array([0.6, 0.0, 0.8])
    turned = _turned(domains[4] - middle, 90 * axis) + middle
    return _centred(np.concatenate(domains), np.concatenate([*domains[:4], turned, *domains[5:]]), 88)


PHANTOMS: dict[str, Callable[[], Phantom]] = {
    "hinge": hinge,
    "far_hinge": far_hinge,
    "slide": slide,
    "one_of_ten": one_of_ten,
    "ring": ring,
}


def main() -> None:
    words = sys.argv[1:]
    names = [word for word in words if word in PHANTOMS] or list(PHANTOMS)
    training = [word for word in words if word not in PHANTOMS]
    if "--recipe" not in training:
        training += ["--recipe", "auto"]
    if "--seed" not in training:
        training += ["--seed", "0"]
    rows = []
    for name in names:
        phantom = PHANTOMS[name]()
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            initial = _density_map(phantom.before, _INITIAL_RESOLUTION, phantom.side)
            write_map(folder / "initial.mrc", initial)
            write_map(folder / "target.mrc", _density_map(phantom.after, _TARGET_RESOLUTION, phantom.side))
            maps = ["-i0", str(folder / "initial.mrc"), "-i1", str(folder / "target.mrc"), "-d", str(folder / "run")]
            seconds = run_program("train", *maps, "-t0", _LEVEL, "-t1", _LEVEL, *training)
            [carried] = carry(phantom.before, initial, load_weights(folder / "run" / "net.pt"))
        rows.append((name, rmsd(phantom.before, phantom.after), rmsd(carried, phantom.after), seconds))
    print(machine_text())
    print(" ".join(training))
    for name, start, end, seconds in rows:
        print(f"{name:10} {start:6.2f} Å before   {end:5.2f} Å after   {seconds:5.0f} s   (a voxel is {_VOXEL:g} Å)")


def _domain(seed: int, x: float = 0.0) -> Atoms:
    """The demo's larger domain, turned at random, its centre on the x axis."""
    return _molecule(seed, _N_LARGE) + np.array([0.0, 0.0, x])


def _molecule(seed: int, n_atoms: int | None = None) -> Atoms:
    """The demo's molecule, or its first atoms, turned at random about 0."""
    atoms = make_demo_pair().initial_atoms[:n_atoms]
    return Rotation.random(random_state=seed).apply(atoms - atoms.mean(axis=0))


def _turned(atoms: Atoms, degrees: NDArray[np.float64]) -> Atoms:
    """About an axis (z, y, x) through 0, by as many degrees as it is long."""
    return Rotation.from_rotvec(np.deg2rad(degrees)).apply(atoms)


def _centred(before: Atoms, after: Atoms, side: int) -> Phantom:
    """What lies round 0 put into the middle of a cube."""
    middle = (side - 1) / 2 * _VOXEL
    return Phantom(before + middle, after + middle, side)


def _density_map(atoms: Atoms, resolution: float, side: int) -> DensityMap:
    """A Gaussian of 0.225 × resolution for each atom; the maximum is 1."""
    places = atoms / _VOXEL
    corner = np.floor(places).astype(int)
    density = np.zeros((side,) * 3)
    for far in np.ndindex(2, 2, 2):
        share = np.prod(np.where(far, places - corner, 1 - (places - corner)), axis=1)
        np.add.at(density, tuple((corner + far).T), share)
    density = gaussian_filter(density, 0.225 * resolution / _VOXEL, mode="constant", truncate=6)
    return DensityMap((density / density.max()).astype(np.float32), (_VOXEL,) * 3)


if __name__ == "__main__":
    main()
