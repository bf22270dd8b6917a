"""Rigid motions against scipy's rotations."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.docking.motions import (
    Motions,
    all_turns,
    best_motion,
)
from chimerax.cryotrans.engine.flow.rotations import angles_between, of_vectors, to_vectors


def _turns(n: int, seed: int = 0) -> Rotation:
    return Rotation.random(n, random_state=seed)


def test_rotation_vectors_are_those_of_scipy():
    turns = _turns(50)
    vectors = torch.from_numpy(turns.as_rotvec())
    np.testing.assert_allclose(of_vectors(vectors).numpy(), turns.as_matrix(), atol=1e-9)
    np.testing.assert_allclose(to_vectors(torch.from_numpy(turns.as_matrix())).numpy(), vectors.numpy(), atol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-5, np.pi - 1e-6])
def test_small_and_half_turns_keep_their_vector(angle):
    vector = torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64) * angle
    torch.testing.assert_close(to_vectors(of_vectors(vector)), vector, atol=1e-6, rtol=0)


def test_a_rotation_has_a_derivative_at_rest():
    vectors = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(of_vectors, (vectors + 1e-3,))
    of_vectors(vectors)[:, 0, 1].sum().backward()
    assert torch.isfinite(vectors.grad).all()


def test_all_turns_leave_no_gap():
    """Of 1200 even ones each covers 15° or so; a gap of 25° would lie in none."""
    covering = all_turns(1200, torch.zeros(1, dtype=torch.float64))
    asked = torch.from_numpy(_turns(500, 3).as_matrix())
    nearest = angles_between(asked[:, None], covering).amin(1).rad2deg()
    assert nearest.max() < 25
    assert nearest.mean() < 13


def test_a_motion_told_about_other_centres_is_the_same():
    turns, points = torch.from_numpy(_turns(4).as_matrix()), torch.rand(9, 3, dtype=torch.float64)
    motions = Motions(turns, *torch.rand(2, 4, 3, dtype=torch.float64))
    again = motions.about(torch.rand(4, 3, dtype=torch.float64))
    torch.testing.assert_close(again.moved(points), motions.moved(points))


@pytest.mark.parametrize("flat", [False, True])
def test_the_best_motion_is_that_of_scipy(flat):
    rng = np.random.default_rng(0)
    start, weights = rng.normal(size=(30, 3)), rng.uniform(0.1, 1, 30)
    start[:, 2] *= not flat
    end = Rotation.from_rotvec([0.5, 2.0, -1.0]).apply(start) + (1.0, -2.0, 3.0) + 0.05 * rng.normal(size=(30, 3))
    found = best_motion(*(torch.from_numpy(x)[None] for x in (start, end, weights)))
    middles = [np.average(x, axis=0, weights=weights) for x in (start, end)]
    wanted, _ = Rotation.align_vectors(end - middles[1], start - middles[0], weights)
    np.testing.assert_allclose(found.rotations[0].numpy(), wanted.as_matrix(), atol=1e-7)
    np.testing.assert_allclose(found.moved(torch.from_numpy(middles[0])[None])[0, 0].numpy(), middles[1], atol=1e-9)
