"""Prediction: in the map's own units, on its own grid, there and back."""

import weakref

import numpy as np
import pytest
import torch
from scipy import ndimage

from chimerax.cryotrans.engine.carrying import prediction
from chimerax.cryotrans.engine.carrying.prediction import carry, carry_back, even_times, predict
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.deposit import deposit

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
    forward = {f.number: f for f in predict(density_map, velocity, CPU, times=even_times(4))}
    backward = {f.number: f for f in predict(density_map, velocity, CPU, times=even_times(4), reverse=True)}
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


def test_the_frames_are_those_of_the_times(density_map):
    times = [0.25, 0.3, 1.0]
    frames = list(predict(density_map, _shift(8, 0, 0), CPU, level=0.5, times=times))
    assert [(frame.number, frame.time) for frame in frames] == list(enumerate(times))
    kept = np.where(density_map.density >= 0.5, density_map.density, 0)
    for frame in frames:
        wanted = ndimage.shift(kept, (8 * frame.time, 0, 0), order=1, mode="constant")
        np.testing.assert_allclose(frame.density_map.density, wanted, atol=1e-4)


def test_one_frame_at_a_time_is_in_memory(density_map, monkeypatch):
    """While a frame is made, none that was let go of is left, however many there were."""
    made, left = [], []

    def counting_deposit(*arguments):
        left.append(sum(reference() is not None for reference in made))
        return deposit(*arguments)

    monkeypatch.setattr(prediction, "deposit", counting_deposit)
    for frame in predict(density_map, _shift(2, 0, 0), CPU, times=even_times(30)):
        made.append(weakref.ref(frame.density_map))
        del frame
    assert left == [0] * 30


def test_more_steps_go_the_way_of_the_exponential(density_map):
    """v = x carries everything e times as far from the corner; ten Euler steps make it 1.1 to the power of ten."""
    velocity = _shift(0, 0, 0)
    with torch.no_grad():
        velocity.n0.weight.copy_(torch.eye(3))
    corner = np.array(density_map.origin) - 0.5 * np.array(density_map.voxel_size)  # where x is 0
    atoms = corner + np.array([[2.0, 3.0, 5.0]])
    for how, factor in (
        ({}, 1.1**10),
        ({"n_steps": 100}, 1.01**100),
        ({"integrator": "rk4"}, np.e),
        ({"integrator": "midpoint", "n_steps": 20}, (1 + 1 / 20 + 1 / 800) ** 20),
    ):
        [end] = carry(atoms, density_map, velocity, **how)
        np.testing.assert_allclose(end - corner, factor * (atoms - corner), atol=1e-4, err_msg=str(how))


# Back


def _smooth(seed: int = 4, scale: float = 24.0) -> VelocityField:
    """A network whose flow bends the box by some voxels, as a trained one does."""
    velocity = VelocityField(3, 30, seed=seed)
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.mul_(scale)
    return velocity


def test_atoms_carried_there_come_back(density_map):
    velocity, random = _smooth(), np.random.default_rng(3)
    atoms = np.array(density_map.origin) + random.uniform(0.2, 0.8, (200, 3)) * [17, 24, 31]
    times = (0.0, 0.2, 0.75, 1.0)
    there = carry(atoms, density_map, velocity, [1 - time for time in reversed(times)])
    assert np.linalg.norm(there[-1] - atoms, axis=1).mean() > 2  # Å
    back, residuals = carry_back(there[-1], density_map, velocity, times)
    assert residuals.shape == (200,)
    assert residuals.max() < 1e-3
    np.testing.assert_array_equal(back[0], there[-1])
    np.testing.assert_allclose(back, there[::-1], atol=1e-3)


def test_a_map_carried_back_is_where_it_came_from(density_map):
    voxels = (1, -2, 3)
    kept = np.where(density_map.density >= 0.5, density_map.density, 0)
    moved = density_map.with_density(ndimage.shift(kept, voxels, order=0))
    frames = {f.number: f for f in predict(moved, _shift(*voxels), CPU, times=even_times(3), inverse=True)}
    assert [frames[i].time for i in range(3)] == [0, 0.5, 1]
    np.testing.assert_array_equal(frames[0].density_map.density, moved.density)
    np.testing.assert_allclose(frames[2].density_map.density, kept, atol=1e-4)
    assert frames[2].residual < 1e-4
    assert frames[2].mass_unsolved == 0


def test_the_inverse_may_be_numbered_in_reverse(density_map):
    numbers = [(f.number, f.time) for f in predict(density_map, _shift(1, 0, 0), CPU, inverse=True, reverse=True)]
    assert numbers == [(i, pytest.approx(1 - i / 10)) for i in range(11)]


def test_mass_that_comes_from_nowhere_is_counted(density_map):
    """Ten steps that each go all the way to the corner of the box leave nothing where the map is."""
    velocity = _shift(0, 0, 0)
    with torch.no_grad():
        velocity.n0.weight.copy_(-10 * torch.eye(3))
    frame = next(predict(density_map, velocity, CPU, level=0.5, inverse=True))
    assert frame.mass_unsolved == pytest.approx(1)
    farthest = (np.argwhere(density_map.density >= 0.5) + 0.5) / 24  # box sides from the corner
    wanted = np.linalg.norm(farthest, axis=1).max() * 24 * 1.3  # Å, at the longest side of a voxel
    assert frame.residual == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"level": 99.0}, "keeps nothing"),
        ({"times": []}, "they are none"),
        ({"times": [0.0, 0.6, 0.5]}, r"must ascend and lie from 0 to 1, .*; they are 0, 0.6, 0.5"),
        ({"times": [0.0, 0.5, 0.5]}, "must ascend"),
        ({"times": [0.0, 1.01]}, "from 0 to 1"),
        ({"times": [-0.1, 1.0]}, "from 0 to 1"),
        ({"times": [float("nan")]}, "from 0 to 1"),
    ],
)
def test_what_cannot_be_predicted_is_refused(density_map, given, words):
    with pytest.raises(InputError, match=words):
        predict(density_map, VelocityField(3, 5, 0), CPU, **given)


def test_one_frame_is_no_trajectory():
    with pytest.raises(InputError, match="2 frames or more"):
        even_times(1)


def test_a_flow_to_no_number_is_refused(density_map):
    with pytest.raises(InputError, match="not numbers"):
        carry(np.zeros((1, 3)), density_map, _shift(float("inf"), 0, 0))
