"""The transport against reference numbers, the full cost matrix, and what must hold for any two densities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.transport import sinkhorn as module
from chimerax.cryotrans.engine.transport.sinkhorn import FLOOR, log_blur, sinkhorn


def _densities(shape: tuple[int, int, int], seed: int, empty: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Two densities of one sum, about half of them empty voxels."""
    random = np.random.default_rng(seed)
    a, b = (random.random(shape) * (random.random(shape) > empty) for _ in range(2))
    a[0, 0, 0] = b[-1, -1, -1] = 1
    return torch.from_numpy(a), torch.from_numpy(b * a.sum() / b.sum())


def _by_full_matrix(a: torch.Tensor, b: torch.Tensor, epsilon: float, n_iterations: int):
    """The definition with every pair of voxels in one matrix of costs."""
    x = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in a.shape])
    cost = torch.cdist(x, x) ** 2 / epsilon
    log_a, log_b = a.ravel().clamp(min=FLOOR).log(), b.ravel().clamp(min=FLOOR).log()
    g = torch.zeros_like(log_b)
    for _ in range(n_iterations):
        f = log_a - torch.logsumexp(g - cost, dim=1)
        g = log_b - torch.logsumexp(f - cost, dim=1)
    mass = torch.exp(f + torch.logsumexp(g - cost, dim=1))
    loss = epsilon * (f @ a.ravel() + g @ b.ravel() - mass.sum())
    return loss, epsilon * f.reshape(a.shape), epsilon * g.reshape(b.shape)


@pytest.mark.parametrize("case", ["w2_a", "w2_b"])
def test_loss_and_potentials_are_those_of_the_reference(reference, case):
    a, b = (torch.from_numpy(reference[f"{case}_{name}"]) for name in ("initial", "target"))
    area = 1 / max(a.shape) ** 2  # of a voxel's face in units of the box
    found = sinkhorn(a, b, float(reference[f"{case}_epsilon"]) / area, int(reference[f"{case}_iterations"]))
    assert float(found.loss) * area == pytest.approx(float(reference[f"{case}_loss"]), rel=1e-12)
    for potential, name in ((found.potential_initial, "initial"), (found.potential_target, "target")):
        np.testing.assert_allclose(potential.numpy() * area, reference[f"{case}_gradient_{name}"], atol=1e-13)


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 20.0])  # voxels²: blur far under a voxel, under one, over several
@pytest.mark.parametrize("n_iterations", [1, 5, 12])
def test_rounds_agree_with_the_full_cost_matrix(epsilon, n_iterations):
    a, b = _densities((3, 6, 4), seed=1)
    loss, f, g = _by_full_matrix(a, b, epsilon, n_iterations)
    found = sinkhorn(a, b, epsilon, n_iterations)
    assert found.n_iterations == n_iterations
    torch.testing.assert_close(found.loss, loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.potential_initial, f, rtol=1e-9, atol=1e-9 * epsilon)
    torch.testing.assert_close(found.potential_target, g, rtol=1e-9, atol=1e-9 * epsilon)


@pytest.mark.parametrize("epsilon", [0.5, 20.0])
def test_log_blur_agrees_with_the_full_cost_matrix(epsilon):
    log_mass = torch.randn(3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in log_mass.shape])
    full = torch.logsumexp(log_mass.ravel() - torch.cdist(x, x) ** 2 / epsilon, dim=1)
    torch.testing.assert_close(log_blur(log_mass, epsilon), full.reshape(3, 5, 6))


def test_where_float64_ends_the_rounds_go_on_with_logarithms(monkeypatch):
    a, b = _densities((3, 3, 40), seed=2)
    a[:, :, 5:], b[:, :, :-5] = 0, 0
    b *= a.sum() / b.sum()
    loss, f, _ = _by_full_matrix(a, b, 0.05, 40)
    called = []
    by_logarithms = module._sinkhorn_by_logarithms
    monkeypatch.setattr(module, "_sinkhorn_by_logarithms", lambda *args: called.append(1) or by_logarithms(*args))
    found = sinkhorn(a, b, 0.05, 40)
    assert called, "the case is too mild to leave the range of float64"
    torch.testing.assert_close(found.loss, loss, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.potential_initial, f, rtol=1e-9, atol=1e-9)


