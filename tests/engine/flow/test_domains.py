"""Domain flows against closed forms: screw motions, material weights, symmetry."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.checkpoint import load_weights, save_weights
from chimerax.cryotrans.engine.flow.domains import CombinedField, DomainField, LayeredField, SymmetricField
from chimerax.cryotrans.engine.flow.integration import displacement, displacements
from chimerax.cryotrans.engine.flow.membership import Membership
from chimerax.cryotrans.engine.flow.symmetry import point_group
from chimerax.cryotrans.engine.flow.velocity import VelocityField

CENTRE = torch.tensor([0.5, 0.5, 0.5])


def _points(n: int = 200, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))


def _moving(field: torch.nn.Module, size: float = 0.3, seed: int = 1) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(size * (torch.rand(parameter.shape, generator=generator) - 0.5))
    return field


def _symmetric_points(symmetry) -> torch.Tensor:
    return symmetry.images(0.2 * _points(60) + torch.tensor([0.4, 0.5, 0.7])).reshape(-1, 3)


def test_one_domain_turns_as_a_rigid_body():
    points, turn = _points(), torch.tensor([[0.3, -0.5, 0.6]])
    field = DomainField.spread_over(points, 1)
    with torch.no_grad():
        field.rotations.copy_(turn * field.arm)
    wanted = Rotation.from_rotvec(turn[0].numpy()).apply(points.numpy() - field.centres.detach().numpy())
    moved = points + displacement(field, points).detach() - field.centres.detach()
    np.testing.assert_allclose(moved.numpy(), wanted, atol=1e-3)  # the midpoint rule's error in ten steps


def test_near_its_centre_a_point_follows_its_domain():
    left, right = 0.1 * _points(50), 0.1 * _points(50, seed=1) + 0.8
    field = DomainField.spread_over(torch.cat((left, right)), 2)
    order = field.centres[:, 0].argsort()
    shift = torch.tensor([0.0, 0.2, 0.0])
    with torch.no_grad():
        field.translations[order[1]] = shift
    moved = displacement(field, torch.cat((left, right))).detach()
    share = 0.03 * float(shift.norm())  # of the other domain: exp(-1/(2·0.35²)) at the centres, more in between
    torch.testing.assert_close(moved[:50], torch.zeros(50, 3), atol=share, rtol=0)
    torch.testing.assert_close(moved[50:], shift.expand(50, 3), atol=share, rtol=0)


def test_the_velocity_is_that_of_the_formula():
    points = _points(20)
    field = _moving(DomainField.spread_over(points, 4))
    now = points + 0.1
    weights = torch.softmax(-(torch.cdist(points, field.centres) ** 2) / (2 * field.spread**2), 1)
    wanted = sum(
        weights[:, k, None]
        * (field.translations[k] + torch.linalg.cross((field.rotations[k] / field.arm).expand_as(now), now - c))
        for k, c in enumerate(field.centres)
    )
    torch.testing.assert_close(field.at(points)(now), wanted, atol=1e-5, rtol=1e-5)


def test_the_derivative_is_that_of_finite_differences():
    points = _points(30).double()
    field = _moving(DomainField.spread_over(points, 3)).double()

    def loss() -> torch.Tensor:
        return (displacement(field, points) ** 2).sum()

    loss().backward()
    for parameter in field.parameters():
        with torch.no_grad():
            parameter[0, 0] += 1e-5
            above = loss()
            parameter[0, 0] -= 2e-5
            below = loss()
            parameter[0, 0] += 1e-5
        assert parameter.grad[0, 0].item() == pytest.approx(((above - below) / 2e-5).item(), rel=1e-5)


def test_many_points_in_parts_have_the_same_derivative(monkeypatch):
    points = _points(50)
    gradients = []
    for at_once in (1 << 16, 16):
        monkeypatch.setattr("chimerax.cryotrans.engine.flow.integration._POINTS_AT_ONCE", at_once)
        field = _moving(DomainField.spread_over(points, 3))
        (displacement(field, points) ** 2).sum().backward()
        gradients.append(field.rotations.grad)
    torch.testing.assert_close(*gradients)


def test_domains_are_spread_evenly():
    cubes = torch.cat([0.1 * _points(40, k) + torch.tensor([x, y, z]) for k, (x, y, z) in enumerate(_CORNERS)])
    field = DomainField.spread_over(cubes, 8, seed=3)
    nearest = torch.cdist(torch.tensor(_CORNERS) + 0.05, field.centres.detach()).min(1)
    assert sorted(nearest.indices.tolist()) == list(range(8))
    assert float(nearest.values.max()) < 0.03


_CORNERS = [(x, y, z) for x in (0.0, 0.8) for y in (0.0, 0.8) for z in (0.0, 0.8)]


def test_more_domains_than_points_are_refused():
    with pytest.raises(InputError, match=r"12 domains .* too many for 5 points"):
        DomainField.spread_over(_points(5), 12)


@pytest.mark.parametrize("name", ["C3", "C7", "D2"])
@pytest.mark.parametrize("kind", ["domains", "layers", "network", "both"])
def test_a_symmetric_flow_keeps_the_symmetry(name, kind):
    symmetry = point_group(name, CENTRE.double()).to(CENTRE)
    points = _symmetric_points(symmetry)
    field = _field(kind, points, symmetry)
    moved = points + displacement(field, points).detach()
    assert float((moved - points).norm(dim=1).mean()) > 1e-4
    turned = symmetry.images(moved[: len(points) // symmetry.order]).reshape(-1, 3)
    torch.testing.assert_close(turned, moved, atol=2e-5, rtol=0)


def _field(kind, points, symmetry):
    domains = _moving(DomainField.spread_over(points, 9, symmetry=symmetry))
    network = _moving(VelocityField(3, 8, seed=0), 1.0)
    network = SymmetricField(network, symmetry) if symmetry else network
    if kind == "layers":
        layers = LayeredField.upon(domains, points, 2, seed=1)
        _moving(layers.small)
        return layers
    return {"domains": domains, "network": network, "both": CombinedField(domains, network)}[kind]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("kind", ["domains", "layers", "network", "both"])
def test_a_weight_file_brings_the_flow_back(tmp_path, kind, symmetric):
    symmetry = point_group("C3", CENTRE.double()).to(CENTRE) if symmetric else None
    points = _symmetric_points(symmetry) if symmetry else _points()
    field = _field(kind, points, symmetry)
    save_weights(tmp_path / "net.pt", field)
    read = load_weights(tmp_path / "net.pt")
    assert type(read) is type(field)
    torch.testing.assert_close(displacement(read, points), displacement(field, points), rtol=0, atol=0)


def test_both_add_up():
    points = _points(40)
    both = _field("both", points, None)
    sums = both.domains.at(points)(points) + both.network.at(points)(points)
    torch.testing.assert_close(both.at(points)(points), sums)
    [moved] = displacements(both, points, [1.0])
    torch.testing.assert_close(moved, displacement(both, points), atol=1e-6, rtol=0)


def test_a_layer_at_rest_changes_nothing_and_a_moving_one_adds_up():
    points = _points(60)
    domains = _moving(DomainField.spread_over(points, 3))
    layers = LayeredField.upon(domains, points, 2, seed=1)
    assert len(layers.small.centres) == 6
    torch.testing.assert_close(displacement(layers, points), displacement(domains, points), atol=1e-6, rtol=0)
    _moving(layers.small)
    sums = layers.large.at(points)(points) + layers.small.at(points)(points)
    torch.testing.assert_close(layers.at(points)(points), sums)
    [by_steps] = displacements(layers, points, [1.0], 40, "rk4")
    torch.testing.assert_close(displacement(layers, points), by_steps, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"flow": "domains"}, "holds no flow"),
        ({"flow": "swirl"}, "holds no flow"),
        ({"flow": "domains", "domains": {"centres": torch.zeros(2, 3)}}, "holds no flow"),
        ({"flow": "both", "network": {"v.n0.weight": torch.zeros(3, 3), "v.n0.bias": torch.zeros(3)}}, "holds no flow"),
    ],
)
def test_a_damaged_file_of_domains_is_said(tmp_path, content, said):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(InputError, match=said):
        load_weights(tmp_path / "net.pt")


def test_width_of_a_flow_without_network_is_refused(tmp_path):
    save_weights(tmp_path / "net.pt", DomainField.spread_over(_points(), 3))
    with pytest.raises(InputError, match="no network but domains, which contradicts width 100"):
        load_weights(tmp_path / "net.pt", width=100)


@pytest.mark.parametrize("symmetry", [None, point_group("C3", CENTRE.double()).to(CENTRE)])
@pytest.mark.parametrize("kind", [DomainField, LayeredField, CombinedField])
def test_with_centres_held_the_few_near_domains_are_as_good_as_all(kind, symmetry):
    points = _points(600) if symmetry is None else _symmetric_points(symmetry)
    field = DomainField.spread_over(points, 30, symmetry=symmetry)
    if kind is LayeredField:
        field = LayeredField.upon(field, points, 3, seed=0)
    if kind is CombinedField:
        field = CombinedField(field, VelocityField(seed=0))
    _moving(field, 0.1)
    aim = _points(len(points), seed=2)
    assert field.fixed_to(points) is field or kind is not DomainField  # nothing is held yet

    def derivatives(fixed):
        field.zero_grad(set_to_none=True)
        moved = displacement(fixed, points)
        (moved * aim).sum().backward()
        return moved.detach(), {name: parameter.grad for name, parameter in field.named_parameters()}

    field.hold_centres()
    (of_all, wanted), (of_few, found) = derivatives(field), derivatives(field.fixed_to(points))
    torch.testing.assert_close(of_few, of_all, atol=1e-5, rtol=0)
    for name, derivative in wanted.items():
        if name.endswith("centres"):
            assert derivative is None and found[name] is None
        else:
            torch.testing.assert_close(found[name], derivative, atol=1e-3 * float(derivative.abs().max()), rtol=0)


def test_a_point_hears_of_few_domains_and_of_its_own_share():
    points, centres = _points(500), _points(200, seed=1)
    spread = torch.tensor(0.03)
    values = torch.randn(200, 4, generator=torch.Generator().manual_seed(2))
    membership = Membership(points, centres, spread)
    squared = ((points[:, None].double() - centres.double()) ** 2).sum(2)
    weights = np.exp(-(squared - squared.amin(1, keepdim=True)).numpy() / (2 * 0.03**2))
    wanted = weights / weights.sum(1, keepdims=True) @ values.double().numpy()
    np.testing.assert_allclose(membership.blended(values).numpy(), wanted, atol=1e-3)
    assert len(membership.lists[0]) < 0.1 * len(points) * len(centres)
