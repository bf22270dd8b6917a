"""How far a morph can be believed, place by place, from 0 to 1.

A point is believed as far as all of these allow:

    fit        the local correlation of generated map and target round the place where the flow takes it, on equal
               terms, as a share of what is usual in this run: the maps' noise and resolution decide what that is
    shape      the strain there, and whether space is folded
    witness    whether the piece that it lies in, docked by itself, fits better elsewhere
    partner    0 in a part that the target lacks

Each goes from 1 where nothing speaks against the flow to 0 where all does; the lowest counts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..maps.components import connected_components, distance_from
from ..maps.density_map import DensityMap, voxel_side
from ..maps.gaussian_blur import gaussian_blur
from ..maps.preparation import bin_density
from ..maps.sampling import sample
from .comparison import Comparison, Measured
from .measures import BELIEVED
from .witness import doubt_at

_BALL = 4.0  # Å, standard deviation of the Gaussian under which maps are compared: 20 residues or so
_REACH = 4.0  # standard deviations
_VOXEL = 1.5  # Å, which are more than fine enough under it
_USUAL = 0.75  # quantile, by mass, of the local correlations
_FITS, _FITS_NOT = 0.97, 0.8  # of the usual one
_KEEPS_SHAPE, _LOSES_SHAPE = 0.3, 0.8  # strain
_DOUBTED = 0.25
_LEAST_REGION, _MOST_REGIONS = 0.01, 20  # of the mass
_NEXT = 3.0  # Å: places that are not farther than twice that apart make one region


def confidence(
    comparison: Comparison, measured: Measured, initial: DensityMap, witness: dict[str, Any] | None = None
) -> NDArray[np.float64]:
    """Of each point of the comparison, (n,).

    Args:
        comparison: whose points they are.
        measured: what it measured of a flow.
        initial: the map whose points are carried.
        witness: what docked pieces say of that flow, see `Witness.to_dict`.
    """
    fits = _local_fits(comparison, measured, initial)
    usual = _quantile(fits, comparison.weights.astype(np.float64), _USUAL)
    found = np.minimum(
        _between(fits / max(usual, 1e-6), _FITS_NOT, _FITS), _between(-measured.strain, -_LOSES_SHAPE, -_KEEPS_SHAPE)
    )
    found[measured.volume_change <= 0] = 0
    if witness is not None:
        found = np.where(doubt_at(witness, comparison.support, initial) > 0, np.minimum(found, _DOUBTED), found)
    found[comparison.weights == 0] = 0
    return found


def _local_fits(comparison: Comparison, measured: Measured, initial: DensityMap) -> NDArray[np.float64]:
    """The local correlation of both maps where the flow takes each point, (n,)."""
    part, *alike = comparison.on_equal_terms(measured.generated)
    side = voxel_side(initial.voxel_size)
    binned = max(1, int(_VOXEL / side))  # of the products, which are smoothed over more
    sigma = _BALL / (binned * side)
    around = math.ceil(_REACH * sigma)  # what lies farther from all mass is next to nothing

    def smoothed(a: NDArray[np.floating], b: NDArray[np.floating]) -> torch.Tensor:
        return gaussian_blur(torch.from_numpy(np.pad(bin_density(a * b, binned), around)), sigma)

    a, b = alike
    of_a, of_b, both = smoothed(a, a), smoothed(b, b), smoothed(a, b)
    floor = 1e-4 * float(torch.maximum(of_a, of_b).max())
    # The maps are in units of their mass: spread over fewer than 10⁷ voxels, no product of two squares underflows.
    local = both / (of_a.clamp(min=floor) * of_b.clamp(min=floor)).sqrt()
    ends = comparison.support + measured.displacement / initial.voxel_size - [along.start for along in part]
    places = (ends + 0.5) / binned - 0.5 + around
    return np.asarray(sample(local, torch.from_numpy(places)).double().numpy())


def doubtful_share(found: NDArray[np.float64], weights: np.ndarray) -> float:
    """The share of the mass whose confidence is below one half."""
    return float(np.average(found < BELIEVED, weights=weights.astype(np.float64)))


def summary(found: NDArray[np.float64], comparison: Comparison, initial: DensityMap, step: int) -> dict[str, Any]:
    """For run.json: the share of the mass that is doubtful, and the regions that it lies in, the largest first.

    Args:
        found: (n,), the confidence of each point.
        comparison: whose points they are.
        initial: the map whose points are carried.
        step: of the checkpoint.
    Returns:
        step, doubtful, and regions, each with place (x, y, z in Å in the frame of the map), share and confidence.
    """
    masses = comparison.weights.astype(np.float64) / comparison.weights.sum(dtype=np.float64)
    points = np.flatnonzero(found < BELIEVED)
    parts = _regions(comparison.support[points], initial.voxel_size)
    shares = np.bincount(parts, weights=masses[points]).astype(np.float64)
    regions = []
    for part in np.argsort(-shares, kind="stable")[:_MOST_REGIONS]:
        own, share = points[parts == part], float(shares[part])
        if share < _LEAST_REGION:
            break
        place = np.average(comparison.support[own], axis=0, weights=masses[own]) * initial.voxel_size + initial.origin
        mean = float(np.average(found[own], weights=masses[own]))
        regions.append(
            {"place": [round(float(x), 1) for x in place[::-1]], "share": round(share, 4), "confidence": round(mean, 2)}
        )
    return {"step": step, "doubtful": round(doubtful_share(found, comparison.weights), 4), "regions": regions}


def _regions(voxels: NDArray[np.int64], voxel_size: tuple[float, float, float]) -> NDArray[np.int64]:
    """Which region each voxel, (n, 3), lies in, (n,)."""
    if len(voxels) == 0:
        return np.empty(0, np.int64)
    around = math.ceil(_NEXT / min(voxel_size))
    corner = voxels.min(0) - around
    doubtful = np.zeros(voxels.max(0) + around + 1 - corner, bool)
    doubtful[tuple((voxels - corner).T)] = True
    near, of_near = connected_components(distance_from(doubtful, voxel_size, _NEXT) <= _NEXT)
    labels = np.zeros(doubtful.shape, np.int32)
    labels[tuple(near.T)] = of_near
    return labels[tuple((voxels - corner).T)]


def _between(values: NDArray[np.float64], none: float, full: float) -> NDArray[np.float64]:
    """0 up to `none`, 1 from `full` on, a line between them."""
    return np.asarray(np.clip((values - none) / (full - none), 0, 1))


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, share * below[-1])])
