"""Several flows in turn: where points are at each time, and the way back."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from chimerax.cryotrans.engine.carrying.prediction import carry, carry_back, even_times, predict
from chimerax.cryotrans.engine.flow import integration as flow
from chimerax.cryotrans.engine.flow.chain import displacements, inverse_displacement
from chimerax.cryotrans.engine.flow.domains import DomainField
from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.preparation import level_of_same_volume

CPU = torch.device("cpu")


def _shift(*shift: float) -> VelocityField:
    """Everything moves by so much, in sides of the box."""
    field = VelocityField(1)
    with torch.no_grad():
        field.n0.weight.zero_()
        field.n0.bias.copy_(torch.tensor(shift))
    return field


def _turning(seed: int) -> VelocityField:
    """A velocity that changes from place to place."""
    field = VelocityField(2, 8, seed)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.3)
    return field


def _domains(points, seed):
    """A flow whose velocity depends on where a point starts."""
    field = DomainField.spread_over(points, 3, seed)
    with torch.no_grad():
        for i, parameter in enumerate(field.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed + i)) * 0.02)
    return field


@pytest.fixture
def points():
    return torch.rand(50, 3, generator=torch.Generator().manual_seed(1))


def test_one_leg_is_its_flow_to_the_last_bit(points):
    times = even_times(7)
    ours, wanted = (list(way(_turning(0), points, times)) for way in (_one_leg, flow.displacements))
    assert len(ours) == len(wanted) == 7 and all(map(torch.equal, ours, wanted))


def _one_leg(field, points, times):
    return displacements([field], points, times)


def test_constant_velocities_take_turns(points):
    fields = [_shift(0.1, 0, 0), _shift(0, 0.3, 0), _shift(0, 0, -0.2)]
    times = [0.0, 1 / 6, 1 / 3, 0.5, 2 / 3, 0.9, 1.0]
    wanted = [[0, 0, 0], [0.05, 0, 0], [0.1, 0, 0], [0.1, 0.15, 0], [0.1, 0.3, 0], [0.1, 0.3, -0.14], [0.1, 0.3, -0.2]]
    moves = list(displacements(fields, points, times))
    assert len(moves) == len(times)
    for moved, there in zip(moves, wanted):
        torch.testing.assert_close(moved, torch.tensor(there, dtype=torch.float32).expand_as(points), atol=1e-6, rtol=0)


@pytest.mark.parametrize("times", [[1.0], [0.0], [0.75, 0.8], [0.25], [0.5], [0.1, 0.5, 0.6]])
def test_any_choice_of_times_shows_the_same_trajectory(points, times):
    fields = [_turning(0), _turning(5)]
    every = sorted({*times, *even_times(21)})
    all_of_it = dict(zip(every, displacements(fields, points, every)))
    moves = list(displacements(fields, points, times))
    assert len(moves) == len(times)
    for time, moved in zip(times, moves):
        torch.testing.assert_close(moved, all_of_it[time], atol=1e-6, rtol=0)


def test_a_leg_ends_where_the_next_begins(points):
    first, second = _turning(0), _domains(points, 3)
    [at_joint] = flow.displacements(first, points, [1.0])
    before, joint, after = displacements([first, second], points, [0.5 - 1e-5, 0.5, 0.5 + 1e-5])
    assert torch.equal(joint, at_joint)
    assert float((before - joint).norm(dim=1).max()) < 1e-4 > float((after - joint).norm(dim=1).max())
    [end] = displacements([first, second], points, [1.0])
    [rest] = flow.displacements(second, points + at_joint, [1.0])  # domains are of where the leg's points start
    assert torch.equal(end, at_joint + rest)


def test_the_way_back_undoes_all_legs(points):
    fields = [_turning(0), _shift(0.05, 0, 0.1), _turning(5)]
    [end] = displacements(fields, points, [1.0])
    back, residuals = inverse_displacement(fields, points + end)
    torch.testing.assert_close(back, -end, atol=1e-5, rtol=0)
    assert float(residuals.max()) < 1e-5


def test_a_map_and_atoms_go_the_whole_way():
    random = np.random.default_rng(0)
    density = np.zeros((16, 20, 24), np.float32)
    density[5:10, 6:12, 7:13] = random.random((5, 6, 6)) + 0.1
    density_map = DensityMap(density, (1.1, 1.2, 1.3), header_origin=(3.0, 2.0, 1.0), name="blob.mrc")
    first, second = (1.0, -2.0, 3.0), (0.5, 3.0, 0.0)  # voxels
    fields = [_shift(*(np.array(voxels) / 24)) for voxels in (first, second)]
    frames = [frame.density_map.density for frame in predict(density_map, fields, CPU, times=even_times(3))]
    np.testing.assert_array_equal(frames[0], density)
    np.testing.assert_allclose(frames[1], ndimage.shift(density, first, order=1), atol=1e-4)
    # Once on a grid, not twice: what is put on a grid at the joint would be blurred by the halves of a voxel before.
    np.testing.assert_allclose(frames[2], ndimage.shift(density, np.add(first, second), order=1), atol=1e-4)

    atoms = np.array([[9.0, 12.0, 14.0], [10.0, 11.5, 13.0]])  # Å
    half, end = carry(atoms, density_map, fields, times=(0.5, 1.0))
    size = np.array(density_map.voxel_size)
    np.testing.assert_allclose(half - atoms, np.tile(first * size, (2, 1)), atol=1e-5)
    np.testing.assert_allclose(end - atoms, np.tile(np.add(first, second) * size, (2, 1)), atol=1e-5)
    back, residuals = carry_back(end, density_map, fields, times=(0.0, 0.5, 1.0))
    np.testing.assert_allclose(back, [end, half, atoms], atol=1e-4)
    assert residuals.max() < 1e-4


def test_the_level_of_the_same_volume_keeps_as_many_voxels():
    density = np.random.default_rng(2).random((4, 5, 6)).astype(np.float32)
    for n_voxels in (1, 17, 120):
        assert (density >= level_of_same_volume(density, n_voxels)).sum() == n_voxels
    density[density < 0.5] = 0
    assert level_of_same_volume(density, 120) == density[density > 0].min()  # there are not so many