def test_five_rounds_cannot_leave_float64():
    """The two worst densities: all mass at opposite ends of a long empty box, and a kernel of next to no reach."""
    a, b = torch.zeros(2, 2, 200, dtype=torch.float64), torch.zeros(2, 2, 200, dtype=torch.float64)
    a[0, 0, 0], b[1, 1, -1] = 1e3, 1e3
    for epsilon in (1e-3, 0.4, 10.0):
        loss, f, _ = _by_full_matrix(a, b, epsilon, 5)
        found = sinkhorn(a, b, epsilon, 5)
        torch.testing.assert_close(found.loss, loss, rtol=1e-9, atol=0)
        torch.testing.assert_close(found.potential_initial, f, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**16), epsilon=st.floats(0.2, 5), offset=st.tuples(*[st.integers(0, 3)] * 3))
def test_moving_both_densities_together_changes_nothing_far_from_the_walls(seed, epsilon, offset):
    a, b = _densities((3, 3, 3), seed)
    losses = []
    for shift in ((4, 4, 4), tuple(4 + k for k in offset)):
        place = tuple(slice(s, s + 3) for s in shift)
        boxes = torch.zeros(2, 14, 14, 14, dtype=torch.float64)
        boxes[0][place], boxes[1][place] = a, b
        losses.append(float(sinkhorn(boxes[0], boxes[1], epsilon, 1).loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-3)  # the walls cut the first blur's far tail


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**16))
def test_at_convergence_exchanging_the_densities_exchanges_the_potentials(seed):
    a, b = _densities((3, 4, 3), seed, empty=0.0)
    one, other = sinkhorn(a, b, 2.0, 300), sinkhorn(b, a, 2.0, 300)
    torch.testing.assert_close(one.loss, other.loss, rtol=2e-3, atol=1e-2)  # it stops at a marginal error of 1e-3
    difference = one.potential_initial - other.potential_target  # known up to a constant
    assert float(difference.max() - difference.min()) < 0.05


def test_the_gradient_of_the_loss_is_the_potential():
    """At convergence, by finite differences of the converged dual value."""
    a, b = _densities((2, 3, 3), seed=5, empty=0.0)
    found = sinkhorn(a, b, 3.0, 99)
    step = torch.zeros_like(a)
    step[0, 1, 1], step[1, 2, 0] = 1e-4, -1e-4  # keeps the sum
    slope = (sinkhorn(a + step, b, 3.0, 99).loss - sinkhorn(a - step, b, 3.0, 99).loss) / 2
    torch.testing.assert_close(slope, (found.potential_initial * step).sum(), rtol=1e-3, atol=1e-9)


def test_rounds_end_early_when_the_marginal_is_reached():
    a, _ = _densities((4, 4, 4), seed=3, empty=0.0)
    found = sinkhorn(a, a, 1e-3, 50)  # no reach: each voxel keeps its own mass
    assert found.n_iterations == 1
    assert float(found.marginal_error) < 1e-3


@pytest.mark.parametrize(
    ("shape", "epsilon", "n_iterations", "words"),
    [((3, 3, 4), 1.0, 5, "one shape"), ((3, 3, 3), 0.0, 5, "above 0"), ((3, 3, 3), 1.0, 0, "one round")],
)
def test_what_cannot_be_transported_is_refused(shape, epsilon, n_iterations, words):
    with pytest.raises(InputError, match=words):
        sinkhorn(torch.ones(3, 3, 3), torch.ones(shape), epsilon, n_iterations)
