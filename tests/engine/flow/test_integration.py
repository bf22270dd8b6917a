"""The flow and its inverse against reference numbers and closed forms, the derivative against gradcheck."""

import math

import pytest
import torch

from chimerax.cryotrans.engine.flow import integration as flow
from chimerax.cryotrans.engine.flow.integration import displacement, displacements, follow
from chimerax.cryotrans.engine.flow.inverse import inverse_displacement
from chimerax.cryotrans.engine.flow.velocity import VelocityField


def _field(depth: int = 3, width: int = 5, seed: int = 0, spread: float = 30.0) -> VelocityField:
    """A field in float64 with velocities of the order of 1."""
    velocity = VelocityField(depth, width, seed).double()
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.mul_(spread)
    return velocity


def _points(n: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def reference_field(reference):
    velocity = VelocityField(4, 16).double()
    with torch.no_grad():
        for name, parameter in velocity.named_parameters():
            parameter.copy_(torch.from_numpy(reference[f"flow_{name}"]))
    return velocity


def test_the_trajectory_is_that_of_the_reference(reference, reference_field):
    start = torch.from_numpy(reference["flow_points"])
    wanted = torch.from_numpy(reference["flow_trajectory"])
    moved = torch.stack(list(displacements(reference_field, start, [k / 10 for k in range(11)])))
    torch.testing.assert_close(start + moved, wanted, rtol=0, atol=1e-14)
    torch.testing.assert_close(start + displacement(reference_field, start), wanted[-1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("keep_outputs", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_the_derivative_passes_gradcheck(depth, keep_outputs):
    velocity = _field(depth)
    start = _points(4).requires_grad_()

    def end(points, *parameters):
        return displacement(velocity, points, n_steps=3, keep_outputs=keep_outputs)

    assert torch.autograd.gradcheck(end, (start, *velocity.parameters()))


def test_recomputing_gives_the_same_gradient_as_keeping():
    velocity, start = _field(3, 50), _points(30)
    gradients = []
    for keep_outputs in (True, False):
        velocity.zero_grad()
        (displacement(velocity, start, keep_outputs=keep_outputs) ** 2).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in velocity.parameters()])
    for kept, recomputed in zip(*gradients):
        torch.testing.assert_close(kept, recomputed, rtol=1e-12, atol=1e-14)


def test_a_few_points_at_a_time_are_as_good_as_all(monkeypatch):
    velocity, start = _field(3, 20), _points(30).requires_grad_()
    found = []
    for at_once in (30, 7):
        monkeypatch.setattr(flow, "_POINTS_AT_ONCE_ON_CPU", at_once)
        velocity.zero_grad()
        start.grad = None
        moved = displacement(velocity, start)
        (moved**2).sum().backward()
        found.append([moved.detach(), start.grad.clone(), *(p.grad.clone() for p in velocity.parameters())])
    for whole, parts in zip(*found):
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)


def test_a_constant_velocity_moves_by_itself():
    velocity = VelocityField(1).double()
    with torch.no_grad():
        velocity.n0.weight.zero_()
        velocity.n0.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    start = _points(6)
    torch.testing.assert_close(displacement(velocity, start), velocity.n0.bias.detach().expand(6, 3))
    halfway = list(displacements(velocity, start, [0.0, 0.25, 0.5]))
    torch.testing.assert_close(halfway[1], velocity.n0.bias.detach().expand(6, 3) / 4)


MATRIX = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.2], [0.0, 0.1, -0.3]], dtype=torch.float64)


def _linear(matrix: torch.Tensor = MATRIX) -> VelocityField:
    """v(x) = Ax, whose flow is exp(At)."""
    velocity = VelocityField(1).double()
    with torch.no_grad():
        velocity.n0.weight.copy_(matrix)
        velocity.n0.bias.zero_()
    return velocity


