"""The maps of motion against what follows from their definitions: nearest points by brute force, residuals by hand."""

import mrcfile
import numpy as np
import phantoms
import pytest
import torch
from scipy.ndimage import gaussian_filter

from chimerax.cryotrans.engine.judging.comparison import Comparison
from chimerax.cryotrans.engine.judging.motion_maps import motion_maps, nearest_points, residual, write_motion_maps
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.fsc import correlation
from chimerax.cryotrans.engine.maps.preparation import above_level

SIDE = max(phantoms.SHAPE)
ORIGIN = (7.0, -3.0, 2.0)


class Affine:
    """dx/dt = v + B x(0) in voxels."""

    integrator = "euler"

    def __init__(self, velocity, of_start) -> None:
        self._velocity, self._slope = torch.tensor(velocity) / SIDE, torch.tensor(of_start)

    def at(self, start):
        return lambda points: self._velocity + start @ self._slope.T + 0 * points


def _map(density, name="a.mrc") -> DensityMap:
    return DensityMap(np.asarray(density, np.float32), phantoms.VOXEL_SIZE, header_origin=ORIGIN, name=name)


@pytest.fixture(scope="module")
def judged():
    """A shift by 1, -3 and 0 voxels while everything grows by a tenth along x."""
    initial, target = _map(phantoms.two_domains()), _map(phantoms.two_domains(1.0), "b.mrc")
    judge = Comparison(initial, target, phantoms.LEVEL, phantoms.LEVEL, torch.device("cpu"))
    flow = Affine((1.0, -3.0, 0.0), [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.1]])
    measured = judge.measure(flow, 0, 0.0, 0.0)
    nearest = nearest_points(judge.support, initial.grid_shape, initial.voxel_size)
    return measured, judge.support, dict(motion_maps(initial, target, phantoms.LEVEL, nearest, measured, 1.2))


def test_each_point_has_its_own_values_at_the_place_where_it_starts(judged):
    _, support, maps = judged
    along_x = 0.1 * (support[:, 2] + 0.5)
    expected = 1.5 * np.sqrt(1 + 9 + along_x**2)  # Å
    np.testing.assert_allclose(maps["displacement"].density[tuple(support.T)], expected, rtol=1e-4)
    np.testing.assert_allclose(maps["volume_change"].density[tuple(support.T)], 1.1, rtol=1e-4)
    np.testing.assert_allclose(maps["strain"].density[tuple(support.T)], 0.1 / np.sqrt(3), rtol=1e-3)


def test_far_from_all_points_nothing_moves(judged):
    _, support, maps = judged
    assert np.linalg.norm(support - [0, 0, 27], axis=1).min() > 4
    for density_map, rest in zip(maps.values(), (0, 1, 0)):
        assert density_map.density[0, 0, 27] == rest


def test_all_lie_on_the_grid_of_the_initial_map(judged):
    for density_map in judged[2].values():
        assert density_map.grid_shape == phantoms.SHAPE and density_map.origin == ORIGIN


def test_the_residual_is_what_the_correlation_leaves(judged):
    measured, _, maps = judged
    target = above_level(_map(phantoms.two_domains(1.0)), phantoms.LEVEL)
    coarse = gaussian_filter(measured.generated.astype(float), 1.2 / 1.5, mode="constant", truncate=6)
    left = float((maps["residual"].density.astype(float) ** 2).sum() / (target.astype(float) ** 2).sum())
    assert left == pytest.approx(1 - correlation(coarse, target) ** 2, rel=1e-4)


def test_the_residual_of_a_scaled_copy_is_zero_and_of_one_with_something_more_is_that():
    density = phantoms.blob((9, 8, 8))
    np.testing.assert_allclose(residual(density, 3 * density, 0.0), 0, atol=1e-5)
    more = np.zeros(phantoms.SHAPE)
    more[2, 20, 24] = 0.5
    assert density[2, 20, 24] < 1e-8  # so the two are orthogonal
    np.testing.assert_allclose(residual(density, 3 * density + more, 0.0), more, atol=1e-5)


def test_the_residual_is_taken_at_the_resolution_of_the_target():
    density = phantoms.blob((9, 10, 12))
    coarse = gaussian_filter(density, 1.3, mode="constant", truncate=8)
    assert correlation(density, coarse) < 0.98
    np.testing.assert_allclose(residual(density, coarse, 1.3), 0, atol=1e-4)


def test_the_residual_of_nothing_is_the_target():
    density = phantoms.blob((9, 10, 12))
    np.testing.assert_allclose(residual(np.zeros(phantoms.SHAPE), density, 1.0), density, rtol=1e-6)


@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (1.0, 2.0, 1.5)])
def test_voxels_near_a_point_belong_to_the_nearest_one(voxel_size):
    shape = (9, 10, 11)
    support = np.unique(np.random.default_rng(5).integers(0, shape, (12, 3)), axis=0)
    voxels = np.indices(shape).reshape(3, -1).T
    distances = np.linalg.norm((voxels[:, None] - support) * voxel_size, axis=2)
    nearest = np.full(shape, -1)
    found = nearest_points(support, shape, voxel_size)
    nearest[found.part] = found.points
    nearest = nearest.ravel()
    near = distances.min(axis=1) <= 3 * max(voxel_size) + 1e-9
    assert (nearest[~near] == -1).all() and 0 < near.sum() < len(near)
    found = distances[np.flatnonzero(near), nearest[near]]
    np.testing.assert_allclose(found, distances.min(axis=1)[near])


def test_the_files_hold_the_maps(judged, tmp_path):
    names = write_motion_maps(tmp_path, judged[2].items())
    assert names == ["displacement.mrc", "volume_change.mrc", "strain.mrc", "residual.mrc"]
    for name, density_map in zip(names, judged[2].values()):
        with mrcfile.open(tmp_path / name) as file:
            np.testing.assert_array_equal(file.data, density_map.density)
            assert file.voxel_size.x == pytest.approx(1.5)
