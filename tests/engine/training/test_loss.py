"""The losses against reference numbers, closed forms, and the whole box."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.flow.integration import displacement
from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.maps.deposit import deposit
from chimerax.cryotrans.engine.maps.gaussian_blur import gaussian_blur
from chimerax.cryotrans.engine.training.loss import (
    CorrelationLoss,
    Target,
    cell_lattice,
    own_transport,
    rigidity,
    squared_difference,
    transport_loss,
)
from chimerax.cryotrans.engine.transport.sinkhorn import sinkhorn


def _clusters(seed: int, shape=(40, 40, 40)) -> tuple[torch.Tensor, torch.Tensor, Target]:
    """Points in the middle of a box, and a target of the same mass some voxels away."""
    random = np.random.default_rng(seed)
    middle = np.array(shape) / 2
    points = torch.from_numpy(middle - 3 + random.normal(scale=1.5, size=(60, 3)))
    weights = torch.from_numpy(random.uniform(0.2, 1, 60))
    target = deposit(torch.from_numpy(middle + 3 + random.normal(scale=1.5, size=(60, 3))), weights, shape)
    return points, weights, Target.of(target)


@pytest.mark.parametrize("n_iterations", [1, 2, 5, 20])
@pytest.mark.parametrize("epsilon", [0.1, 0.4, 2.0])  # voxels²
def test_the_crop_leaves_loss_and_gradient_as_in_the_whole_box(epsilon, n_iterations):
    points, weights, target = _clusters(seed=0)
    points.requires_grad_()
    value, mass = transport_loss(points, weights, target, epsilon, n_iterations)
    (gradient,) = torch.autograd.grad(value, points)

    density = deposit(points, weights, target.density.shape)
    whole = sinkhorn(density.detach(), target.density, epsilon, n_iterations)
    (wanted,) = torch.autograd.grad(density, points, whole.potential_initial)
    torch.testing.assert_close(value, whole.loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))
    torch.testing.assert_close(mass, weights.sum())


def test_the_crop_is_smaller_than_the_box(monkeypatch):
    from chimerax.cryotrans.engine.training import loss

    seen = []
    monkeypatch.setattr(loss, "sinkhorn", lambda a, *rest: seen.append(a.shape) or sinkhorn(a, *rest))
    points, weights, target = _clusters(seed=0, shape=(60, 60, 60))
    transport_loss(points, weights, target, 0.1, 5)
    assert max(seen[0]) < 40


def test_squared_difference_is_that_of_the_whole_grid():
    points, weights, target = _clusters(seed=1, shape=(24, 26, 28))
    wanted = ((deposit(points, weights, target.density.shape) - target.density) ** 2).sum()
    torch.testing.assert_close(squared_difference(points, weights, target).value, wanted)
    points = points.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: squared_difference(p, weights, target).value, points)


def test_mass_that_leaves_the_box_is_not_counted():
    points, weights, target = _clusters(seed=2)
    points[:10] += 1000
    for loss in (transport_loss(points, weights, target, 0.4, 5), squared_difference(points, weights, target)):
        torch.testing.assert_close(loss.mass, weights[10:].sum())
        assert torch.isfinite(loss.value)


def test_the_mesh_term_is_that_of_the_reference(reference):
    velocity = VelocityField(4, 16).double()
    with torch.no_grad():
        for name, parameter in velocity.named_parameters():
            parameter.copy_(torch.from_numpy(reference[f"flow_{name}"]))
    side = int(reference["mesh_box"])
    corner = torch.cartesian_prod(*[torch.arange(2)] * 3)
    points = torch.from_numpy(reference["mesh_points"])  # anywhere, so that no two cells share a node
    nodes = (points[:, None] + corner.double() / side).reshape(-1, 3)
    carried = (nodes + displacement(velocity, nodes)) * side
    found = rigidity(carried, torch.arange(len(nodes)).reshape(-1, 8))
    assert float(found.detach()) == pytest.approx(float(reference["mesh_loss"]), rel=1e-12)


def test_rigidity_of_linear_maps_follows_from_their_singular_values():
    support = torch.tensor([[2, 3, 4], [2, 3, 5], [7, 1, 0]])
    nodes, cells = cell_lattice(support, (9, 9, 9))
    random = np.random.default_rng(0)
    for linear in (*random.normal(size=(3, 3, 3)), np.diag([1.0, 2.0, 0.5])):
        singular = np.linalg.svd(linear, compute_uv=False)
        found = rigidity(nodes.double() @ torch.from_numpy(linear).T + 5, cells)
        assert float(found) == pytest.approx(float(((singular**2 - 1) ** 2).sum()), rel=1e-9)
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix())
    assert float(rigidity(nodes.double() @ turn.T, cells)) == pytest.approx(0, abs=1e-20)


def test_neighbouring_cells_share_their_nodes():
    block = torch.cartesian_prod(*[torch.arange(1, 5)] * 3)  # 4³ points
    nodes, cells = cell_lattice(block, (6, 6, 6))
    assert len(nodes) == 5**3
    assert torch.equal(nodes[cells[:, 0]], block)
    assert torch.equal(nodes[cells[:, 7]], block + 1)
    assert torch.equal(nodes[cells[:, 1]], block + torch.tensor([0, 0, 1]))


@pytest.mark.parametrize("sigma", [0.7, 2.3])
def test_the_blur_is_that_of_scipy(sigma):
    density = np.random.default_rng(0).random((9, 14, 11))
    wanted = gaussian_filter(density, sigma, mode="constant", truncate=12)
    blurred = gaussian_blur(torch.from_numpy(density), sigma)
    torch.testing.assert_close(blurred, torch.from_numpy(wanted), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_the_correlation_loss_is_that_of_the_whole_box(sigma):
    points, weights, target = _clusters(seed=3)
    target = Target.of(gaussian_blur(target.density, sigma))
    points.requires_grad_()
    value, mass = CorrelationLoss(target, sigma)(points, weights)
    (gradient,) = torch.autograd.grad(value, points)

    blurred = gaussian_blur(deposit(points, weights, target.density.shape), sigma)
    wanted = 1 - torch.nn.functional.cosine_similarity(blurred.ravel(), target.density.ravel(), dim=0)
    (wanted_gradient,) = torch.autograd.grad(wanted, points)
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-4 if sigma else 1e-12)  # the blur's reach is cut
    torch.testing.assert_close(gradient, wanted_gradient, rtol=0, atol=1e-3 * float(wanted_gradient.abs().max()))
    torch.testing.assert_close(mass, weights.sum())


@pytest.mark.parametrize("shares", [None, 0.5])
def test_the_derivative_of_the_correlation_loss_is_right(shares):
    points, weights, target = _clusters(seed=7, shape=(14, 14, 14))
    seen = None if shares is None else (torch.arange(14) % 3).expand(14, 14, 14) * shares
    loss = CorrelationLoss(Target.of(target.density, seen), 0.8)
    start = (points[:9] - 0.01).requires_grad_()  # on no border between voxels
    assert torch.autograd.gradcheck(lambda at: loss(at, weights[:9]).value, start, eps=1e-6)


def test_equal_densities_correlate_whatever_their_scale():
    points, weights, _ = _clusters(seed=4)
    target = Target.of(gaussian_blur(3 * deposit(points, weights, (40, 40, 40)), 1.2))
    assert float(CorrelationLoss(target, 1.2)(points, weights).value) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", ["w2", "l2", "correlation"])
def test_what_is_held_out_does_not_matter(kind):
    points, weights, target = _clusters(seed=5)
    seen = torch.ones_like(target.density)
    seen[20:25, 20:26, 18:24] = 0
    changed = torch.where(seen > 0, target.density, 7 * target.density + 1)
    losses = []
    for density in (target.density, changed):
        start = points.clone().requires_grad_()
        held = Target.of(density, seen)
        loss = {
            "w2": lambda held=held, start=start: transport_loss(start, weights, held, 0.4, 5),
            "l2": lambda held=held, start=start: squared_difference(start, weights, held),
            "correlation": lambda held=held, start=start: CorrelationLoss(held, 1.0)(start, weights),
        }[kind]()
        (gradient,) = torch.autograd.grad(loss.value, start)
        losses.append((loss.value.detach(), gradient))
    torch.testing.assert_close(losses[0], losses[1])
    whole = transport_loss(points, weights, target, 0.4, 5).value
    assert kind != "w2" or abs(float(whole - losses[0][0])) > 1e-3


def test_mass_that_is_seen_is_matched_in_shape_not_in_amount():
    """Where a part is held out, moving the points' mass into it is no way to lower the transport."""
    points, weights, target = _clusters(seed=6)
    seen = torch.ones_like(target.density)
    seen[:, :, :20] = 0
    values = [
        transport_loss(points, factor * weights, Target.of(target.density, seen), 0.4, 5).value for factor in (1, 3)
    ]
    torch.testing.assert_close(*values)


