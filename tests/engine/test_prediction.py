"""Prediction: in the map's own units, on its own grid."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from chimerax.cryotrans.engine.density_map import DensityMap
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.prediction import carry, predict
from chimerax.cryotrans.engine.velocity import VelocityField

CPU = torch.device("cpu")


@pytest.fixture
def density_map() -> DensityMap:
    """A blob well inside a box that is not a cube, in units of its own, with noise round zero."""
    random = np.random.default_rng(0)
    density = random.normal(scale=0.01, size=(16, 20, 24))
    density[5:11, 6:12, 7:13] += 7 * random.random((6, 6, 6))
    return DensityMap(density.astype(np.float32), (1.1, 1.2, 1.3), header_origin=(3.0, 2.0, 1.0), name="blob.mrc")


def _shift(*voxels: float) -> VelocityField:
    """The field that moves everything by so many voxels of a box whose longest side is 24."""
    velocity = VelocityField(1)
    with torch.no_grad():
        velocity.n0.weight.zero_()
        velocity.n0.bias.copy_(torch.tensor(voxels) / 24)
    return velocity


@pytest.mark.parametrize("level", [0.0, 0.5, 3.0])
def test_the_first_frame_is_the_map_above_its_level(density_map, level):
    first = next(predict(density_map, VelocityField(3, 9, 0), CPU, level))
    kept = np.where((density_map.density >= level) & (density_map.density > 0), density_map.density, 0)
    np.testing.assert_array_equal(first.density_map.density, kept)
    assert first.density_map.origin == density_map.origin
    assert first.density_map.voxel_size == density_map.voxel_size


@pytest.mark.parametrize("voxels", [(1, -2, 3), (0.5, 0.25, -1.75)])
def test_a_constant_velocity_shifts_the_map(density_map, voxels):
    *_, last = predict(density_map, _shift(*voxels), CPU, level=0.5)
    kept = np.where(density_map.density >= 0.5, density_map.density, 0)
    wanted = ndimage.shift(kept, voxels, order=1, mode="constant")
    np.testing.assert_allclose(last.density_map.density, wanted, atol=1e-4)
    assert last.mass_outside == 0


def test_mass_that_leaves_the_box_is_counted(density_map):
    *_, last = predict(density_map, _shift(40, 0, 0), CPU, level=0.5)
    assert last.mass_outside == 1
    assert not last.density_map.density.any()


def test_reverse_mirrors_the_numbers(density_map):
    velocity = _shift(2, 0, 0)
    forward = {f.number: f for f in predict(density_map, velocity, CPU, n_frames=4)}
    backward = {f.number: f for f in predict(density_map, velocity, CPU, n_frames=4, reverse=True)}
    assert list(forward) == [0, 1, 2, 3]
    for number, frame in forward.items():
        assert backward[3 - number].time == frame.time
        np.testing.assert_array_equal(backward[3 - number].density_map.density, frame.density_map.density)


def test_positions_in_space_are_carried_with_the_density(density_map):
    voxels = np.array([1.0, -2.0, 3.0])
    atoms = np.array([[9.0, 12.0, 14.0], [10.0, 11.5, 13.0]])  # Å
    half, end = carry(atoms, density_map, _shift(*voxels), times=(0.5, 1.0))
    np.testing.assert_allclose(end - atoms, np.tile(voxels * density_map.voxel_size, (2, 1)), atol=1e-5)
    np.testing.assert_allclose(half - atoms, (end - atoms) / 2, atol=1e-5)


def test_carried_points_stay_on_the_density_they_came_from(density_map):
    """A voxel's centre in Å, carried, is where the deposit puts that voxel's mass."""
    alone = np.zeros(density_map.grid_shape, np.float32)
    alone[8, 9, 10] = 1
    velocity = VelocityField(3, 30, seed=4)
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.mul_(20)
    *_, last = predict(density_map.with_density(alone), velocity, CPU)
    place = np.array([8, 9, 10]) * density_map.voxel_size + np.array(density_map.origin)
    [carried] = carry(place[None], density_map, velocity)
    centre = np.array(ndimage.center_of_mass(last.density_map.density.astype(float)))
    np.testing.assert_allclose(carried[0], centre * density_map.voxel_size + density_map.origin, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "words"), [({"n_frames": 1}, "2 frames or more"), ({"level": 99.0}, "keeps nothing")]
)
def test_what_cannot_be_predicted_is_refused(density_map, given, words):
    with pytest.raises(InputError, match=words):
        predict(density_map, VelocityField(3, 5, 0), CPU, **given)
