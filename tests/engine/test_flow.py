"""The flow against reference numbers and closed forms, its derivative against gradcheck."""

import pytest
import torch

from chimerax.cryotrans.engine import flow
from chimerax.cryotrans.engine.flow import displacement, displacements
from chimerax.cryotrans.engine.velocity import VelocityField


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


def test_euler_steps_converge_to_the_exponential():
    """dx/dt = Ax has the solution exp(At) x; the error of Euler steps falls in proportion to their size."""
    matrix = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.2], [0.0, 0.1, -0.3]], dtype=torch.float64)
    velocity = VelocityField(1).double()
    with torch.no_grad():
        velocity.n0.weight.copy_(matrix)
        velocity.n0.bias.zero_()
    start = _points(5)
    exact = start @ torch.linalg.matrix_exp(matrix).T
    errors = [float((start + displacement(velocity, start, n) - exact).detach().abs().max()) for n in (20, 40)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


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
