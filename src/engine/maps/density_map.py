"""Density maps: a density on a grid.

Arrays, sizes and positions run z, y, x; only texts for the user say x, y, z.  Lengths are in Å.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
import numpy.typing as npt

PLACE_TOLERANCE = 0.05  # voxels; two places closer than this are one


Triple = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class DensityMap:
    """A density on a grid whose axes are those of space.

    Attributes:
        density: (nz, ny, nx) float32, C-contiguous and writable, in map units; an array that is not so is copied.
        voxel_size: (z, y, x), Å.
        nstart: (z, y, x), voxels; position of voxel (0, 0, 0) as the header's nstart says it.
        header_origin: (z, y, x), Å; the same as the header's origin words say it, zeros where they say nothing.
        name: what messages call the map, a file name.
        voxel_size_known: False where the file gave none and 1 Å is taken.
        notes: sentences for the user, doubts met while the map was read.
    """

    density: np.ndarray
    voxel_size: Triple
    nstart: tuple[int, int, int] = (0, 0, 0)
    header_origin: Triple = (0.0, 0.0, 0.0)
    name: str = "map"
    voxel_size_known: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert np.ndim(self.density) == 3, np.shape(self.density)
        object.__setattr__(self, "density", np.require(self.density, np.float32, ["C", "ALIGNED", "WRITEABLE"]))

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx), voxels."""
        return cast("tuple[int, int, int]", self.density.shape)

    @property
    def origin(self) -> Triple:
        """(z, y, x), Å: centre of voxel (0, 0, 0), from the origin words unless they are zero, else from nstart."""
        if any(self.header_origin):
            return self.header_origin
        z, y, x = (start * size for start, size in zip(self.nstart, self.voxel_size))
        return z, y, x

    def with_density(self, density: npt.ArrayLike) -> DensityMap:
        """Another density, (nz, ny, nx) in map units, on the same grid."""
        other = np.asarray(density)
        assert other.shape == self.grid_shape, (other.shape, self.grid_shape)
        return dataclasses.replace(self, density=cast("np.ndarray", other))


def voxel_side(voxel_size: Triple) -> float:
    """Å: the side of a cube of a voxel's volume, which stands for the voxel where one length has to."""
    return float(np.prod(voxel_size)) ** (1 / 3)


def grid_text(density_map: DensityMap) -> str:
    """The grid in words, x, y, z: "128x128x100 voxels of 1.06x1.06x1.2 Å at 10, 20, 30 Å", without the place if 0."""
    sides = "x".join(str(n) for n in density_map.grid_shape[::-1])
    sizes = [f"{size:.5g}" for size in density_map.voxel_size[::-1]]
    size = "x".join(sizes if len(set(sizes)) > 1 else sizes[:1]) + " Å"
    if not density_map.voxel_size_known:
        size = "unknown size"
    place = f" at {place_text(density_map.origin)}" if any(density_map.origin) else ""
    return f"{sides} voxels of {size}{place}"


def same_grid(a: DensityMap, b: DensityMap) -> bool:
    """Whether voxels of the same index lie at the same place, up to 0.05 voxel: 1.0600001 Å is as good as 1.06."""
    if a.grid_shape != b.grid_shape:
        return False
    return bool(np.all(np.abs(_corners(a) - _corners(b)) <= np.multiply(PLACE_TOLERANCE, a.voxel_size)))


def _corners(density_map: DensityMap) -> np.ndarray:
    """(2, 3): centres of the first voxel and of the last, (z, y, x), Å."""
    extent = np.multiply(np.subtract(density_map.grid_shape, 1), density_map.voxel_size)
    return np.add(density_map.origin, [np.zeros(3), extent])


def no_voxel_size_note(name: str) -> str:
    return f"{name} says no voxel size; 1 Å is taken."


def place_text(place: Triple) -> str:
    """A place (z, y, x) as "x, y, z Å"."""
    return ", ".join(f"{length + 0.0:.5g}" for length in place[::-1]) + " Å"  # + 0.0 makes -0 0


def extent_text(density_map: DensityMap) -> str:
    """From where to where the voxels of a map lie, "x 0 to 63, y 0 to 63, z 0 to 63 Å"."""
    z, y, x = (f"{first:.5g} to {last:.5g}" for first, last in _corners(density_map).T)
    return f"x {x}, y {y}, z {z} Å"
