"""The distance between densities whose transport is known."""

import math

import numpy as np
import pytest
import torch

from chimerax.cryotrans.engine.transport.distance import TransportDistance


def _cloud(n: int = 400, spread: float = 9.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of a Gaussian cloud, Å, and their weights."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(50, spread, (n, 3))), torch.from_numpy(random.uniform(0.2, 1, n))


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_equal_densities_are_at_no_distance(scale):
    points, weights = _cloud()
    assert TransportDistance(points, weights, 1.5).to(points, weights * scale) < 1e-5


@pytest.mark.parametrize("way", [1.0, 4.0, 20.0, 300.0])  # Å; the last is far out of the box
def test_a_density_that_is_moved_is_at_the_distance_of_its_move(way):
    points, weights = _cloud()
    moved = points + way * torch.tensor([2 / 3, -2 / 3, 1 / 3])
    found = TransportDistance(points, weights, 1.5).to(moved, weights)
    # Depositing widens a cloud by up to a quarter voxel² an axis, more or less as it lies.
    assert found == pytest.approx(way, rel=1e-3, abs=0.03)


def test_two_parts_count_by_their_mass():
    # A third of the mass goes 12 Å, the rest stays; the parts are too far from each other to mix.
    still, moving = _cloud(seed=1, spread=5.0), _cloud(seed=2, spread=5.0)
    weights = torch.cat((still[1] * 2 / still[1].sum(), moving[1] / moving[1].sum()))
    apart, way = torch.tensor([0.0, 0.0, 150.0]), torch.tensor([0.0, 12.0, 0.0])
    before = torch.cat((still[0], moving[0] + apart))
    after = torch.cat((still[0], moving[0] + apart + way))
    found = TransportDistance(after, weights, 1.5).to(before, weights)
    assert found == pytest.approx(12 * math.sqrt(1 / 3), rel=5e-3)


def test_wider_clouds_are_at_the_distance_of_gaussians():
    # Debiased entropic transport of N(0, s²) and N(0, t²) with cost |x - y|² and epsilon, an axis: Janati, Muzellec,
    # Peyré & Cuturi, NeurIPS 2020.
    s, t, epsilon = 3.0, 6.0, 25.0
    grid = torch.cartesian_prod(*[torch.arange(-15, 16, dtype=torch.float64)] * 3) * 2.5

    def gaussian(sigma):
        return (-(grid**2).sum(1) / (2 * sigma**2)).exp()

    def term(p, q):  # less what cancels
        root = math.sqrt(16 * p**2 * q**2 + epsilon**2)
        return p**2 + q**2 - (root - epsilon * math.log(root + epsilon)) / 2

    wanted = math.sqrt(3 * (term(s, t) - term(s, s) / 2 - term(t, t) / 2))
    assert wanted < 0.98 * math.sqrt(3) * (t - s)  # which it is without epsilon
    found = TransportDistance(grid, gaussian(s), 2.5).to(grid, gaussian(t))
    assert found == pytest.approx(wanted, rel=0.005)


def test_the_target_is_worked_on_once_for_a_box(monkeypatch):
    from chimerax.cryotrans.engine.transport import distance as module

    seen = []
    own_term = module._own_term
    monkeypatch.setattr(module, "_own_term", lambda *given: seen.append(0) or own_term(*given))
    points, weights = _cloud()
    distance = TransportDistance(points, weights, 1.5)
    distance.include(points + 10)
    for way in (3, 5, 9):
        distance.to(points + way, weights)
    assert len(seen) == 1 + 3


def test_points_that_are_lost_make_it_not_a_number():
    points, weights = _cloud()
    lost = points.clone()
    lost[3, 1] = math.nan
    assert math.isnan(TransportDistance(points, weights, 1.5).to(lost, weights))


def test_the_grid_stays_small_however_far_points_go(monkeypatch):
    from chimerax.cryotrans.engine.transport import distance as module

    shapes = []
    deposit = module.deposit
    monkeypatch.setattr(module, "deposit", lambda *given: shapes.append(given[2]) or deposit(*given))
    points, weights = _cloud()
    distance = TransportDistance(points, weights, 0.5)
    for way in (0.0, 10.0, 1000.0, 1e5):
        far = points.clone()
        far[:5] += way
        distance.to(far, weights)
    assert max(max(shape) for shape in shapes) <= 40
