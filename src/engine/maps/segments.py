"""Parts of a molecule that the user names: which of them a place belongs to.

They come as a map of whole numbers, as segmentation programs write it (0 for none), or as the chains of a model.  A
place belongs to the segment of the nearest voxel or atom that has one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, named
from .density_map import DensityMap

_MOST_PLACES = 20_000
_MOST_LOOKED_AT = 2000
_LEAST_SHARE = 0.005  # of the voxels above the level
_WHOLE = 1e-3  # how far from a whole number a label may be


class Segments(NamedTuple):
    """Places of known segment.

    Attributes:
        places: (m, 3), z, y, x, in voxels of the initial map.
        labels: (m,), from 0 on, each of them there.
    """

    places: NDArray[np.float64]
    labels: NDArray[np.int64]


def segments_of_map(labels: DensityMap, initial: DensityMap) -> Segments:
    """The segments of a map of labels, on any grid.

    Raises:
        InputError: its values are not whole numbers, or there are fewer than two segments in the initial's box.
    """
    check_labels(labels.density, labels.name)
    values = np.rint(labels.density)
    index = np.argwhere(values >= 1)
    positions = index * np.array(labels.voxel_size) + labels.origin
    places = (positions - initial.origin) / initial.voxel_size
    return segments_at(places, values[tuple(index.T)], initial, labels.name)


def check_labels(density: np.ndarray, name: str) -> None:
    """
    Raises:
        InputError: the values are not whole numbers.
    """
    if np.abs(density - np.rint(density)).max() > _WHOLE:
        raise InputError(
            f"{name} is no map of segments ({named('segments')}): its values are not whole numbers. Wanted is 0 for "
            f"none, 1 for the first and so on, as segmentation programs write it, not resampled."
        )


def check_density(segments: Segments, initial: DensityMap, level: float, name: str) -> None:
    """See that at least two segments have a part of the density above the level.

    Raises:
        InputError: they have not.
    """
    voxels = np.argwhere(initial.density >= max(level, 0.0))
    voxels = voxels[:: -(-len(voxels) // _MOST_LOOKED_AT) or 1]
    places = segments.places[:: -(-len(segments.places) // _MOST_LOOKED_AT)]
    labels = segments.labels[:: -(-len(segments.places) // _MOST_LOOKED_AT)]
    nearest = [((places - voxel) ** 2).sum(axis=1).argmin() for voxel in voxels]
    shares = np.bincount(labels[nearest], minlength=2) / max(1, len(nearest)) if len(nearest) else np.zeros(2)
    if np.count_nonzero(shares >= _LEAST_SHARE) < 2:
        raise InputError(
            f"The density of {initial.name} above level {level:g} belongs to a single segment of {name} "
            f"({named('segments')}); at least two are wanted, which move against each other."
        )


def label_map(segments: Segments, initial: DensityMap) -> DensityMap:
    """The segments as a map of labels, 1 and on, on the grid of the initial map."""
    labels = np.zeros(initial.grid_shape, np.float32)
    labels[tuple(np.rint(segments.places).astype(np.int64).T)] = segments.labels + 1
    return initial.with_density(labels)


def segments_at(places: NDArray[np.float64], labels: np.ndarray, initial: DensityMap, name: str) -> Segments:
    """The segments of places.

    Args:
        places: (n, 3), z, y, x, in voxels of the initial map.
        labels: (n,), of any kind that can be sorted, such as chain names.
        name: of what they came from, for messages.
    Raises:
        InputError: there are fewer than two segments in the initial's box.
    """
    nearest = np.rint(places)
    inside = ((nearest >= 0) & (nearest < initial.grid_shape)).all(axis=1)
    places, labels = places[inside], labels[inside]
    names = np.unique(labels)
    if len(names) < 2:
        n = f"{len(names)} segment{'s' if len(names) != 1 else ''}"
        raise InputError(
            f"{name} has {n} in the box of {initial.name} ({named('segments')}); at least two are wanted, which move "
            f"against each other."
        )
    every = -(-len(places) // _MOST_PLACES)
    kept = np.concatenate([np.flatnonzero(labels == each)[::every] for each in names])
    return Segments(places[kept], np.searchsorted(names, labels[kept]))
