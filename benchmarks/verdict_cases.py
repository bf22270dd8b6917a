"""Pairs of maps with a known truth as experiments, and mistakes, make them: what verdicts.py trains on.

Of each protein two states are known, as state0.pdb and state1.pdb with the same atoms in the same order.  Maps are sums
of Gaussians, one for each atom, on voxels of 2.5 Å, so that a training takes seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

VOXEL = 2.5  # Å
_RESOLUTIONS = 5.0, 7.0  # Å, of the initial and the target
_SIGMA = 0.225  # of an atom's Gaussian, in units of the resolution
_AROUND = 15.0  # Å of empty box round both states
_VOLUME = 1.21  # Å³ of a dalton: what the usual level shows
_LOST = 0.2  # of the residues, where a part is missing

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Protein:
    """Both states: positions of all atoms, (n, 3), z, y, x in Å in a box's frame; masses; which of them are Cα."""

    name: str
    states: tuple[Array, Array]
    masses: Array
    is_alpha: NDArray[np.bool_]
    grid_shape: tuple[int, int, int]

    def density(self, state: int, resolution: float, atoms: slice = slice(None)) -> Array:
        """Of one state, or of some of its atoms; the maximum is 1."""
        return simulated(self.states[state][atoms], self.masses[atoms], self.grid_shape, resolution)

    def contour(self, density: Array) -> float:
        """The level that shows the protein's volume."""
        n_voxels = min(density.size - 1, round(float(self.masses.sum()) * _VOLUME / VOXEL**3))
        return float(np.sort(density.ravel())[-1 - n_voxels])


@dataclasses.dataclass(frozen=True)
class Case:
    """A training to be judged.

    `true` are positions of the Cα atoms in the target's state, (n, 3), in their order in the initial's; not numbers
    where the target says nothing of an atom; None if nothing that a training does can be right.
    """

    initial: Array
    target: Array
    levels: tuple[float, float]
    before: Array
    true: Array | None
    options: tuple[str, ...] = ("--recipe", "auto")


def read_protein(folder: Path) -> Protein:
    """What the two structures of a folder are."""
    structures = [gemmi.read_structure(str(folder / f"state{k}.pdb"))[0] for k in (0, 1)]
    rows = [[(site.atom.pos.tolist()[::-1], site.atom) for site in model.all()] for model in structures]
    states = [np.array([place for place, _ in of_state]) for of_state in rows]
    low = np.minimum(*(places.min(axis=0) for places in states)) - _AROUND
    high = np.maximum(*(places.max(axis=0) for places in states)) + _AROUND
    nz, ny, nx = (int(n) for n in np.ceil((high - low) / VOXEL))
    return Protein(
        folder.name,
        (states[0] - low, states[1] - low),
        np.array([atom.element.weight for _, atom in rows[0]]),
        np.array([atom.name == "CA" for _, atom in rows[0]]),
        (nz, ny, nx),
    )


def simulated(atoms: Array, masses: Array, grid_shape: tuple[int, int, int], resolution: float) -> Array:
    """A Gaussian of 0.225 × resolution for each atom; the maximum is 1."""
    sigma = _SIGMA * resolution / VOXEL
    density = np.zeros(grid_shape)
    axes = [np.arange(n) for n in grid_shape]
    for place, mass in zip(atoms / VOXEL, masses):
        near = [axis[np.abs(axis - at) < 5 * sigma] for axis, at in zip(axes, place)]
        factors = [np.exp(-((axis - at) ** 2) / (2 * sigma**2)) for axis, at in zip(near, place)]
        if all(len(axis) for axis in near):
            density[np.ix_(*near)] += mass * factors[0][:, None, None] * factors[1][:, None] * factors[2]
    return density / density.max()


