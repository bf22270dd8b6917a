"""Maps as experiments give them made fit to train on: of noisy ones, what is molecule, as finely as the noise allows.

A map is noisy where its level lies within five standard deviations of the solvent's noise: then some of the noise lies
above the level, and training would carry it as if it were molecule.  Of such a map

    1. only what lies in a soft mask round the molecule counts, see molecule_mask.py: the level is the contour of the
       molecule, not of whatever lies above it;
    2. training sees it low-passed, no farther than until the noise is a tenth of the highest density: noise averages
       out over the width of the filter, the molecule hardly does;
    3. the level that this version is cut at keeps its share of the maximum, or is three standard deviations of the
       noise that is left where that is more, but never above what was given.

A map is over-sharpened where it lies a fifth of its height below the solvent, and deeper than noise does: those are
the ripples round atoms whose Fourier transform was raised and then ended.  What is above the level are then crests of
ripples too.  Training sees such a map low-passed until the ripples are a tenth of the height.

Of a map that has half maps these say what its noise is, in the molecule itself, and to what resolution there is signal:
training sees it no finer.

What is carried at last, by predictions, is never low-passed, only masked where it is noisy.  A map that is neither
noisy nor over-sharpened stays as it is, bit for bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..errors import named
from .density_map import DensityMap
from .half_maps import Noise
from .low_pass import SIGMA_OF_RESOLUTION, low_passed
from .molecule_mask import Array, Molecule, find_molecule, masked_molecule
from .solvent import solvent_of

_CLEAR = 5.0  # standard deviations of the noise; of 10⁶ voxels of Gaussian noise a third of one is higher
_DEEP, _SHALLOW = 0.2, 0.1  # ripples, of the height
_DEEPER_THAN_NOISE = 6.0  # standard deviations
_PEAK_OVER_NOISE = 10.0
_LEVEL_OVER_NOISE = 3.0
_RESOLUTIONS = tuple(3 + 0.5 * k for k in range(15))  # Å, 3 to 10, of the low-pass


class Conditioned(NamedTuple):
    """What training sees of a map."""

    density_map: DensityMap
    level: float  # map units
    blur: float  # Å, standard deviation of the Gaussian by which it was low-passed; 0.0 where it was not
    notes: tuple[str, ...]  # sentences for the user; none where the map stays as it is
    mask: Array | None = None  # of a noisy one, (nz, ny, nx), round its molecule

    @property
    def is_noisy(self) -> bool:
        """Whether it was low-passed against noise; else it was against ripples, if at all."""
        return self.mask is not None


def conditioned(
    density_map: DensityMap, level: float, own_mask: Array | None = None, half_maps: Noise | None = None
) -> Conditioned:
    """A map and its level as training is to see them.

    Args:
        density_map: not constant, not yet masked.
        level: map units.
        own_mask: (nz, ny, nx), from 0 to 1, in the place of the mask that would be found; it masks clean maps too.
        half_maps: what they say of the noise, in the place of what the solvent says.
    """
    molecule = _molecule_of(density_map, own_mask)
    if molecule is not None and half_maps is not None:
        measured = _within(half_maps.draw, molecule.mask)
        molecule = molecule._replace(solvent=molecule.solvent._replace(noise=measured))
    if not _is_noisy(density_map, level, molecule):
        clean = _without_ripples(density_map, level, molecule)
        return clean if own_mask is None else clean._replace(density_map=_times(clean.density_map, own_mask))
    assert molecule is not None
    name, size = density_map.name, density_map.voxel_size
    notes = [] if own_mask is not None else [_mask_text(density_map, level, molecule, half_maps)]
    masked = density_map.density * molecule.mask
    seen, noise, resolution = masked, molecule.solvent.noise, 0.0
    finest = 0.0 if half_maps is None else min(half_maps.resolution, _RESOLUTIONS[-1])
    for resolution in (each for each in _RESOLUTIONS if each >= finest):
        coarse = low_passed(density_map.density, size, resolution)
        noise = (
            solvent_of(coarse, molecule.mask == 0, molecule.flat).noise
            if half_maps is None
            else _within(low_passed(half_maps.draw, size, resolution), molecule.mask)
        )
        seen = coarse * molecule.mask
        if seen.max() >= _PEAK_OVER_NOISE * noise:
            break
    share = float(seen.max() / masked.max())
    cut = min(level, max(share * level, _LEVEL_OVER_NOISE * noise))
    notes.append(
        f"Training sees {name} low-passed to {resolution:g} Å and above {cut:.3g}: its noise is {noise:.2g} there, and "
        f"the highest density {seen.max():.2g}. What is carried is not low-passed."
    )
    return Conditioned(
        density_map.with_density(seen), cut, SIGMA_OF_RESOLUTION * resolution, tuple(notes), molecule.mask
    )


def mask_of(density_map: DensityMap, own_mask: Array | None = None) -> Array | None:
    """The soft mask round the molecule, or the one given; None of a constant map."""
    molecule = _molecule_of(density_map, own_mask)
    return None if molecule is None else molecule.mask


def molecule_of(density_map: DensityMap, level: float) -> tuple[DensityMap, tuple[str, ...]]:
    """The map masked to its molecule where it is noisy, else as it is; and sentences for the user."""
    molecule = _molecule_of(density_map)
    if not _is_noisy(density_map, level, molecule):
        return density_map, ()
    assert molecule is not None
    masked = density_map.with_density(density_map.density * molecule.mask)
    return masked, (_mask_text(density_map, level, molecule),)


def joined_blur(between: float, initial: float, target: float) -> float:
    """How much coarser the target is than the initial map, after each of them was low-passed; Å.

    Args:
        between: how much it was before.
        initial, target: standard deviations of the Gaussians by which they were low-passed.
    """
    return math.sqrt(max(0.0, between**2 + target**2 - initial**2))


def _within(noise: np.ndarray, mask: Array) -> float:
    """Its standard deviation where the mask counts more than half."""
    return float(np.std(noise[mask > 0.5], dtype=np.float64))


def _times(density_map: DensityMap, mask: Array) -> DensityMap:
    return density_map.with_density(density_map.density * mask)


def _molecule_of(density_map: DensityMap, own_mask: Array | None = None) -> Molecule | None:
    density = density_map.density
    if density.min() == density.max():
        return None
    return find_molecule(density, density_map.voxel_size) if own_mask is None else masked_molecule(density, own_mask)


def _is_noisy(density_map: DensityMap, level: float, molecule: Molecule | None) -> bool:
    if molecule is None:
        return False
    background, noise = molecule.solvent
    if noise == 0 or level >= background + _CLEAR * noise:
        return False
    return bool(((density_map.density >= level) & (molecule.mask > 0)).any())


def _without_ripples(density_map: DensityMap, level: float, molecule: Molecule | None) -> Conditioned:
    """The map low-passed until its ripples are shallow, its level keeping its share of the maximum."""
    as_it_is = Conditioned(density_map, level, 0.0, ())
    if molecule is None:
        return as_it_is
    background, noise = molecule.solvent
    before = _depth(density_map.density, background)
    if before <= _DEEP or background - float(density_map.density.min()) <= _DEEPER_THAN_NOISE * noise:
        return as_it_is
    for resolution in _RESOLUTIONS:
        seen = low_passed(density_map.density, density_map.voxel_size, resolution)
        if _depth(seen, background) <= _SHALLOW:
            break
    else:  # no filter helps: it is something else
        return as_it_is
    cut = level * float(seen.max() / density_map.density.max())
    note = (
        f"{density_map.name} is sharpened so far that ripples go {before:.0%} of its height below the solvent. "
        f"Training sees it low-passed to {resolution:g} Å and above {cut:.3g} ({named('conditioning')} off leaves it "
        f"as it is). What is carried is not low-passed."
    )
    return Conditioned(density_map.with_density(seen), cut, SIGMA_OF_RESOLUTION * resolution, (note,))


def _depth(density: np.ndarray, background: float) -> float:
    """How far the lowest voxel lies below the background, as a share of how far the highest lies above it."""
    height = float(density.max()) - background
    return (background - float(density.min())) / height if height > 0 else math.inf


def _mask_text(density_map: DensityMap, level: float, molecule: Molecule, half_maps: Noise | None = None) -> str:
    density = density_map.density
    mass = np.where(density >= max(level, 0), density, 0).astype(np.float64)
    total, inside = float(mass.sum()), float((mass * molecule.mask).sum())
    outside = 1 - inside / total if total > 0 else 0.0
    whose = "the noise of its solvent" if half_maps is None else "its noise by the half maps"
    parts = "" if molecule.n_parts == 1 else f", in {molecule.n_parts} parts"
    return (
        f"{density_map.name} is noisy: {whose} (standard deviation {molecule.solvent.noise:.2g}) "
        f"reaches the level {level:.3g}. What counts is the molecule, in a soft mask round it{parts}; {outside:.0%} of "
        f"the density above the level lies outside and is left out ({named('conditioning')} off keeps it)."
    )
