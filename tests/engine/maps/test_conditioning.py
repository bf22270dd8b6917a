"""What becomes of noisy maps, and that nothing becomes of clean ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from phantoms import blob

from chimerax.cryotrans.engine.maps.conditioning import conditioned, joined_blur, molecule_of
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.fsc import correlation
from chimerax.cryotrans.engine.maps.preparation import above_level

SHAPE, SIZE, LEVEL = (36, 40, 44), (2.0, 2.0, 2.0), 0.3
CLEAN = blob((18, 18, 16), SHAPE, 4.0) + blob((18, 22, 26), SHAPE, 3.0)


def _map(sigma: float, clean: np.ndarray = CLEAN) -> DensityMap:
    return DensityMap(clean + np.random.default_rng(1).normal(0, sigma, SHAPE), SIZE, name="a.mrc")


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.05])
def test_where_the_level_is_clear_of_the_noise_nothing_is_done(sigma):
    clean = _map(sigma)
    result = conditioned(clean, LEVEL)
    assert result.density_map is clean and result[1:] == (LEVEL, 0.0, (), None)
    assert molecule_of(clean, LEVEL) == (clean, ())


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.6])
def test_of_a_noisy_map_training_sees_about_what_is_there(sigma):
    noisy = _map(sigma)
    seen = conditioned(noisy, LEVEL)
    got, wanted = above_level(seen.density_map, seen.level), above_level(_map(0), LEVEL)
    as_it_came = above_level(noisy, LEVEL)
    overlaps = [correlation(other, wanted) for other in (got, as_it_came)]
    assert overlaps[0] > 0.88 and overlaps[0] > overlaps[1]
    assert got[wanted == 0].sum() < 0.5 * got.sum() and got[0].max() == 0
    assert 0 < seen.level <= LEVEL and seen.blur > 0


def test_it_is_low_passed_no_farther_than_the_noise_demands():
    blurs = [conditioned(_map(sigma), LEVEL).blur for sigma in (0.1, 0.3, 0.6, 1.0)]
    assert blurs == sorted(blurs) and blurs[0] < blurs[-1] <= 0.225 * 10


def test_what_is_carried_is_the_map_itself_within_the_mask():
    noisy = _map(0.3)
    carried, notes = molecule_of(noisy, LEVEL)
    middle = (slice(14, 22), slice(14, 22), slice(12, 20))
    np.testing.assert_array_equal(carried.density[middle], noisy.density[middle])
    assert carried.density[0].max() == 0 and len(notes) == 1


def test_what_is_done_is_said():
    first, second = conditioned(_map(0.3), LEVEL).notes
    assert first.startswith("a.mrc is noisy: the noise of its solvent (standard deviation 0.3) reaches the level 0.3. ")
    assert "% of the density above the level lies outside and is left out" in first
    assert second.startswith("Training sees a.mrc low-passed to ")


def test_a_constant_map_is_left_to_those_who_refuse_it():
    assert conditioned(DensityMap(np.ones(SHAPE), SIZE), LEVEL).notes == ()


def test_gaussians_add_in_squares():
    assert joined_blur(0.9, 0.0, 1.2) == pytest.approx(1.5)
    assert joined_blur(1.5, 1.2, 0.0) == pytest.approx(0.9)
    assert joined_blur(0.5, 1.2, 0.0) == 0.0 and math.isclose(joined_blur(0.7, 1.2, 1.2), 0.7)


def _sharpened(sigma: float, by: float) -> np.ndarray:
    """CLEAN's like at atoms' width, its Fourier transform divided by that of a Gaussian of `by` (Å)."""
    atoms = np.zeros(SHAPE)
    atoms[tuple(np.random.default_rng(2).integers(12, 24, (3, 150)))] = 1
    squared = sum(
        np.square(np.fft.fftfreq(n, size)).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (n, size) in enumerate(zip(SHAPE, SIZE))
    )
    wanted = np.exp(-2 * np.pi**2 * (sigma**2 - by**2) * squared)
    density = np.fft.ifftn(np.fft.fftn(atoms) * wanted).real
    return density / density.max()


def test_of_an_oversharpened_map_training_sees_no_ripples():
    sharp = DensityMap(_sharpened(1.4, 2.0), SIZE, name="a.mrc")
    assert sharp.density.min() < -0.2
    seen = conditioned(sharp, LEVEL)
    assert -0.1 <= seen.density_map.density.min() / seen.density_map.density.max() < 0
    assert seen.level / LEVEL == pytest.approx(seen.density_map.density.max())
    soft = _sharpened(math.hypot(1.4, seen.blur), 2.0)  # what was divided by, multiplied by again
    assert correlation(seen.density_map.density, soft) > 0.96  # a Gaussian narrower than a voxel is sampled coarsely
    assert seen.notes[0].startswith("a.mrc is sharpened so far that ripples go ")
    assert molecule_of(sharp, LEVEL) == (sharp, ())


@pytest.mark.parametrize("by", [0.0, 1.0])
def test_a_map_sharpened_with_measure_stays_as_it_is(by):
    sharp = DensityMap(_sharpened(1.6, by), SIZE)
    assert conditioned(sharp, LEVEL).density_map is sharp
