"""The pictures of the report: slices and projections of densities, and surfaces, as PNG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LARGEST_PICTURE = 128  # pixels
_DARKER = 0.75  # at the far side
MARGIN = 3  # voxels round the molecule in a picture
FAINTEST_SHOWN = 0.02  # of the maximum


def others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def picture(values: np.ndarray, sizes: Sequence[float], colours: str) -> str:
    """A data URI of a PNG: "grey" of 0 to 1, or "signed" of -1 to 1, dark at 0; the first row lies at the bottom."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    shrunk = _shrunk(values, sizes)
    if colours == "grey":
        # Square root: faint parts show beside the brightest.
        image = colormaps["gray"](np.sqrt(np.clip(shrunk, 0, 1)))
    else:
        signed = LinearSegmentedColormap.from_list("signed", ["#8fd0ff", "#2b7fd4", "#0b0b0d", "#d9701a", "#ffd08a"])
        image = signed((np.clip(shrunk, -1, 1) + 1) / 2)
    return _data_uri(image[:, :, :3])


def surface_picture(labels: NDArray[np.int64], axis: int, colours: Sequence[str], sizes: Sequence[float]) -> str:
    """Labelled voxels as seen against an axis: the label that comes first, darker the farther away.

    Args:
        labels: (nz, ny, nx), 0 for nothing, k for the colour k - 1.
        axis: 0 to 2 for z, y, x.
        colours: #rrggbb.
        sizes: of a pixel, of the two axes that remain.
    """
    seen = np.flip(labels, axis)
    depth = (seen > 0).argmax(axis)
    label = np.take_along_axis(seen, np.expand_dims(depth, axis), axis).squeeze(axis)
    rgb = np.array([[0, 0, 0], *([int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours)]) / 255
    there = depth[label > 0]
    nearest, farthest = (int(there.min()), int(there.max())) if len(there) else (0, 0)
    light = 1 - _DARKER * (depth - nearest) / max(1, farthest - nearest)
    image = rgb[label] * np.where(label > 0, light, 0)[:, :, None]
    every = math.ceil(max(image.shape) / (2 * _LARGEST_PICTURE))
    repeats = [max(1, round(size / min(sizes))) for size in sizes]
    return _data_uri(image[::every, ::every].repeat(repeats[0], axis=0).repeat(repeats[1], axis=1))


def _data_uri(image: np.ndarray) -> str:
    """Of red, green and blue from 0 to 1, (height, width, 3)."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, np.ascontiguousarray((image[::-1] * 255).astype(np.uint8)), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _shrunk(values: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Means of blocks, so that no side is longer than a picture may be; square pixels where the voxels are none."""
    n = math.ceil(max(values.shape) / _LARGEST_PICTURE)
    if n > 1:
        padded = np.pad(values, [(0, -m % n) for m in values.shape])
        values = padded.reshape(padded.shape[0] // n, n, padded.shape[1] // n, n).mean(axis=(1, 3))
    repeats = [max(1, round(size / min(sizes))) for size in sizes]
    return values.repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)
