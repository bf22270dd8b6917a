"""Motion relative to a part, against the inverse of that part's known motion."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.carrying.prediction import carry, carry_back, predict
from chimerax.cryotrans.engine.carrying.still_part import StillPart
from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.domains import DomainField
from chimerax.cryotrans.engine.maps.density_map import DensityMap

CPU = torch.device("cpu")
SIDE, VOXEL = 32, 2.0
ORIGIN = (10.0, -20.0, 5.0)
PLACES = np.array([[16.0, 16.0, 8.0], [16.0, 16.0, 23.0]])  # of two domains, voxels
TURN, WAY = np.array([0.0, 0.5, 0.3]), np.array([2.0, -3.0, 1.0])  # of the second one: radians, voxels


def _blobs():
    grid = np.stack(np.meshgrid(*3 * [np.arange(SIDE)], indexing="ij"), axis=-1)
    return [np.exp(-((grid - place) ** 2).sum(axis=-1) / 8).astype(np.float32) for place in PLACES]


def _map():
    return DensityMap(sum(_blobs()), (VOXEL,) * 3, header_origin=ORIGIN, name="a.mrc")


def _field():
    """The first domain rests, the second turns about its middle and is shifted."""
    centres = torch.tensor((PLACES + 0.5) / SIDE).float()
    turns = torch.tensor(np.stack((np.zeros(3), TURN))).float()
    field = DomainField.of_screws(centres, turns, torch.tensor(np.stack((np.zeros(3), WAY)) / SIDE).float(), 0.1)
    field.spread.mul_(0.1)  # a sharp border
    return field


def _points(place, seed):
    """Å, in the frame of the map."""
    voxels = PLACES[place] + np.random.default_rng(seed).normal(0, 2, (20, 3))
    return voxels * VOXEL + np.array(ORIGIN)


def _true_way_of_the_second(points, time):
    """Closed form of the screw at a time, (n, 3), Å."""
    [end] = carry(points, _map(), _field(), (time,))
    centre = PLACES[1] * VOXEL + np.array(ORIGIN)
    rotation = Rotation.from_rotvec(TURN * time)
    return end, rotation, centre


def test_the_part_stays_and_the_rest_makes_its_motion_backwards():
    density_map = _map()
    still = StillPart(density_map, 0.1, _blobs()[1], "part.mrc", CPU)
    first, second = _points(0, 1), _points(1, 2)
    times = (0.0, 0.4, 1.0)
    relative = carry(np.concatenate((first, second)), density_map, _field(), times, still=still)
    np.testing.assert_allclose(relative[0], np.concatenate((first, second)), atol=1e-12)
    for k, time in enumerate(times):
        np.testing.assert_allclose(relative[k, 20:], second, atol=1e-3)
        end, rotation, _ = _true_way_of_the_second(second, time)
        shift = end.mean(axis=0) - rotation.apply(second - second.mean(axis=0)).mean(axis=0) - second.mean(axis=0)
        backwards = rotation.inv().apply(first - second.mean(axis=0) - shift) + second.mean(axis=0)
        np.testing.assert_allclose(relative[k, :20], backwards, atol=2e-3)
    assert still.turn == pytest.approx(np.rad2deg(np.linalg.norm(TURN)), abs=0.01)
    assert f"turned by {still.turn:.1f}° and shifted by {still.shift:.1f} Å" in still.text("part.mrc")


def test_frames_and_the_way_back_are_told_relative_to_it_too():
    density_map = _map()
    still = StillPart(density_map, 0.1, _blobs()[1], "part.mrc", CPU)
    frames = [frame.density_map.density for frame in predict(density_map, _field(), CPU, 0.1, (0.0, 1.0), still=still)]
    near = tuple(slice(int(x) - 3, int(x) + 4) for x in PLACES[1])
    np.testing.assert_allclose(frames[1][near], frames[0][near], atol=0.02)
    assert np.abs(frames[1] - frames[0]).max() > 0.3  # the other one has moved
    there, _ = carry_back(_points(1, 3), density_map, _field(), (1.0,), still=still)
    np.testing.assert_allclose(there[0], _points(1, 3), atol=0.05)


def test_a_part_without_density_is_refused():
    with pytest.raises(InputError, match=r"Nothing of a\.mrc above level 0\.1 lies in part\.mrc"):
        StillPart(_map(), 0.1, np.zeros((SIDE,) * 3, np.float32), "part.mrc", CPU)
