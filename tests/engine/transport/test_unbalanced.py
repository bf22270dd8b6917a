"""Unbalanced transport against the full cost matrix, a closed form, and the balanced limit."""

import pytest
import torch

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.transport.sinkhorn import FLOOR, sinkhorn
from chimerax.cryotrans.engine.transport.unbalanced import unbalanced_sinkhorn


def _densities(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(4, 5, 6, dtype=torch.float64, generator=generator) for _ in range(2))
    a[a < 0.4] = 0
    return a, b


def _by_brute_force(a, b, epsilon, rho, n_iterations):
    x = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in a.shape])
    kernel = (-(torch.cdist(x, x) ** 2) / epsilon).exp()
    a, b = (density.reshape(-1).clamp(min=FLOOR) for density in (a, b))
    u, v = torch.ones_like(a), torch.ones_like(b)
    for _ in range(n_iterations):
        u = (a / (kernel @ v)) ** (rho / (rho + epsilon))
        v = (b / (kernel @ u)) ** (rho / (rho + epsilon))
    return u[:, None] * kernel * v, epsilon * u.log()


@pytest.mark.parametrize(("epsilon", "rho"), [(0.5, 1.0), (2.0, 20.0)])
def test_the_dual_value_is_the_price_of_the_plan(epsilon, rho):
    """At convergence: cost, entropy, and what is made and unmade."""
    a, b = _densities()
    found = unbalanced_sinkhorn(a, b, epsilon, rho, 300)
    plan, _ = _by_brute_force(a, b, epsilon, rho, 300)
    x = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in a.shape])
    primal = (plan * torch.cdist(x, x) ** 2).sum() + epsilon * (torch.special.xlogy(plan, plan) - plan).sum()
    for marginal, mass in ((plan.sum(1), a.reshape(-1)), (plan.sum(0), b.reshape(-1))):
        mass = mass.clamp(min=FLOOR)
        primal = primal + rho * (torch.special.xlogy(marginal, marginal / mass) - marginal + mass).sum()
    assert float(found.loss) == pytest.approx(float(primal), rel=1e-6)


def test_the_derivative_is_that_of_finite_differences():
    a, b = _densities(1)
    found = unbalanced_sinkhorn(a, b, 1.0, 5.0, 300)
    for voxel in ((1, 2, 3), (3, 0, 4)):
        values = []
        for step in (1e-5, -1e-5):
            changed = a.clone()
            changed[voxel] = a[voxel] + 1e-3 + step
            values.append(float(unbalanced_sinkhorn(changed, b, 1.0, 5.0, 300).loss))
        base = a.clone()
        base[voxel] += 1e-3
        wanted = unbalanced_sinkhorn(base, b, 1.0, 5.0, 300).derivative[voxel]
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(wanted), rel=1e-4)
    assert found.derivative.shape == a.shape


def test_a_high_price_gives_balanced_transport():
    a, b = _densities(2)
    b = b * a.sum() / b.sum()
    wanted = sinkhorn(a, b, 1.0, 5)
    found = unbalanced_sinkhorn(a, b, 1.0, 1e9, 5)
    occupied = a > 0
    torch.testing.assert_close(found.derivative[occupied], wanted.potential_initial[occupied], rtol=1e-4, atol=1e-4)


def test_a_part_that_is_not_there_draws_nothing_from_afar():
    """The target has a blob at the other end of the box: what pulls towards it fades with the price."""
    initial, target = torch.zeros(5, 5, 40, dtype=torch.float64), torch.zeros(5, 5, 40, dtype=torch.float64)
    initial[2, 2, 4:8] = 1
    target[2, 2, 4:8] = 1
    target[2, 2, 34] = 1
    pulls = []
    for rho in (4.0, 1e4):
        derivative = unbalanced_sinkhorn(initial, target, 1.0, rho, 100).derivative[2, 2]
        pulls.append(float((derivative[4] - derivative[7]).abs()))
    assert pulls[0] < 0.1 * pulls[1]


@pytest.mark.parametrize(("epsilon", "rho", "rounds"), [(0.0, 1.0, 1), (1.0, 0.0, 1), (1.0, 1.0, 0)])
def test_bad_numbers_are_refused(epsilon, rho, rounds):
    with pytest.raises(InputError, match="Unbalanced transport needs"):
        unbalanced_sinkhorn(*_densities(), epsilon, rho, rounds)
