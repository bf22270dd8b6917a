"""The deformation of flows whose solution is known, and finite differences."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.flow import deformation as module
from chimerax.cryotrans.engine.flow.deformation import deformation, measured
from chimerax.cryotrans.engine.flow.integration import displacement
from chimerax.cryotrans.engine.flow.velocity import VelocityField

CUBIC = (1.0, 1.0, 1.0)


class Linear:
    """v = A x + B x(0)."""

    def __init__(self, of_place=None, of_start=None, integrator: str = "euler") -> None:
        self.integrator = integrator
        zeros = np.zeros((3, 3))
        self._a, self._b = (torch.from_numpy(zeros if m is None else np.array(m, float)) for m in (of_place, of_start))

    @classmethod
    def that_makes(cls, gradient) -> "Linear":
        """Ten Euler steps of a tenth make F = (1 + A/10)¹⁰."""
        return cls(10 * (fractional_matrix_power(np.array(gradient, float), 0.1).real - np.eye(3)))

    def at(self, start):
        return lambda points: points @ self._a.T + start @ self._b.T


def _points(n: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _found(gradient):
    """Volume change, stretch and strain, the same at every point, of a flow with that gradient."""
    found = deformation(Linear.that_makes(gradient), _points(), CUBIC)[1]
    np.testing.assert_allclose(found.gradient, np.broadcast_to(gradient, (7, 3, 3)), atol=1e-12)
    for values in found[1:]:
        np.testing.assert_allclose(values, values[0], atol=1e-7)
    return tuple(float(values[0]) for values in found[1:])


def test_a_rotation_deforms_nothing():
    turn = Rotation.from_rotvec([0.3, -0.4, 1.0]).as_matrix()
    assert _found(turn) == pytest.approx((1, 1, 0), abs=1e-12)


@pytest.mark.parametrize("shear", [0.3, 2.0])
def test_a_simple_shear_keeps_volume_and_stretches(shear):
    longest = shear / 2 + math.sqrt(1 + shear**2 / 4)
    strain = math.sqrt(((longest - 1) ** 2 + (1 / longest - 1) ** 2) / 3)
    assert _found([[1, shear, 0], [0, 1, 0], [0, 0, 1]]) == pytest.approx((1, longest, strain))


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_a_scaling_changes_volume_by_its_cube(scale):
    assert _found(scale * np.eye(3)) == pytest.approx((scale**3, scale, abs(scale - 1)))


@pytest.mark.parametrize("integrator", ["euler", "midpoint"])
def test_a_velocity_may_depend_on_where_points_start(integrator):
    mirror = np.diag([0, 0, -2.0])
    moved, found = deformation(Linear(of_start=mirror, integrator=integrator), _points(), CUBIC)
    np.testing.assert_allclose(moved, _points() @ mirror.T, atol=1e-15)
    np.testing.assert_allclose(found.volume_change, -1)  # x → -x is a fold
    # The nearest rotation to diag(1, 1, -1) is as far as the unit: |diag(0, 0, -2)| / √3.
    np.testing.assert_allclose(found.strain, 2 / math.sqrt(3))


def test_the_integrator_is_the_fields_own():
    a = np.random.default_rng(0).normal(size=(3, 3))
    found = deformation(Linear(a, integrator="midpoint"), _points(), CUBIC)[1]
    step = np.eye(3) + a / 10 + a @ a / 200
    np.testing.assert_allclose(found.gradient[0], np.linalg.matrix_power(step, 10), rtol=1e-12)


def test_stretches_are_those_of_lengths_in_angstroms():
    # One voxel of z for one of y, where voxels are 3 Å high and 2 Å wide.
    found = deformation(Linear([[0, 1, 0], [0, 0, 0], [0, 0, 0]]), _points(), (3.0, 2.0, 2.0))[1]
    np.testing.assert_allclose(found.stretch, 0.75 + math.sqrt(1 + 1.5**2 / 4))


def test_a_network_agrees_with_finite_differences(monkeypatch):
    monkeypatch.setattr(module, "_POINTS_AT_ONCE_ON_CPU", 4)  # several parts
    velocity = VelocityField(3, 30, seed=0).double()
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.mul_(20)
    points, step = _points(10), 1e-6
    moved, found = deformation(velocity, points, CUBIC)
    torch.testing.assert_close(moved, displacement(velocity, points).detach())
    columns = []
    for axis in torch.eye(3, dtype=torch.float64):
        ends = [points + sign * step * axis for sign in (1, -1)]
        ends = [end + displacement(velocity, end).detach() for end in ends]
        columns.append((ends[0] - ends[1]) / (2 * step))
    wanted = torch.stack(columns, dim=2)
    assert (wanted - torch.eye(3)).abs().max() > 0.1
    torch.testing.assert_close(found.gradient, wanted, rtol=1e-6, atol=1e-6)
    assert all(parameter.grad is None for parameter in velocity.parameters())


def test_a_velocity_without_slope_deforms_nothing():
    class Wind:
        integrator = "euler"

        def at(self, start):
            return lambda points: torch.full_like(points, 0.1)

    moved, found = deformation(Wind(), _points(), CUBIC)
    np.testing.assert_allclose(moved, 0.1)
    np.testing.assert_allclose(found.strain, 0, atol=1e-12)


def test_what_is_not_a_number_is_passed_on():
    gradients = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    gradients[1, 2, 0] = math.nan
    gradients[2, 0, 0] = math.inf
    for values in measured(gradients)[1:]:
        assert torch.isnan(values).tolist() == [False, True, True]
