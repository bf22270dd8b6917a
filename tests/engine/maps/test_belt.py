"""Belts of detergent are found, and what is no belt is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from chimerax.cryotrans.engine.maps.belt import find_belt
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap

_LEVELS = (LEVEL, LEVEL)


@pytest.fixture(scope="module")
def demo():
    pair = make_demo_pair()
    return pair.initial, pair.target


def _torus(density_map, height=0.45, away=0.0):
    """Smooth density in a ring round the y axis, its middle so far (Å) from that of the box along x."""
    z, _, x = ((np.indices(density_map.grid_shape).T - (np.array(density_map.grid_shape) - 1) / 2).T) * 1.6
    y = (np.indices(density_map.grid_shape)[1] - 10) * 1.6
    return height * np.exp(-((np.hypot(z, x - away) - 24) ** 2) / 40 - y**2 / 60)


def _with(density_map, other):
    return density_map.with_density(np.maximum(density_map.density, other).astype(np.float32))


def test_a_belt_round_both_maps_is_left_out_and_little_else(demo):
    initial, target = demo
    belt = _torus(initial)
    found = find_belt(_with(initial, belt), _with(target, belt), _LEVELS)
    assert found is not None
    for mask, own in zip(found.masks, demo):
        of_belt = (belt > LEVEL) & (belt > 3 * own.density)
        assert np.average(mask, weights=of_belt) < 0.3
        assert np.average(mask, weights=own.density * (own.density > max(LEVEL, 0.45))) > 0.95


def test_molecules_without_a_belt_have_none_at_any_resolution(demo):
    for first, second in (demo, demo[::-1], (demo[0], demo[0])):
        assert find_belt(first, second, _LEVELS) is None
    for sigma in (1.0, 2.0, 3.0):
        coarse = [each.with_density(gaussian_filter(each.density, sigma)) for each in demo]
        level = 0.24 * float(coarse[0].density.max())
        assert find_belt(coarse[0], coarse[1], (level, level)) is None


def test_what_is_smooth_and_moves_or_is_in_one_map_alone_is_no_belt(demo):
    initial, target = demo
    assert find_belt(_with(initial, _torus(initial)), target, _LEVELS) is None
    moved = find_belt(_with(initial, _torus(initial, away=-14)), _with(target, _torus(target, away=14)), _LEVELS)
    assert moved is None or max(moved.shares) < 0.3


def test_finer_voxels_tell_the_same_belt(demo):
    """They are looked at through coarser ones."""
    belt = _torus(demo[0])
    coarse = [_with(each, belt) for each in demo]
    fine = [DensityMap(each.density.repeat(3, 0).repeat(3, 1).repeat(3, 2), (1.6 / 3,) * 3) for each in coarse]
    of_coarse, of_fine = find_belt(*coarse, _LEVELS), find_belt(*fine, _LEVELS)
    assert of_fine.shares == pytest.approx(of_coarse.shares, abs=0.03)
    for mine, theirs in zip(of_fine.masks, of_coarse.masks):
        assert ((mine[1::3, 1::3, 1::3] < 0.5) == (theirs < 0.5)).mean() > 0.98