class _Anchored:
    """What points at the start x feel is w(x) (Ax + b), with a weight that is theirs all the way."""

    integrator = "midpoint"

    def __init__(self, matrix=MATRIX, constant=(0.0, 0.0, 0.0), slope=1.0):
        self.matrix, self.slope = matrix, slope
        self.constant = torch.tensor(constant, dtype=torch.float64)

    def weight(self, start):
        return torch.sigmoid(self.slope * (start[:, :1] - 0.5))

    def at(self, start):
        weight = self.weight(start)
        return lambda x: weight * (x @ self.matrix.T + self.constant)


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_halving_the_step_shows_the_order_of_the_integrator(integrator, order):
    """dx/dt = Ax has the solution exp(At) x; the error falls as the step's size to the power of the order."""
    start = _points(5)
    exact = start @ torch.linalg.matrix_exp(MATRIX).T
    errors = []
    for n_steps in (20, 40):
        [moved] = displacements(_linear(), start, [1.0], n_steps, integrator)
        errors.append(float((start + moved - exact).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.05)


def test_rk4_follows_the_exponential_between_its_steps_too():
    start = _points(5)
    times = [0.03, 0.2, 0.37, 1.0]
    for time, moved in zip(times, displacements(_linear(), start, times, integrator="rk4")):
        exact = start @ torch.linalg.matrix_exp(time * MATRIX).T
        torch.testing.assert_close(start + moved, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("integrator", ["euler", "midpoint", "rk4"])
def test_times_in_between_do_not_change_the_way(integrator):
    start = _points(5)
    few = list(displacements(_field(), start, [0.5, 1.0], 10, integrator))
    many = list(displacements(_field(), start, [0.01, 0.02, 0.5, 0.55, 0.99, 1.0], 10, integrator))
    assert torch.equal(few[0], many[2])
    assert torch.equal(few[1], many[5])


def test_a_field_may_depend_on_the_start_and_names_its_integrator():
    field, start = _Anchored(), _points(7)
    [moved] = displacements(field, start, [1.0])
    [same] = displacements(field, start, [1.0], integrator="midpoint")
    assert torch.equal(moved, same)
    exact = torch.stack([torch.linalg.matrix_exp(w * MATRIX) @ x for w, x in zip(field.weight(start), start)])
    torch.testing.assert_close(start + moved, exact, rtol=0, atol=5e-4)  # the midpoint rule with ten steps


def test_points_are_followed_in_parts_as_all_at_once(monkeypatch):
    start = _points(30)
    for field in (_field(), _Anchored()):
        whole = list(displacements(field, start, [0.33, 1.0]))
        monkeypatch.setattr(flow, "_POINTS_AT_ONCE", 7)
        parts = list(displacements(field, start, [0.33, 1.0]))
        monkeypatch.undo()
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)


def test_following_gives_what_training_gives():
    velocity, start = _field(), _points(9)
    torch.testing.assert_close(follow(velocity, start, 10), displacement(velocity, start), rtol=0, atol=1e-14)


# The inverse


@pytest.mark.parametrize("integrator", ["euler", "midpoint", "rk4"])
def test_the_inverse_of_a_linear_flow_is_that_of_its_matrix(integrator):
    """One step multiplies by a polynomial of A/10, so ten undo the tenth power of that."""
    ends = _points(6)
    a = MATRIX / 10
    terms = {"euler": 1, "midpoint": 2, "rk4": 4}[integrator]
    step = sum(torch.linalg.matrix_power(a, k) / math.factorial(k) for k in range(terms + 1))
    exact = ends @ torch.linalg.inv(torch.linalg.matrix_power(step, 10)).T
    back, residuals = inverse_displacement(_linear(), ends, integrator=integrator)
    torch.testing.assert_close(ends + back, exact, rtol=0, atol=1e-5)
    assert float(residuals.max()) < 1e-5


@pytest.mark.parametrize(
    "field", [_field(3, 20, spread=40.0), _Anchored(), _Anchored(constant=(0.5, 0.1, 0.0), slope=2.0)]
)
def test_there_and_back_is_where_it_began(field):
    start = _points(200)
    [moved] = displacements(field, start, [1.0])
    back, residuals = inverse_displacement(field, start + moved)
    assert float(moved.detach().norm(dim=1).mean()) > 0.1
    torch.testing.assert_close(back, -moved, rtol=0, atol=1e-5)
    assert float(residuals.max()) < 2e-6


def test_steps_too_large_to_be_undone_one_by_one_are_undone_by_newtons_method():
    """A step that multiplies by 1 - 2.5 has an inverse, but no fixed point that an iteration comes to."""
    ends = _points(5)
    back, residuals = inverse_displacement(_linear(-25 * torch.eye(3, dtype=torch.float64)), ends)
    torch.testing.assert_close(ends + back, ends / 1.5**10, rtol=0, atol=1e-6)
    assert float(residuals.max()) < 1e-6


def test_where_nothing_arrives_a_residual_remains():
    """Ten Euler steps that each take all of the way to 0 leave nothing anywhere else."""
    ends = _points(5)
    _, residuals = inverse_displacement(_linear(-10 * torch.eye(3, dtype=torch.float64)), ends)
    torch.testing.assert_close(residuals, ends.norm(dim=1), rtol=0, atol=1e-6)


def test_no_points_have_no_inverse_and_no_error():
    back, residuals = inverse_displacement(_linear(), _points(0))
    assert back.shape == (0, 3)
    assert residuals.shape == (0,)


# Frames and seeds


@pytest.mark.parametrize("n_frames", [2, 5, 7, 11, 12, 31])
def test_any_number_of_frames_shows_the_same_trajectory(n_frames):
    velocity, start = _field(), _points(8)
    coarse = torch.stack(list(displacements(velocity, start, [k / 10 for k in range(11)])))
    times = [i / (n_frames - 1) for i in range(n_frames)]
    for time, moved in zip(times, displacements(velocity, start, times)):
        before = min(int(time * 10 + 1e-9), 9)
        part = time * 10 - before
        torch.testing.assert_close(moved, (1 - part) * coarse[before] + part * coarse[before + 1], atol=1e-9, rtol=0)


def test_a_seed_names_a_network():
    first, again, other = (VelocityField(3, 200, seed) for seed in (7, 7, 8))
    assert torch.equal(first.n1.weight, again.n1.weight)
    assert not torch.equal(first.n1.weight, other.n1.weight)
    assert float(first.n1.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert not first.n1.bias.any()
