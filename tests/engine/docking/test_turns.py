"""A domain that lies the wrong way round in its place is turned; one that lies right is left alone."""

import numpy as np
import pytest
import torch
from chains import map_of, moved_lobe, two_lobes
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.docking.coarse import coarse_pair
from chimerax.cryotrans.engine.docking.motions import Motions, best_motion
from chimerax.cryotrans.engine.docking.pieces import points_above
from chimerax.cryotrans.engine.docking.turns import turned_otherwise
from chimerax.cryotrans.engine.maps.demo_pair import make_demo_pair
from chimerax.cryotrans.engine.maps.density_map import DensityMap

LEVEL = 0.15
N_BUNDLE = 7 * 20 * 4  # atoms of seven helices, which come first in the demo's molecule


@pytest.mark.parametrize("wrong", [0, 100, 180])
def test_a_domain_finds_its_turn(wrong):
    still, moving = two_lobes()
    end = moved_lobe(moving)
    maps = map_of(np.concatenate((still, moving))), map_of(np.concatenate((still, end)))
    pair = coarse_pair(*maps, (LEVEL, LEVEL), 0.0, torch.device("cpu"), 0.0, 2.0)
    points, weights = points_above(pair.initial, 0.1)
    own, other = (torch.from_numpy(x).float() / pair.voxel for x in (moving, still))
    domain = (torch.cdist(points, own).amin(1) < torch.cdist(points, other).amin(1)).long()
    true = best_motion(own[None], torch.from_numpy(end).float()[None] / pair.voxel, torch.ones(1, len(own)))
    turn = torch.from_numpy(Rotation.from_rotvec(np.radians(wrong) * np.array([0.0, 0.6, 0.8])).as_matrix()).float()
    given = Motions.joined([Motions.identity(points), Motions(turn @ true.rotations, true.centres, true.shifts)])
    found = turned_otherwise(pair, points, weights, domain, given)
    ends = found.moved(own)[1].numpy() * pair.voxel
    assert np.sqrt(((ends - end) ** 2).sum(1).mean()) < 1.0
    np.testing.assert_array_equal(found.moved(other)[0], other)
    if not wrong:
        torch.testing.assert_close(found.rotations[1], true.rotations[0])


def test_a_bundle_of_helices_that_lies_right_is_not_turned_to_where_it_looks_nearly_alike():
    bundle = make_demo_pair().initial_atoms[:N_BUNDLE]
    bundle = Rotation.random(random_state=2).apply(bundle - bundle.mean(axis=0))
    bent = Rotation.from_rotvec(np.radians([60.0, 0.0, 0.0]))
    way = np.array([15.0, 13.5, 18.2])
    middle = np.full(3, 39.0)  # Å
    maps = []
    for atoms, resolution in ((bundle, 3.0), (bent.apply(bundle) + way, 5.0)):
        density, _ = np.histogramdd(atoms + middle, bins=80, range=[(-0.5, 79.5)] * 3)
        density = gaussian_filter(density, 0.225 * resolution)[::2, ::2, ::2]
        maps.append(DensityMap((density / density.max()).astype(np.float32), (2.0,) * 3, (0.0,) * 3, (0,) * 3, "map"))
    pair = coarse_pair(*maps, (0.1, 0.1), 0.9, torch.device("cpu"), 0.0, 2.0)
    points, weights = points_above(pair.initial, 0.08)
    turn = torch.from_numpy(bent.as_matrix()).float()[None]
    centre = torch.from_numpy(middle / pair.voxel).float()[None]
    given = Motions(turn, centre, torch.from_numpy(way / pair.voxel).float()[None])
    found = turned_otherwise(pair, points, weights, torch.zeros(len(points), dtype=torch.long), given)
    apart = Rotation.from_matrix(found.rotations[0].numpy()) * bent.inv()
    assert np.degrees(apart.magnitude()) < 2
