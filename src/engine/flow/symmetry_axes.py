"""Where a map may have axes of symmetry: a search over all directions.

About an axis, a density is a sum of waves ρ_m(r, z) exp(imφ).  With an n-fold axis only m = 0, n, 2n … are left, so
for each direction one resampling in cylinder coordinates tells all orders at once: the share of the power in those m,
out of all that is not the same all round (m = 0).  What is the same all round, a belt of detergent, does not count.
Positions are voxels (z, y, x).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..maps.gaussian_blur import gaussian_blur
from ..maps.sampling import sample

ORDERS = tuple(range(2, 13))
_N_DIRECTIONS = 600  # over half a sphere, about 5 degrees apart
_AT_ONCE = 50  # directions
_ANGLES, _RADII, _HEIGHTS = 48, 7, 13
_ROUNDEST = 2  # axes about which the map is the most even, looked at closely
_LEAST_SHARE = 0.4  # of a direction that is up to 4 degrees off
_OF_AN_ORDER = 4  # axes at most
_APART = math.cos(math.radians(14))  # two axes of one order
_COARSE_RADIUS = 11.0  # voxels: what the radius of the molecule is brought to
_COARSE_BLUR = 1.2  # voxels


class Axis(NamedTuple):
    """A direction about which a map looks n-fold."""

    order: int
    direction: Tensor  # (3,) float64
    share: float  # of the power that is not the same all round


class Coarse(NamedTuple):
    """A small blurred copy, in which a direction is looked at quickly."""

    density: Tensor  # (nz, ny, nx) float32
    centre: Tensor  # (3,) float64, in its own voxels
    radius: float  # of the molecule, voxels


def find_axes(maps: list[Coarse]) -> list[Axis]:
    """Directions about which all the maps may have an axis through their centres, the likeliest of each order first."""
    directions = torch.cat((_box_axes(), _inertia_axes(maps[0]), _half_sphere(_N_DIRECTIONS)))
    powers = _powers(maps[0], directions)
    closer = _roundest(maps[0], directions, powers.sum(1))
    directions, powers = torch.cat((directions, closer)), torch.cat((powers, _powers(maps[0], closer)))
    shares = _shares(powers)  # (n_directions, n_orders)
    for coarse in maps[1:]:
        likely = shares.amax(1) > _LEAST_SHARE
        if not likely.any():
            return []
        shares[likely] = torch.minimum(shares[likely], _shares(_powers(coarse, directions[likely])))
    found = []
    for k, order in enumerate(ORDERS):
        column, chosen = shares[:, k].clone(), 0
        while chosen < _OF_AN_ORDER and float(column.max()) > _LEAST_SHARE:
            best = int(column.argmax())
            found.append(Axis(order, directions[best], float(column[best])))
            column[(directions @ directions[best]).abs() > _APART] = 0
            chosen += 1
    return found


def coarse_copy(density: Tensor, centre: Tensor, radius: float) -> Coarse:
    """A copy whose molecule has a radius of some voxels.

    Args:
        density: (nz, ny, nx), smooth on the scale of the copy's voxels.
        centre: (3,), of the molecule.
        radius: of the molecule, voxels.
    """
    step = max(1.0, radius / _COARSE_RADIUS)
    n = 2 * math.ceil(1.3 * radius / step) + 1
    offsets = (torch.arange(n, dtype=torch.float64) - n // 2) * step
    grid = torch.stack(torch.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3)
    small = sample(gaussian_blur(density, 0.5 * step if step > 1 else 0.0), grid + centre).reshape(n, n, n)
    middle = torch.full((3,), n // 2, dtype=torch.float64)
    return Coarse(gaussian_blur(small, _COARSE_BLUR), middle, radius / step)


def across_by_half_a_turn(coarse: Coarse, direction: Tensor) -> Tensor:
    """The direction across an axis about which half a turn fits best, (3,).

    Half a turn about the one at the azimuth α takes ρ_m(r, z) to exp(-2imα) ρ_-m(r, -z), so that the overlap of the map
    with its image is Σ_m exp(2imα) ∫ρ_m(r, z) ρ_m(r, -z): for all α one Fourier series.
    """
    waves, (first, second) = _waves(coarse, direction[None])
    overlap = (waves[0] * waves[0].flip(0)).sum((0, 1)).to(torch.complex128)  # (n_m,)
    alpha = torch.arange(0, 180, dtype=torch.float64) * (math.pi / 180)
    m = torch.arange(1, len(overlap), dtype=torch.float64)
    best = alpha[int((torch.exp(2j * alpha[:, None] * m) @ overlap[1:]).real.argmax())]
    return torch.cos(best) * first[0] + torch.sin(best) * second[0]


def _roundest(coarse: Coarse, directions: Tensor, uneven: Tensor) -> Tensor:
    """Axes about which the map is nearest to the same all round, found closely.

    A ring of many subunits seen a little askew has waves of low m that are larger than its own.

    Args:
        uneven: (n,), power of what is not the same all round each direction.
    """
    found = []
    for _ in range(_ROUNDEST):
        best = directions[int(uneven.argmin())]
        uneven = uneven.masked_fill((directions @ best).abs() > _APART, math.inf)
        for reach in (math.radians(3), math.radians(1)):
            near = _near(best, reach)
            best = near[int(_powers(coarse, near).sum(1).argmin())]
        found.append(best)
    return torch.stack(found)


def _near(direction: Tensor, reach: float) -> Tensor:
    """The direction and 24 round it, a square with so many radians from one to the next; (25, 3)."""
    first, second = torch.linalg.svd(direction[None]).Vh[1:]
    steps = torch.arange(-2, 3, dtype=torch.float64) * reach / 2
    moved = direction + steps[:, None, None] * first + steps[None, :, None] * second
    return torch.nn.functional.normalize(moved.reshape(-1, 3), dim=1)


def _shares(powers: Tensor) -> Tensor:
    """Of the power that is not the same all round, what an axis of each order keeps; (n, n_m) → (n, n_orders)."""
    m = torch.arange(1, powers.shape[1] + 1)
    kept = torch.stack([powers[:, m % n == 0].sum(1) for n in ORDERS], dim=1)
    return kept / powers.sum(1, keepdim=True).clamp(min=1e-30)


def _powers(coarse: Coarse, directions: Tensor) -> Tensor:
    """Power of each wave about each direction but of that which is the same all round; (n, 3) → (n, n_m)."""
    parts = [_waves(coarse, part)[0].abs().square().sum((1, 2))[:, 1:] for part in directions.split(_AT_ONCE)]
    return torch.cat(parts)


def _waves(coarse: Coarse, directions: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """ρ_m(r, z)·√r about each direction, and what φ = 0 and φ = 90° are; (n, n_z, n_r, n_m), twice (n, 3)."""
    helper = torch.eye(3, dtype=torch.float64)[directions.abs().argmin(1)]
    first = torch.nn.functional.normalize(torch.linalg.cross(directions, helper), dim=1)
    second = torch.linalg.cross(directions, first)
    heights = torch.linspace(-1, 1, _HEIGHTS, dtype=torch.float64) * coarse.radius
    radii = (torch.arange(_RADII, dtype=torch.float64) + 0.7) / _RADII * coarse.radius
    phi = torch.arange(_ANGLES, dtype=torch.float64) * (2 * math.pi / _ANGLES)
    round_about = torch.cos(phi)[:, None] * first[:, None] + torch.sin(phi)[:, None] * second[:, None]  # (n, n_φ, 3)
    points = (
        heights[:, None, None, None] * directions[:, None, None, None]
        + radii[:, None, None] * round_about[:, None, None]
    ).to(coarse.density)  # (n, n_z, n_r, n_φ, 3)
    values = sample(coarse.density, points + coarse.centre.to(points))
    return torch.fft.rfft(values) * radii.sqrt().to(values)[:, None], (first, second)


def _box_axes() -> Tensor:
    return torch.eye(3, dtype=torch.float64)


def _inertia_axes(coarse: Coarse) -> Tensor:
    places = torch.nonzero(coarse.density > 0).double() - coarse.centre
    weights = coarse.density[coarse.density > 0].double()
    return torch.linalg.eigh(torch.einsum("n,ni,nj->ij", weights, places, places)).eigenvectors.T


def _half_sphere(n: int) -> Tensor:
    """Directions as even as a spiral makes them: Saff & Kuijlaars, Math. Intelligencer 19 (1997) 5."""
    k = torch.arange(n, dtype=torch.float64)
    z = 1 - (k + 0.5) / n
    phi = k * math.pi * (3 - math.sqrt(5))
    across = (1 - z**2).sqrt()
    return torch.stack((z, across * torch.sin(phi), across * torch.cos(phi)), 1)
