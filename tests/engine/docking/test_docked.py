"""Two maps in, domains out: a lobe that turns by 110° and moves, one that does not, and the flow that follows."""

import numpy as np
import pytest
import torch
from chains import lobe, map_of, moved_lobe, two_lobes
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.docking.coarse import CoarsePair, coarse_pair
from chimerax.cryotrans.engine.docking.docked import DockedDomains, dock_domains, search_poses, supervoxels_of
from chimerax.cryotrans.engine.docking.field import domain_field, local_motions, symmetric_field
from chimerax.cryotrans.engine.docking.motions import Motions
from chimerax.cryotrans.engine.docking.wholes import dock_segments
from chimerax.cryotrans.engine.flow.domains import DomainField
from chimerax.cryotrans.engine.flow.integration import displacement, follow
from chimerax.cryotrans.engine.flow.rotations import of_vectors
from chimerax.cryotrans.engine.flow.symmetry import point_group
from chimerax.cryotrans.engine.maps.gaussian_blur import gaussian_blur
from chimerax.cryotrans.engine.maps.segments import Segments
from chimerax.cryotrans.engine.ranks import ConnectedRanks

CPU = torch.device("cpu")
LEVEL = 0.15


def _pair(start: np.ndarray, end: np.ndarray) -> CoarsePair:
    return coarse_pair(map_of(start), map_of(end), (LEVEL, LEVEL), 0.0, CPU)


def _docked(pair: CoarsePair, seed: int = 0) -> DockedDomains:
    return dock_domains(pair, seed)[0]


@pytest.fixture(scope="module")
def lobes() -> tuple[np.ndarray, np.ndarray]:
    still, moving = two_lobes()
    return np.concatenate((still, moving)), np.concatenate((still, moved_lobe(moving)))


@pytest.fixture(scope="module")
def of_lobes(lobes) -> DockedDomains:
    return _docked(_pair(*lobes))


def _rmsd(found: torch.Tensor, wanted: np.ndarray) -> float:
    return float(np.sqrt(((found.numpy() - wanted) ** 2).sum(1).mean()))


def test_a_lobe_that_turns_far_is_found(lobes, of_lobes):
    start, end = lobes
    pair = of_lobes.pair
    assert _rmsd(torch.from_numpy(start), end) > 14  # Å
    ends = of_lobes.moved(torch.from_numpy(start).float() / pair.voxel) * pair.voxel
    off = np.linalg.norm(ends.numpy() - end, axis=1)
    assert np.median(off) < 1.0
    assert np.mean(off < 2.0) > 0.9
    assert of_lobes.n_domains == 2
    assert of_lobes.correlation > 0.9


def test_the_flow_follows_the_domains(lobes, of_lobes):
    start, end = lobes
    shape = map_of(start).grid_shape
    field = domain_field(of_lobes, shape)
    assert isinstance(field, DomainField)
    points = (torch.from_numpy(start).float() / 2.0 + 0.5) / max(shape)
    ends = ((points + displacement(field, points).detach()) * max(shape) - 0.5) * 2.0
    assert np.median(np.linalg.norm(ends.numpy() - end, axis=1)) < 1.5  # Å, the mixing at the border included


def test_the_same_seed_gives_the_same_domains(lobes, of_lobes):
    again = _docked(_pair(*lobes))
    torch.testing.assert_close(again.motions.rotations, of_lobes.motions.rotations, rtol=0, atol=0)
    np.testing.assert_array_equal(again.labels, of_lobes.labels)
    assert again.energy == of_lobes.energy


@pytest.mark.parametrize("n", [2, 40])  # more than there are pieces
def test_ranks_that_search_together_find_what_one_finds(of_lobes, n):
    pair = of_lobes.pair
    poses = [search_poses(pair, 0, ConnectedRanks(k, n, n, CPU)) for k in range(n)]
    assert sum(len(each.scores) for each in poses) == len(search_poses(pair).scores)  # no piece is docked twice
    [shared] = dock_domains(pair, poses=poses)
    np.testing.assert_array_equal(shared.labels, of_lobes.labels)
    assert shared.energy == pytest.approx(of_lobes.energy, rel=1e-6)
    torch.testing.assert_close(shared.motions.rotations, of_lobes.motions.rotations)
    torch.testing.assert_close(shared.motions.shifts, of_lobes.motions.shifts)


def test_equal_maps_have_one_domain_that_rests(lobes):
    found = _docked(_pair(lobes[0], lobes[0]))
    assert found.n_domains == 1
    assert found.correlation > 0.99
    points = found.supervoxels.centres
    torch.testing.assert_close(found.moved(points), points, atol=0.05, rtol=0)


def test_a_single_screw_is_exact():
    """One domain's flow in small steps against the exponential of its 4 x 4 generator."""
    turn, velocity = np.array([0.9, -1.4, 0.5]), np.array([0.1, 0.2, -0.1])
    generator = np.zeros((4, 4))
    generator[:3, :3] = [[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]]
    generator[:3, 3] = velocity
    centres = torch.tensor([[0.4, 0.5, 0.5], [0.6, 0.5, 0.5]])
    field = DomainField.of_screws(
        centres, torch.tensor(np.tile(turn, (2, 1))).float(), torch.tensor(np.tile(velocity, (2, 1))).float(), 0.1
    )
    with torch.no_grad():  # both follow the screw of the first
        field.translations[1] += torch.linalg.cross(field.rotations[1] / field.arm, centres[1] - centres[0])
    points = torch.rand(9, 3)
    local = np.c_[points.numpy() - centres[0].numpy(), np.ones(9)]
    wanted = (local @ expm(generator).T)[:, :3] + centres[0].numpy()
    found = points + follow(field, points, 200, "rk4").detach()
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4)


