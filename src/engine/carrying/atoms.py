"""Atoms that ride along a flow: which of them the run knows of, rigid pieces, and what becomes of bonds.

Positions are (n, 3), ordered (z, y, x), in Å, in the frame of the map; only files say x, y, z.  The best rigid fit:
Kabsch, Acta Cryst. A34 (1978) 827, with equal weights and never a reflection.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files.array_file import ALONE, read_arrays
from ..maps.density_map import DensityMap

REACH = 4.0  # Å; atoms farther than this from all density were not seen by the training
_MOST_BONDS = 12  # of an atom

Positions = NDArray[np.float64]
Pairs = NDArray[np.int64]

_CONTENT = (
    "coordinates (n, 3: x, y, z in Å), and if wanted bonds (m, 2: indices of atoms) and groups (n: whole numbers, the "
    "same for atoms that move as one body, -1 for those that do not)"
)


@dataclass(frozen=True)
class Atoms:
    """What is to be carried.

    Attributes:
        positions: (n, 3), Å.
        bonds: (m, 2), indices of the two atoms of each bond.
        groups: (n,), atoms of one number move as one rigid body, those of -1 each by itself; None for no bodies.
    """

    positions: Positions
    bonds: Pairs
    groups: NDArray[np.int64] | None = None


def read_atoms(path: str | Path) -> Atoms:
    """Read positions that some other program wrote with numpy.

    Args:
        path: .npy, an (n, 3) array of x, y, z in Å, or .npz with such an array `coordinates` and, if wanted, `bonds`
            (m, 2) and `groups` (n,), see Atoms.
    Raises:
        InputError: there is no such file, it is of another kind, or its arrays do not fit.
    """
    try:
        arrays = read_arrays(Path(path))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}: check its name and folder.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as .npy or .npz: wanted is {_CONTENT}.") from error
    if ALONE in arrays:
        arrays = {"coordinates": arrays[ALONE]}
    if not set(arrays) <= {"coordinates", "bonds", "groups"} or "coordinates" not in arrays:
        raise InputError(f"{path} holds {', '.join(arrays) or 'nothing'}: wanted is {_CONTENT}.")
    coordinates, groups = arrays["coordinates"], arrays.get("groups")
    bonds = arrays.get("bonds", np.empty((0, 2), np.int64))
    n = len(coordinates) if coordinates.ndim else 0
    fits = bool(coordinates.shape == (n, 3) and coordinates.dtype.kind in "fiu")
    with np.errstate(over="ignore"):  # longer numbers than ours
        positions = coordinates[:, ::-1].astype(np.float64) if fits else coordinates
    fits = fits and bool(np.isfinite(positions).all())
    fits = fits and bonds.ndim == 2 and bonds.shape[1] == 2 and bonds.dtype.kind in "iu"
    fits = fits and (groups is None or (groups.shape == (n,) and groups.dtype.kind in "iu"))
    if not fits or (bonds.size and (bonds.min() < 0 or bonds.max() >= n)):
        found = ", ".join(f"{name} {array.shape} of {array.dtype}" for name, array in arrays.items())
        raise InputError(f"{path} holds {found}, or values out of their range: wanted is {_CONTENT}.")
    if n == 0:
        raise InputError(f"{path} holds no atoms. Give one that has some.")
    whole = None if groups is None else groups.astype(np.int64)
    return Atoms(positions, bonds.astype(np.int64), whole)


def support(positions: Positions, density_map: DensityMap, level: float) -> NDArray[np.float32]:
    """How far atoms are in the density, which is all that a training sees.

    Args:
        positions: (n, 3), Å.
        density_map: the map.
        level: map units; voxels above zero and not below it count, as cubes.
    Returns:
        (n,), 1 in such a voxel, falling in proportion to the distance, to 0 at REACH.
    """
    counted = (density_map.density >= level) & (density_map.density > 0)
    size, shape = np.array(density_map.voxel_size), np.array(density_map.grid_shape)
    places = (positions - np.array(density_map.origin)) / size  # voxels
    nearest = np.rint(places).astype(np.int64)
    distance = np.full(len(positions), np.inf)

    def look(atoms: NDArray[np.int64], offset: tuple[int, ...]) -> None:
        voxels = nearest[atoms] + offset
        inside = ((voxels >= 0) & (voxels < shape)).all(axis=1)
        atoms, voxels = atoms[inside], voxels[inside]
        hit = counted[tuple(voxels.T)]
        atoms, voxels = atoms[hit], voxels[hit]
        gap = np.maximum(np.abs(places[atoms] - voxels) - 0.5, 0) * size
        distance[atoms] = np.minimum(distance[atoms], np.sqrt((gap**2).sum(axis=1)))

    everywhere = np.arange(len(positions))
    look(everywhere, (0, 0, 0))
    others = everywhere[distance > 0]
    reach = np.ceil(REACH / size + 0.5).astype(int)
    for offset in itertools.product(*(range(-n, n + 1) for n in reach)):
        look(others, offset)
    return np.maximum(0, 1 - distance / REACH).astype(np.float32)


def move_rigidly(before: Positions, after: Positions, groups: NDArray[np.int64]) -> Positions:
    """Let each group go where it went as well as one body can, its inner geometry unchanged.

    Args:
        before, after: (n, 3), Å.
        groups: (n,), as in Atoms.
    Returns:
        (n, 3): for atoms of a group the best rotation and shift of `before` onto `after`, for others `after`.
    """
    grouped = groups >= 0
    if not grouped.any():
        return after
    _, body, count = np.unique(groups[grouped], return_inverse=True, return_counts=True)
    body = body.ravel()

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros((len(count), *values.shape[1:]))
        np.add.at(total, body, values)
        return total

    centre, goal = (sums(x[grouped]) / count[:, None] for x in (before, after))
    arms, wanted = before[grouped] - centre[body], after[grouped] - goal[body]
    left, _, right = np.linalg.svd(sums(wanted[:, :, None] * arms[:, None, :]))  # wanted ≈ R arms
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    result = after.copy()
    result[grouped] = np.einsum("nij,nj->ni", (left @ right)[body], arms) + goal[body]
    return result


def angle_pairs(bonds: Pairs) -> Pairs:
    """Pairs of atoms bonded to the same third one: their distances are what the bond angles become; (m, 2).

    What is bonded to more than a dozen is no atom, and its pairs, which might be millions, are left out.
    """
    neighbours: dict[int, list[int]] = {}
    for a, b in bonds.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    centres = [around for around in neighbours.values() if len(around) <= _MOST_BONDS]
    pairs = [pair for around in centres for pair in itertools.combinations(sorted(around), 2)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def rms_change(pairs: Pairs, before: NDArray[Any], after: NDArray[Any]) -> float | None:
    """Root mean square change of the distances of these pairs, Å; None where there is no pair."""
    if len(pairs) == 0:
        return None
    lengths = [np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1) for x in (before, after)]
    return float(np.sqrt(np.mean((lengths[1] - lengths[0]) ** 2)))