def cases_of(protein: Protein, other: Protein) -> Mapping[str, Callable[[], Case]]:
    """By their names, each made when it is called.

    Args:
        protein: of the initial map, and of the target where it can come right.
        other: a molecule of about that size, for a target of which nothing can be right.
    """
    start = protein.density(0, _RESOLUTIONS[0])
    end = protein.density(1, _RESOLUTIONS[1])
    alpha = tuple(state[protein.is_alpha] for state in protein.states)
    usual = protein.contour(start), protein.contour(end)
    clean = Case(start, end, usual, alpha[0], alpha[1])
    rng = np.random.default_rng(list(protein.name.encode()))

    def but(**changes: object) -> Callable[[], Case]:
        return lambda: dataclasses.replace(clean, **changes)  # type: ignore[arg-type]

    def onto(target: Callable[[], Array]) -> Callable[[], Case]:
        return lambda: dataclasses.replace(clean, target=target())

    def of_both(change: Callable[[Array, float], Array]) -> Callable[[], Case]:
        return lambda: dataclasses.replace(
            clean, initial=change(start, _RESOLUTIONS[0]), target=change(end, _RESOLUTIONS[1])
        )

    def noisy(density: Array, ratio: float) -> Array:
        deviation = density[density > protein.contour(density)].std() / np.sqrt(ratio)
        return np.asarray(density + rng.normal(0, deviation, density.shape))

    def realistic(density: Array, resolution: float) -> Array:
        """Noise as fine as the map, a twelfth of its maximum, in a round mask with a soft edge."""
        noise = gaussian_filter(rng.normal(size=density.shape), _SIGMA * resolution / VOXEL)
        axes = [(np.arange(n) - (n - 1) / 2) / (n / 2) for n in density.shape]
        radius = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
        return np.asarray((density + noise / noise.std() / 12) * np.clip((1 - radius) * 10, 0, 1))

    def sharpened(density: Array, b_factor: float) -> Array:
        square = sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n, VOXEL) for n in density.shape), indexing="ij"))
        result = np.fft.ifftn(np.fft.fftn(density) * np.exp(-b_factor * square / 4)).real
        return np.asarray(result / result.max())

    def belt(density: Array, resolution: float) -> Array:
        z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * VOXEL for n in density.shape), indexing="ij")
        round_it = np.hypot(x, y) - 0.36 * min(density.shape[1:]) * VOXEL
        return np.maximum(density, 0.45 * np.exp(-(round_it**2) / 50 - z**2 / 120))

    def turned(angle: float) -> Case:
        middle = protein.states[1].mean(axis=0)
        state = Rotation.from_rotvec(np.deg2rad(angle) * np.ones(3) / 3**0.5).apply(protein.states[1] - middle) + middle
        density = simulated(state, protein.masses, protein.grid_shape, _RESOLUTIONS[1])
        return dataclasses.replace(clean, target=density, true=state[protein.is_alpha])

    def swapped() -> Case:
        maps = protein.density(1, _RESOLUTIONS[0]), protein.density(0, _RESOLUTIONS[1])
        return Case(*maps, (protein.contour(maps[0]), protein.contour(maps[1])), alpha[1], alpha[0])

    def without(share: float) -> Case:
        """The target lacks the last residues."""
        n_kept = round((1 - share) * len(protein.masses))
        known = np.arange(len(protein.masses))[protein.is_alpha] < n_kept
        target = protein.density(1, _RESOLUTIONS[1], slice(0, n_kept))
        return dataclasses.replace(clean, target=target, true=np.where(known[:, None], alpha[1], np.nan))

    def of_other() -> Case:
        """The middle of the other molecule in the middle of the box."""
        atoms = other.states[1] - other.states[1].mean(axis=0) + protein.states[1].mean(axis=0)
        density = simulated(atoms, other.masses, protein.grid_shape, _RESOLUTIONS[1])
        return dataclasses.replace(clean, target=density, levels=(usual[0], other.contour(density)), true=None)

    def same() -> Case:
        target = protein.density(0, _RESOLUTIONS[1])
        return dataclasses.replace(clean, target=target, levels=(usual[0], protein.contour(target)), true=alpha[0])

    def at_levels(times: float) -> Callable[[], Case]:
        return but(levels=(usual[0] * times, usual[1] * times))

    def network(*options: str) -> Callable[[], Case]:
        return but(options=("--recipe", "cryotrans", *options))

    return {
        "clean": but(),
        "clean, seed 1": but(options=("--recipe", "auto", "--seed", "1")),
        "backwards": swapped,
        "same state": same,
        "target at 10 Å": onto(lambda: protein.density(1, 10.0)),
        "target noisy": onto(lambda: noisy(end, 1.0)),
        "target very noisy": onto(lambda: noisy(end, 0.3)),
        "both noisy": of_both(lambda density, _: noisy(density, 1.0)),
        "realistic": of_both(realistic),
        "target sharpened": onto(lambda: sharpened(end, -200)),
        "both sharpened": of_both(lambda density, _: sharpened(density, -200)),
        "target blurred": onto(lambda: sharpened(end, 300)),
        "half the level": at_levels(0.5),
        "twice the level": at_levels(1.6),
        "turned by 60": lambda: turned(60),
        "belt": of_both(belt),
        "without a part": lambda: without(_LOST),
        "another molecule": of_other,
        "mirror": onto(lambda: end[:, :, ::-1].copy()),
        "noise alone": onto(lambda: gaussian_filter(rng.normal(size=end.shape), _SIGMA * _RESOLUTIONS[1] / VOXEL)),
        "too few steps": but(options=("--recipe", "auto", "-n", "250")),
        "a network": but(options=("--recipe", "auto", "--flow", "network")),
        "published settings": network("-n", "400", "-p", "100"),
        "published, few steps": network("-n", "60", "-p", "20"),
        "many domains": network("--flow", "domains", "--domains", "150", "--loss", "l2", "-n", "400", "-p", "100"),
    }
