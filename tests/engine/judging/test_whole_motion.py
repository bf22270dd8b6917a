"""The rigid motion of the whole against one that was made, SciPy's, and motions of parts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.judging.whole_motion import whole_motion

RANDOM = np.random.default_rng(0)
PLACES = RANDOM.normal(size=(400, 3)) * (10, 14, 18) + (50, 60, 70)
WEIGHTS = RANDOM.uniform(0.1, 1, 400).astype(np.float32)


def _moved(degrees: float, shift: float, places: np.ndarray = PLACES) -> np.ndarray:
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0.0, 0.8]))
    middle = np.average(PLACES, axis=0, weights=WEIGHTS)
    return turn.apply(places - middle) + middle + np.array([0, shift, 0]) - places


@pytest.mark.parametrize(("degrees", "shift", "large"), [(5, 1, False), (60, 0, True), (0, 30, True), (175, 3, True)])
def test_a_rigid_motion_is_told_as_it_is(degrees, shift, large):
    found = whole_motion(PLACES, _moved(degrees, shift), WEIGHTS)
    assert found.turn == pytest.approx(degrees, abs=1e-4) and found.shift == pytest.approx(shift, abs=1e-4)
    assert found.share == pytest.approx(1) and found.is_large == large
    assert found.text().startswith(f"As a whole the map turns by {degrees}° and shifts by {shift:.1f} Å, which is 100%")


def test_what_is_left_is_what_scipy_leaves():
    displacement = _moved(30, 4) + RANDOM.normal(0, 3, PLACES.shape)
    found = whole_motion(PLACES, displacement, WEIGHTS)
    before, after = (p - np.average(p, axis=0, weights=WEIGHTS) for p in (PLACES, PLACES + displacement))
    rotation, _ = Rotation.align_vectors(after, before, weights=WEIGHTS)
    left = np.average(((rotation.apply(before) - after) ** 2).sum(1), weights=WEIGHTS)
    assert 1 - found.share == pytest.approx(left / np.average((displacement**2).sum(1), weights=WEIGHTS), rel=1e-5)
    assert found.turn == pytest.approx(np.degrees(rotation.magnitude()), rel=1e-5)


def test_a_hinge_is_no_motion_of_the_whole():
    part = PLACES[:, 2] > 80
    found = whole_motion(PLACES, np.where(part[:, None], _moved(50, 5), 0), WEIGHTS)
    assert found.share < 0.7 and not found.is_large


def test_the_size_is_that_of_a_ball():
    ball = RANDOM.normal(size=(20000, 3))
    ball *= 25 * RANDOM.uniform(size=(20000, 1)) ** (1 / 3) / np.linalg.norm(ball, axis=1, keepdims=True)
    found = whole_motion(ball, np.zeros_like(ball), np.ones(20000, np.float32))
    assert found.size == pytest.approx(50, rel=0.02) and found.share == 0 and found.turn == 0