def test_debiased_transport_of_equal_densities_is_zero_and_stays():
    points, weights, _ = _clusters(seed=7)
    target = Target.of(deposit(points, weights, (40, 40, 40)))
    points.requires_grad_()
    for debiased in (False, True):
        own = own_transport(target, 2.0, 3) if debiased else None
        loss = transport_loss(points, weights, target, 2.0, 3, own).value
        (gradient,) = torch.autograd.grad(loss, points)
        assert (abs(loss.item()) < 1e-9) == debiased
        assert (float(gradient.abs().max()) < 1e-9) == debiased


def test_debiased_transport_of_a_moved_density_is_the_square_of_the_way():
    points, weights, _ = _clusters(seed=8)
    target = Target.of(deposit(points + torch.tensor([2.0, -1.0, 3.0]), weights, (40, 40, 40)))
    loss = transport_loss(points, weights, target, 4.0, 100, own_transport(target, 4.0, 100)).value
    assert float(loss / weights.sum()) == pytest.approx(4 + 1 + 9, rel=0.02)


def test_a_share_of_the_cells_is_unbiased_and_repeatable():
    """Mean over many draws of the rigidity's derivative is that of all cells."""
    from chimerax.cryotrans.engine.maps.preparation import PreparedPair
    from chimerax.cryotrans.engine.options.training import TrainingOptions
    from chimerax.cryotrans.engine.training.training import Training

    density = np.zeros((8, 8, 8), np.float32)
    density[2:6, 2:6, 2:6] = 1
    support = np.argwhere(density > 0)
    pair = PreparedPair(density, density, 1 / 8, support, density[tuple(support.T)])
    gradients: dict[float, torch.Tensor] = {}
    for share in (1.0, 0.25):
        velocity = VelocityField(2, 6, seed=1)
        with torch.no_grad():
            for parameter in velocity.parameters():
                parameter.mul_(20)
        options = TrainingOptions(0.5, 0.5, 1000, 1, loss="l2", mu_mesh=1e3, mesh_share=share)
        training = Training(pair, options, velocity, torch.device("cpu"))
        total = torch.zeros_like(velocity.n0.weight)
        for training.step in range(1 if share == 1 else 400):
            training.evaluate()
            total += velocity.n0.weight.grad / (1 if share == 1 else 400)
        gradients[share] = total
    torch.testing.assert_close(gradients[0.25], gradients[1.0], rtol=0, atol=0.1 * float(gradients[1.0].abs().max()))
