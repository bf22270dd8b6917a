"""Threshold, mass, binning and points, against the definitions written out."""

import numpy as np
import pytest

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.preparation import above_level, bin_density, prepare, suggested_level, unbinned


def _map(shape=(5, 6, 7), seed=0, name="a.mrc") -> DensityMap:
    return DensityMap(np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32), (2.0, 2.0, 2.0), name=name)


@pytest.mark.parametrize("bin_size", [1, 2, 3])
def test_prepared_maps_follow_the_definitions(bin_size):
    initial, target = _map(seed=1), _map(seed=2, name="b.mrc")
    pair = prepare(initial, target, 0.5, 0.8, bin_size)
    a = np.where(initial.density < 0.5, 0, initial.density).astype(float)
    a /= a.max()
    b = np.where(target.density < 0.8, 0, target.density).astype(float)
    b *= a.sum() / b.sum()
    np.testing.assert_allclose(pair.initial, _binned(a, bin_size), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(pair.target, _binned(b, bin_size), rtol=1e-5, atol=1e-7)
    assert pair.voxel == bin_size / 7
    assert {tuple(v) for v in pair.support} == set(zip(*np.nonzero(_binned(a, bin_size) >= 1e-6)))
    np.testing.assert_array_equal(pair.weights, pair.initial[tuple(pair.support.T)])


def _binned(density: np.ndarray, b: int) -> np.ndarray:
    """Mean over blocks voxel by voxel; what is beyond the box counts as empty."""
    binned = np.zeros([-(-n // b) for n in density.shape])
    for voxel in np.ndindex(density.shape):
        binned[tuple(k // b for k in voxel)] += density[voxel] / b**3
    return binned


def test_a_binning_that_divides_keeps_the_mean():
    density = np.random.default_rng(0).random((4, 6, 8)).astype(np.float32)
    assert bin_density(density, 2).mean() == pytest.approx(density.mean(), rel=1e-6)


@pytest.mark.parametrize("bin_size", [1.25, 1.5, 2.6])
def test_blocks_may_be_a_fraction_of_a_voxel_longer(bin_size):
    density = np.random.default_rng(0).random((12, 10, 9)).astype(np.float32)
    fine = density.repeat(20, 0).repeat(20, 1).repeat(20, 2)
    np.testing.assert_allclose(bin_density(density, bin_size), _binned_fast(fine, round(20 * bin_size)), atol=2e-5)


def _binned_fast(density: np.ndarray, b: int) -> np.ndarray:
    padded = np.pad(density, [(0, -n % b) for n in density.shape])
    z, y, x = (n // b for n in padded.shape)
    return padded.reshape(z, b, y, b, x, b).mean(axis=(1, 3, 5))


def test_a_grid_is_filled_from_its_blocks():
    density = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    again = unbinned(bin_density(density, 3), 3, density.shape)
    assert again.shape == density.shape
    assert again[4, 5, 6] == pytest.approx(density[3:, 3:, 6:].sum() / 27)
    np.testing.assert_array_equal(again[:3, :3, :3], again[0, 0, 0])


def test_the_suggested_level_keeps_the_highest_hundredth():
    density = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    level = suggested_level(DensityMap(density, (1.0, 1.0, 1.0)))
    assert (density >= level).sum() == 10


@pytest.mark.parametrize(
    ("level", "words"),
    [(99.0, r"from -?[\d.]+ to [\d.]+.*keeps its highest 1\.4 %"), (-0.1, "above zero"), (float("nan"), "above zero")],
)
def test_levels_that_cannot_be_used_are_refused_with_the_range_and_a_suggestion(level, words):
    with pytest.raises(InputError, match=words):
        above_level(_map(), level)


def test_a_map_without_positive_density_is_refused():
    with pytest.raises(InputError, match="no density above zero"):
        above_level(_map().with_density(np.full((5, 6, 7), -1, np.float32)), 0.0)


def test_the_highest_voxel_alone_is_enough():
    density_map = _map()
    assert np.count_nonzero(above_level(density_map, float(density_map.density.max()))) == 1


def test_maps_on_two_grids_are_refused_by_name():
    with pytest.raises(InputError, match=r"a\.mrc.*b\.mrc.*Resample"):
        prepare(_map(), _map((5, 6, 8), name="b.mrc"), 0.5, 0.5)


def test_a_binning_larger_than_the_box_is_refused():
    with pytest.raises(InputError, match="binning of 6"):
        prepare(_map(), _map(seed=1), 0.5, 0.5, 6)


def test_a_margin_keeps_the_slopes_and_not_the_noise_far_away():
    density = np.zeros((9, 9, 9), np.float32)
    density[4, 4, 3:6] = 0.4, 1.0, 0.2  # above the level, and a slope on either side
    density[4, 3, 4] = 0.01  # too faint
    density[1, 1, 1] = 0.4  # far from it
    density[4, 5, 4] = -1
    initial, target = (DensityMap(density, (1.0, 1.0, 1.0)) for _ in range(2))
    assert prepare(initial, target, 0.5, 0.5).support.tolist() == [[4, 4, 4]]
    with_margin = prepare(initial, target, 0.5, 0.5, margin=1)
    assert with_margin.support.tolist() == [[4, 4, 3], [4, 4, 4], [4, 4, 5]]
    assert with_margin.target.sum() == pytest.approx(with_margin.initial.sum())


def test_what_is_held_out_is_binned_too():
    density = np.ones((4, 4, 4), np.float32)
    held_out = np.zeros((4, 4, 4), bool)
    held_out[0, 0, :2] = True
    initial, target = (DensityMap(density, (1.0, 1.0, 1.0)) for _ in range(2))
    seen = prepare(initial, target, 0.5, 0.5, bin_size=2, held_out=held_out).seen
    assert seen[0, 0, 0] == 0.75
    assert np.delete(seen.ravel(), 0).min() == 1
