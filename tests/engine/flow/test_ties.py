"""What holds neighbouring domains together, against sums over pairs written out, and against noise."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.flow.domains import CombinedField, DomainField, LayeredField
from chimerax.cryotrans.engine.flow.symmetry import point_group
from chimerax.cryotrans.engine.flow.ties import Ties
from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.preparation import prepare
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.engine.training.training import Training

SIDE, LOW_PASS = 100.0, 2.0  # Å
MOST = 0.02 * LOW_PASS**3  # correlation


def _field(n: int = 30, seed: int = 0, symmetry=None) -> DomainField:
    centres = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))
    return DomainField(centres, torch.tensor(0.05), torch.tensor(0.1), symmetry)


def _with_velocities(field: DomainField, turns: np.ndarray, at_origin: np.ndarray) -> DomainField:
    """Domains with these screws, (n, 3) each: velocities turn × x + at_origin."""
    centres = field.centres.detach().double().numpy()
    with torch.no_grad():
        field.rotations.copy_(torch.from_numpy(turns * float(field.arm)))
        field.translations.copy_(torch.from_numpy(np.cross(turns, centres) + at_origin))
    return field


def _cost(field) -> torch.Tensor:
    return Ties(LOW_PASS, SIDE).between(field)()


def _cost_of_all_pairs(centres: np.ndarray, turns: np.ndarray, at_origin: np.ndarray) -> float:
    costs = []
    for i, centre in enumerate(centres):
        for j in np.argsort(np.linalg.norm(centres - centre, axis=1))[1:9]:
            middle = (centre + centres[j]) / 2
            apart = np.linalg.norm(np.cross(turns[i] - turns[j], middle) + at_origin[i] - at_origin[j]) * SIDE
            costs.append(apart**2 / (1 + apart**2))
    return MOST * float(np.mean(costs))


def test_one_rigid_motion_costs_nothing():
    field = _with_velocities(_field(), np.tile([0.3, -0.5, 0.8], (30, 1)), np.tile([0.1, 0.2, -0.1], (30, 1)))
    assert _cost(field).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [0.003, 0.03, 1.0])
def test_the_cost_is_that_of_all_pairs_of_neighbours(size):
    random = np.random.default_rng(1)
    turns, at_origin = size * random.normal(size=(2, 30, 3))
    field = _with_velocities(_field(), turns, at_origin)
    wanted = _cost_of_all_pairs(field.centres.detach().double().numpy(), turns, at_origin)
    assert _cost(field).item() == pytest.approx(wanted, rel=1e-4)


def test_images_by_a_symmetry_are_neighbours_too():
    symmetry = point_group("C3", torch.tensor([0.5, 0.5, 0.5]))
    random = np.random.default_rng(2)
    turns, at_origin = 0.02 * random.normal(size=(2, 10, 3))
    field = _with_velocities(_field(10, symmetry=symmetry), turns, at_origin)
    centres, turns, velocities = (each.detach().double().numpy() for each in field.of_all())
    assert len(centres) == 30
    wanted = _cost_of_all_pairs(centres, turns, velocities - np.cross(turns, centres))
    assert _cost(field).item() == pytest.approx(wanted, rel=1e-4)


def test_a_border_is_left_where_it_is_and_a_little_disagreement_is_drawn_together():
    field = _with_velocities(_field(), np.zeros((30, 3)), np.zeros((30, 3)))
    right = field.centres.detach()[:, 0] > 0.5
    with torch.no_grad():
        field.translations[right, 1] += 0.4  # 40 Å
        field.translations[0, 2] += 0.005  # half an Å
    _cost(field).backward()
    pull = field.translations.grad[:, 2]
    assert pull[0] > 0, "against the disagreement"
    across = field.translations.grad[:, 1].abs().max()
    assert across < 0.02 * pull[0]


def test_where_centres_are_held_neighbours_are_found_once_and_the_cost_is_the_same():
    field = _with_velocities(_field(), *(0.02 * np.random.default_rng(4).normal(size=(2, 30, 3))))
    free = _cost(field).item()
    field.hold_centres()
    held = Ties(LOW_PASS, SIDE).between(field)
    assert held().item() == free
    with torch.no_grad():
        field.translations.zero_(), field.rotations.zero_()
    assert held().item() == 0, "motions are those of now"


def test_many_domains_are_pulled_alike_in_every_run():
    """More rows than PyTorch sums in one thread."""
    field = _with_velocities(_field(2000), *(0.02 * np.random.default_rng(5).normal(size=(2, 2000, 3))))
    pulls = []
    for _ in range(5):
        field.zero_grad()
        _cost(field).backward()
        pulls.append(field.translations.grad.clone())
    assert all(torch.equal(pull, pulls[0]) for pull in pulls)


def test_in_the_derivative_the_place_between_stays_and_a_centre_is_a_part_of_its_screw():
    random = np.random.default_rng(6)
    centres, turns, velocities = random.normal(size=(3, 2, 3)) * np.array([0.3, 0.1, 0.01])[:, None, None]
    field = DomainField(torch.from_numpy(centres), torch.tensor(0.05), torch.tensor(1.0))
    with torch.no_grad():
        field.rotations.copy_(torch.from_numpy(turns))
        field.translations.copy_(torch.from_numpy(velocities))
    _cost(field).backward()
    place = centres.mean(axis=0)

    def cost(screw_centres):
        ways = velocities + np.cross(turns, place - screw_centres)
        apart = np.linalg.norm(ways[0] - ways[1]) * SIDE
        return MOST * apart**2 / (1 + apart**2)

    wanted = np.zeros((2, 3))
    for each in np.ndindex(2, 3):
        step = np.zeros((2, 3))
        step[each] = 1e-6
        wanted[each] = (cost(centres + step) - cost(centres - step)) / 2e-6
    np.testing.assert_allclose(field.centres.grad.numpy(), wanted, rtol=1e-4)


def test_a_single_domain_has_no_neighbours():
    assert _cost(_field(1)).item() == 0


def test_layers_of_domains_are_tied_each_by_itself_and_a_network_is_not():
    random = np.random.default_rng(3)
    large, small = (_with_velocities(_field(n, n), *(0.02 * random.normal(size=(2, n, 3)))) for n in (12, 40))
    of_large, of_small = _cost(large).item(), _cost(small).item()
    assert _cost(LayeredField(large, small)).item() == pytest.approx(of_large + of_small)
    assert _cost(CombinedField(large, VelocityField(2, 4, 0))).item() == pytest.approx(of_large)
    assert Ties(LOW_PASS, SIDE).between(VelocityField(2, 4, 0)) is None


def test_a_rigid_body_stays_one_in_noise():
    """A body turned by 10° into noise as high as itself: tied domains come nearer to where it is than free ones."""
    random = np.random.default_rng(0)
    shape, voxel = (24, 24, 24), 2.0
    atoms = random.uniform(-7, 7, size=(60, 3))
    atoms = atoms[np.linalg.norm(atoms, axis=1) < 7]
    turned = Rotation.from_rotvec([0.17, 0, 0]).apply(atoms)
    grid = np.stack(np.meshgrid(*(np.arange(24),) * 3, indexing="ij"), axis=-1) - 11.5

    def density(places):
        return sum(np.exp(-((grid - place) ** 2).sum(-1) / 2) for place in places).astype(np.float32)

    initial, target = density(atoms), density(turned)
    noisy = np.clip(target + random.normal(scale=target.max() / 3, size=shape), 0, None).astype(np.float32)
    maps = [DensityMap(each, (voxel,) * 3, (0.0,) * 3, (0,) * 3, "map") for each in (initial, noisy)]
    pair = prepare(*maps, 0.1 * float(initial.max()), 1e-3, 1)
    points = torch.from_numpy((pair.support + 0.5) * pair.voxel).float()
    wanted = Rotation.from_rotvec([0.17, 0, 0]).apply(pair.support - 11.5) + 11.5
    options = TrainingOptions(0.1, 0.1, 60, 60, loss="correlation", flow="domains", learning_rate=2e-3)

    def error(ties):
        field = DomainField.spread_over(points, 40)
        training = Training(pair, dataclasses.replace(options), field, torch.device("cpu"), ties=ties)
        for _ in range(60):
            training.evaluate()
            training.update()
        carried, _, _ = training._carried()
        return float(np.sqrt(((carried.detach().numpy() - wanted) ** 2).sum(1).mean())) * voxel

    assert error(Ties(LOW_PASS, 48.0)) < 0.75 * error(None)


@pytest.mark.parametrize(("low_pass", "least"), [(0.0, 1.2**3), (1.0, 1.2**3), (1.5, 1.5**3)])
def test_the_cost_of_no_domain_moving_as_another_is_that_of_the_low_pass_or_of_the_narrowest(low_pass, least):
    field = _with_velocities(_field(), *np.random.default_rng(0).normal(size=(2, 30, 3)))
    assert Ties(low_pass, SIDE).between(field)().item() == pytest.approx(0.02 * least, rel=0.01), (
        "none moves as another"
    )
