"""Screws of made-up motions, against rotations that scipy makes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.judging.screws import Screw, screw_of


@pytest.mark.parametrize("angle", [3.0, 60.0, 179.9])
def test_a_screw_is_found_again(angle):
    axis, point, near = np.array([1.0, 2.0, -2.0]) / 3, np.array([5.0, -4.0, 3.0]), np.array([30.0, 10.0, 0.0])
    rotation = Rotation.from_rotvec(np.radians(angle) * axis).as_matrix()
    screw = screw_of(rotation, point - rotation @ point + 7 * axis, near)
    assert screw.angle == pytest.approx(angle, abs=1e-6)
    np.testing.assert_allclose(screw.axis, axis, atol=1e-6)  # the sense too
    assert screw.shift == pytest.approx(7.0, abs=1e-4)
    assert np.linalg.norm(np.cross(screw.point - point, axis)) == pytest.approx(0, abs=1e-2)
    assert (screw.point - near) @ axis == pytest.approx(0, abs=1e-6)  # nearest


def test_half_a_turn_has_an_axis_too():
    screw = screw_of(np.diag([-1.0, 1.0, -1.0]), np.array([4.0, 3.0, 0.0]), np.zeros(3))
    assert screw.angle == pytest.approx(180) and abs(screw.axis[1]) == pytest.approx(1)
    assert screw.shift * screw.axis[1] == pytest.approx(3)
    np.testing.assert_allclose(screw.point, [2, 0, 0], atol=1e-9)


def test_a_shift_is_a_screw_without_a_turn():
    screw = screw_of(np.eye(3), np.array([0.0, 3.0, 4.0]), np.zeros(3))
    assert screw.angle == 0 and screw.shift == pytest.approx(5)
    np.testing.assert_allclose(screw.axis, [0, 0.6, 0.8])


def test_distances_are_across_the_axis():
    screw = Screw(10.0, np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 5.0]), 0.0)
    np.testing.assert_allclose(screw.distances(np.array([[1.0, 0, 90], [4, 4, -7]])), [0, 5])