def test_a_flow_is_cut_into_the_motions_of_its_pieces():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(60, 3, generator=generator)
    owner = (points[:, 0] > 0.5).long()
    turns = of_vectors(torch.tensor([[0.0, 0.0, 0.0], [1.0, -0.5, 0.7]]))
    ends = (turns[owner] @ points[:, :, None])[..., 0] + torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])[owner]
    found = local_motions(points, ends - points, torch.rand(60, generator=generator), owner)
    torch.testing.assert_close(found.rotations, turns, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.moved(points)[owner, torch.arange(60)], ends, atol=1e-5, rtol=0)


def test_coarse_maps_are_those_blurred_and_of_one_mass(lobes):
    start = map_of(lobes[0])
    pair = coarse_pair(start, start, (0.01, 0.01), 1.0, CPU, blur=2.5, voxel=4.0)
    blurred = gaussian_blur(torch.from_numpy(start.density), 2.5 / 2.0)[::2, ::2, ::2]
    torch.testing.assert_close(pair.initial, blurred / blurred.max(), atol=0.02, rtol=0)
    assert float(pair.target.sum()) == pytest.approx(float(pair.initial.sum()), rel=1e-4)
    sharper = gaussian_blur(torch.from_numpy(start.density), np.sqrt(2.5**2 - 1.0**2) / 2.0)[::2, ::2, ::2]
    torch.testing.assert_close(pair.target, sharper * (pair.initial.sum() / sharper.sum()), atol=0.02, rtol=0)
    positions = torch.rand(5, 3)
    torch.testing.assert_close(pair.from_box(pair.to_box(positions, (40, 40, 40)), (40, 40, 40)), positions)


def test_what_is_held_out_is_not_seen(lobes):
    start, end = (map_of(x) for x in lobes)
    held_out = np.zeros(end.grid_shape, bool)
    held_out[:, :, 20:24] = True
    spoilt = end.with_density(np.where(held_out, 5 * end.density + 0.5, end.density))
    pairs = [coarse_pair(start, each, (LEVEL, LEVEL), 0.0, CPU, held_out=held_out) for each in (end, spoilt)]
    torch.testing.assert_close(pairs[0].target, pairs[1].target)


def test_with_a_symmetry_all_units_move_as_that_one_which_docking_found():
    """Three units, each turned by 70° about the radius; docking has found one, left one at rest, sent one astray."""
    middle = np.full(3, 40.0)
    third = Rotation.from_rotvec([2 * np.pi / 3, 0.0, 0.0])
    unit, own = lobe(45, 10.5, 3), Rotation.from_rotvec([0.0, 0.0, np.radians(70)])
    out = np.array([0.0, 0.0, 17.0])
    start, end = (
        np.concatenate([(third**k).apply(atoms + out) + middle for k in range(3)]) for atoms in (unit, own.apply(unit))
    )
    pair = _pair(start, end)
    units = torch.from_numpy(np.stack([(third**k).apply(out) + middle for k in range(3)])).float() / pair.voxel
    turns = [third * own * third.inv(), Rotation.identity(), Rotation.from_rotvec([1.0, 2.0, 0.0])]
    motions = Motions(
        torch.from_numpy(np.stack([turn.as_matrix() for turn in turns])).float(), units[[1, 2, 0]], 0 * units
    )
    supervoxels = supervoxels_of(pair)
    label_of_unit = np.array([2, 0, 1])
    labels = label_of_unit[torch.cdist(supervoxels.centres, units).argmin(1).numpy()]
    docked = DockedDomains(pair, motions, supervoxels, labels, 0.0, 0.0)
    shape = map_of(start).grid_shape
    group = point_group("C3", torch.full((3,), 20.5 / 40)).to(torch.zeros(1))
    points = (torch.from_numpy(start).float() / 2.0 + 0.5) / max(shape)
    off = {}
    for name, field in {"free": domain_field(docked, shape), "C3": symmetric_field([docked], group, shape, 0)}.items():
        ends = ((points + displacement(field, points).detach()) * max(shape) - 0.5) * 2.0
        off[name] = np.linalg.norm(ends.numpy() - end, axis=1)
    assert np.mean(off["free"] < 2.0) < 0.5
    assert np.mean(off["C3"] < 2.0) > 0.8
    assert np.median(off["C3"]) < 0.5


def test_segments_are_docked_as_wholes(lobes):
    start, end = lobes
    pair = _pair(start, end)
    half = len(start) // 2
    labels = (np.arange(len(start)) >= half).astype(np.int64)
    docked = dock_segments(pair, Segments(start / 2.0, labels), 0)
    assert docked.n_domains == 2
    own = torch.cdist(docked.supervoxels.points * pair.voxel, torch.from_numpy(start).float()).argmin(1).numpy()
    # A voxel beside the border may be nearer to a centre of the other segment; all else follows its own.
    domain = docked.labels[docked.supervoxels.owner.numpy()]
    agree = np.mean((domain == domain[labels[own] == 1][0]) == (labels[own] == 1))
    assert agree > 0.95
    ends = docked.moved(torch.from_numpy(start).float() / pair.voxel) * pair.voxel
    assert np.median(np.linalg.norm(ends.numpy() - end, axis=1)) < 1.0
