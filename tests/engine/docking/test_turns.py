"""A domain that lies the wrong way round in its place is turned; one that lies right is left alone."""

import numpy as np
import pytest
import torch
from chains import map_of, moved_lobe, two_lobes
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.docking.coarse import coarse_pair
from chimerax.cryotrans.engine.docking.motions import Motions, best_motion
from chimerax.cryotrans.engine.docking.pieces import points_above
from chimerax.cryotrans.engine.docking.turns import turned_otherwise

LEVEL = 0.15


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
