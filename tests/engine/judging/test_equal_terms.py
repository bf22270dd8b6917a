"""Maps that differ in their amplitudes alone are alike; maps that differ in their phases are not."""

from __future__ import annotations

import numpy as np
import pytest

from chimerax.cryotrans.engine.judging.equal_terms import on_equal_terms
from chimerax.cryotrans.engine.maps.fsc import correlation

SHAPE, SIZE = (30, 32, 36), (1.5, 1.5, 1.5)
_FREQUENCY = np.sqrt(
    sum(np.fft.fftfreq(n, 1.5).reshape([-1 if k == a else 1 for a in range(3)]) ** 2 for k, n in enumerate(SHAPE))
)


def _atoms(seed: int = 0, moved: float = 0.0) -> np.ndarray:
    """300 atoms at 4 Å, each moved by so much (Å, root mean square); (nz, ny, nx)."""
    random = np.random.default_rng(seed)
    places = random.uniform(9, 21, (300, 3)) + random.normal(0, moved / 1.5 / 3**0.5, (300, 3))
    grids = [np.arange(n)[:, None] for n in SHAPE]
    z, y, x = (np.exp(-((grid - place) ** 2) / (2 * 0.6**2)) for grid, place in zip(grids, places.T))
    return np.einsum("zn,yn,xn->zyx", z, y, x)


def _filtered(density: np.ndarray, b_factor: float) -> np.ndarray:
    """By exp(-B s² / 4), then what is below a tenth of the maximum is cut off, as at a level."""
    result = np.fft.ifftn(np.fft.fftn(density) * np.exp(-b_factor * _FREQUENCY**2 / 4)).real
    return np.where(result < 0.1 * result.max(), 0, result)


def _correlations(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    return correlation(a, b), correlation(*on_equal_terms(a, b, SIZE)[1:])


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_equal_maps_are_equal_whatever_their_scale(scale):
    assert correlation(*on_equal_terms(scale * _filtered(_atoms(), 0), _filtered(_atoms(), 0), SIZE)[1:]) > 1 - 1e-9


@pytest.mark.parametrize("b_factor", [-60, 100, 250])
@pytest.mark.parametrize("moved", [0.0, 0.8])
def test_sharpening_and_blurring_matter_little_either_way(b_factor, moved):
    """A change that made of 0.95 a correlation of 0.7."""
    same = _correlations(_filtered(_atoms(moved=moved), 0), _filtered(_atoms(), 0))[1]
    for change in ((0, b_factor), (b_factor, 0)):
        plain, equal = _correlations(*(_filtered(_atoms(moved=m), b) for m, b in zip((moved, 0), change)))
        assert equal > plain and equal > same - 0.07 and equal > 0.85


@pytest.mark.parametrize("b_factor", [-60, 0, 100])
def test_another_molecule_is_not_flattered(b_factor):
    right = _correlations(_filtered(_atoms(moved=0.8), 0), _filtered(_atoms(), b_factor))[1]
    wrong = _correlations(_filtered(_atoms(seed=9), 0), _filtered(_atoms(), b_factor))[1]
    assert wrong < right - 0.1


def test_phases_stay():
    """Of a map with the target's amplitudes in every mode and random phases nothing is left alike."""
    target = _filtered(_atoms(), 0)
    noise = np.fft.fftn(np.random.default_rng(1).normal(size=SHAPE))
    wrong = np.fft.ifftn(np.abs(np.fft.fftn(target)) * noise / np.abs(noise)).real.clip(0)
    assert correlation(*on_equal_terms(wrong, target, SIZE)[1:]) < 0.5


def test_where_neither_has_mass_nothing_is_compared():
    a, b = _filtered(_atoms(), 0), _filtered(_atoms(moved=1.0), 100)
    outside = (a <= 0.02 * a.max()) & (b == 0)
    part, *alike = on_equal_terms(a, b, SIZE)
    assert all(np.all(density[outside[part]] == 0) for density in alike)
    assert np.count_nonzero(~outside) == np.count_nonzero(~outside[part])
    assert correlation(*on_equal_terms(np.zeros(SHAPE), b, SIZE)[1:]) == 0
