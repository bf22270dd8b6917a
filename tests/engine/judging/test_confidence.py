"""Confidence on the demo pair, whose motion is known: of no flow, of the true one, and what else lowers it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from chimerax.cryotrans.engine.docking.partners import Part
from chimerax.cryotrans.engine.flow.domains import DomainField
from chimerax.cryotrans.engine.flow.fields import at_rest
from chimerax.cryotrans.engine.judging.comparison import Comparison
from chimerax.cryotrans.engine.judging.confidence import confidence, doubtful_share, summary
from chimerax.cryotrans.engine.maps.demo_pair import HINGE_ANGLE, LEVEL, make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def demo():
    pair = make_demo_pair()
    comparison = Comparison(pair.initial, pair.target, LEVEL, LEVEL, CPU)
    places = comparison.support * np.array(pair.initial.voxel_size)
    atoms, after = pair.initial_atoms, pair.target_atoms
    moved = np.linalg.norm(after - atoms, axis=1) > 1e-6
    nearest = np.array([((atoms - place) ** 2).sum(axis=1).argmin() for place in places])
    off = np.linalg.norm(after - atoms, axis=1)[nearest]
    return pair, comparison, off, moved[nearest]


def _true_flow(pair):
    """The larger domain at rest, the smaller one turned about the hinge."""
    moving = np.linalg.norm(pair.target_atoms - pair.initial_atoms, axis=1) > 1e-6
    still, turning = (torch.tensor(pair.initial_atoms[part].mean(axis=0)).float() for part in (~moving, moving))
    side = max(pair.initial.grid_shape) * 1.6
    hinge = torch.tensor([(n - 1) / 2 * 1.6 for n in pair.initial.grid_shape]) + torch.tensor([0.0, -9.5, 1.0])
    turn = torch.tensor([np.deg2rad(HINGE_ANGLE), 0.0, 0.0]).float()
    velocity = torch.linalg.cross(turn, turning - hinge)
    centres = torch.stack((still, turning)) / side + 0.5 / max(pair.initial.grid_shape)
    turns, velocities = torch.stack((0 * turn, turn)), torch.stack((0 * velocity, velocity)) / side
    field = DomainField.of_screws(centres, turns, velocities, 0.1)
    field.spread.mul_(0.1)
    return field


def test_where_nothing_moves_only_what_should_have_moved_is_doubtful(demo):
    pair, comparison, off, _ = demo
    found = confidence(comparison, comparison.measure(at_rest(), 0, 0, 0), pair.initial)
    assert np.median(found[off > 8]) < 0.3
    assert np.median(found[off < 0.5]) > 0.8


def test_the_true_flow_is_believed_nearly_everywhere(demo):
    pair, comparison, *_ = demo
    measured = comparison.measure(_true_flow(pair), 0, 0, 0)
    assert measured.measures.correlation > 0.95
    assert doubtful_share(confidence(comparison, measured, pair.initial), comparison.weights) < 0.05


def test_with_finer_voxels_the_same_places_are_doubtful(demo):
    """Interpolated by SciPy on voxels a third as long, which are taken together again where maps are compared."""
    pair, comparison, *_ = demo
    fine = [
        DensityMap(np.maximum(zoom(each.density, 3, order=1, mode="grid-constant", grid_mode=True), 0), (1.6 / 3,) * 3)
        for each in (pair.initial, pair.target)
    ]
    finely = Comparison(*fine, LEVEL, LEVEL, CPU)
    known, found = (
        dict(zip(map(tuple, judge.support), confidence(judge, judge.measure(at_rest(), 0, 0, 0), density_map)))
        for judge, density_map in ((comparison, pair.initial), (finely, fine[0]))
    )
    middles = {place: tuple(3 * along + 1 for along in place) for place in known}
    both = [(known[place], found[middle]) for place, middle in middles.items() if middle in found]
    assert len(both) > 0.8 * len(known)
    assert np.abs(np.subtract(*np.transpose(both))).mean() < 1e-3


def test_the_witness_and_a_lack_of_a_partner_lower_it(demo):
    pair, comparison, _, moved = demo
    measured = comparison.measure(_true_flow(pair), 0, 0, 0)
    places = comparison.support * np.array(pair.initial.voxel_size)
    pieces = [
        {"place": places[part].mean(axis=0)[::-1].tolist(), "apart": 9.0, "doubt": "elsewhere" if is_moved else None}
        for is_moved, part in ((True, moved), (False, ~moved))
    ]
    found = confidence(comparison, measured, pair.initial, {"pieces": pieces})
    assert found[moved].mean() < 0.3 < 0.8 < found[~moved].mean()
    voxels = np.zeros(pair.initial.grid_shape, bool)
    voxels[tuple(comparison.support[moved].T)] = True
    lonely = Comparison(pair.initial, pair.target, LEVEL, LEVEL, CPU)
    lonely.leave_out([Part("initial", 0.3, (0.0, 0.0, 0.0), voxels)])
    found = confidence(lonely, lonely.measure(_true_flow(pair), 0, 0, 0), pair.initial)
    assert found[moved].max() == 0 < found[~moved].mean()


def test_the_summary_names_regions_with_their_places_and_shares(demo):
    pair, comparison, _, moved = demo
    found = np.where(moved, 0.2, 0.9)
    told = summary(found, comparison, pair.initial, 7)
    share = comparison.weights[moved].sum() / comparison.weights.sum()
    assert told["step"] == 7 and told["doubtful"] == pytest.approx(share, abs=1e-4)
    assert sum(region["share"] for region in told["regions"]) == pytest.approx(share, abs=0.03)
    places = comparison.support[moved] * np.array(pair.initial.voxel_size)
    centre = np.average(places, axis=0, weights=comparison.weights[moved])[::-1]
    np.testing.assert_allclose(told["regions"][0]["place"], centre, atol=2)
    assert told["regions"][0]["confidence"] == 0.2
    assert summary(np.ones(len(found)), comparison, pair.initial, 7)["regions"] == []
