"""Pieces that are docked by themselves, asked about a flow that is right and about one that is wrong."""

import numpy as np
import pytest
import torch
from chains import lobe
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.docking.motions import best_motion
from chimerax.cryotrans.engine.flow.domains import DomainField
from chimerax.cryotrans.engine.flow.fields import at_rest
from chimerax.cryotrans.engine.flow.rotations import to_vectors
from chimerax.cryotrans.engine.flow.symmetry import point_group
from chimerax.cryotrans.engine.judging.witness import doubt_at, witness_of
from chimerax.cryotrans.engine.maps.density_map import DensityMap

CPU = torch.device("cpu")
LEVEL, VOXEL, BOX = 0.15, 2.0, 44


def _map(positions: np.ndarray) -> DensityMap:
    axis = np.arange(BOX) * VOXEL
    z, y, x = (np.exp(-((axis - across[:, None]) ** 2) / (2 * 1.4**2)) for across in positions.T)
    density = np.einsum("az,ay,ax->zyx", z, y, x)
    return DensityMap((density / density.max()).astype(np.float32), (VOXEL,) * 3, header_origin=(10.0, 20.0, 30.0))


@pytest.fixture(scope="module")
def lobes() -> tuple[DensityMap, DensityMap, DomainField]:
    """One lobe rests, the other turns by 70° and moves by 12 Å; and the flow that does this."""
    still, moving = lobe(110, 15.0, 1) + np.array((44.0, 26.0, 40.0)), lobe(110, 15.0, 2) + np.array((44.0, 58.0, 40.0))
    middle = moving.mean(0)
    end = Rotation.from_rotvec(np.radians([70.0, 0.0, 0.0])).apply(moving - middle) + middle + (0.0, 2.0, 12.0)
    motion = best_motion(torch.tensor(moving[None]), torch.tensor(end[None]), torch.ones(1, len(moving)).double())
    turn = to_vectors(motion.rotations)
    centres = torch.tensor(np.stack((still.mean(0), middle))) / VOXEL
    field = DomainField.of_screws(((centres + 0.5) / BOX).float(), torch.zeros(2, 3), torch.zeros(2, 3), 0.1)
    cross = torch.zeros(3, 3, dtype=torch.float64)
    cross[2, 1], cross[0, 2], cross[1, 0] = turn[0]
    cross = cross - cross.T
    angle = float(turn.norm())
    way = (
        torch.eye(3).double()
        + (1 - np.cos(angle)) / angle**2 * cross
        + (angle - np.sin(angle)) / angle**3 * cross @ cross
    )
    with torch.no_grad():
        field.rotations[1] = (turn[0] * field.arm).float()
        field.translations[1] = (torch.linalg.solve(way, motion.shifts[0]) / VOXEL / BOX).float()
    return _map(np.concatenate((still, moving))), _map(np.concatenate((still, end))), field


def test_pieces_agree_with_a_right_flow(lobes):
    initial, target, field = lobes
    witness = witness_of(initial, target, (LEVEL, LEVEL), 0.0, field, CPU)
    assert witness.usual > 0.9
    assert witness.doubted < 0.1  # a ball of both lobes fits neither way
    assert not any(piece.against for piece in witness.pieces)  # but no rigid pose fits better than the flow bends it
    assert sum(piece.share for piece in witness.pieces) == pytest.approx(1)


def test_pieces_doubt_a_flow_that_leaves_a_lobe_behind(lobes):
    initial, target, _ = lobes
    witness = witness_of(initial, target, (LEVEL, LEVEL), 0.0, at_rest(), CPU)
    assert 0.35 < witness.doubted < 0.65
    told = witness.to_dict(initial)
    for piece in told["pieces"]:
        y = piece["place"][1] - initial.origin[1]
        if abs(y - 42) > 8:  # no ball of both
            assert (piece["doubt"] is not None) == (y > 42)
    found = [piece for piece in told["pieces"] if piece["doubt"] == "elsewhere" and piece["best"] > 0.9]
    assert len(found) >= 3
    assert all(piece["apart"] > 10 for piece in found)  # the best pose is where the true motion takes it
    support = np.argwhere(initial.density > LEVEL)
    doubt = doubt_at(told, support, initial)
    moves = support[:, 1] * VOXEL > 50
    assert np.mean(doubt[moves] > 3) > 0.8 and np.mean(doubt[support[:, 1] * VOXEL < 34] == 0) > 0.95


def test_where_the_flow_keeps_a_symmetry_a_better_fit_is_looked_for_near_any_image():
    """Both of two units turn by 70°: each would rather lie turned, in its own place or in the other's."""
    middle = (BOX - 1) / 2 * VOXEL
    half_turn = Rotation.from_rotvec([np.pi, 0.0, 0.0])
    unit = lobe(110, 15.0, 2) + np.array((0.0, 20.0, 0.0))
    turned = Rotation.from_rotvec(np.radians([0.0, 70.0, 0.0])).apply(unit - unit.mean(0)) + unit.mean(0)
    initial, target = (_map(np.concatenate((each, half_turn.apply(each))) + middle) for each in (unit, turned))
    symmetry = point_group("C2", torch.full((3,), 0.5))
    centres = torch.from_numpy((unit.mean(0)[None] + middle) / VOXEL + 0.5).float() / BOX
    field = DomainField(centres, torch.tensor(0.1), torch.tensor(0.1), symmetry)  # at rest
    witness = witness_of(initial, target, (LEVEL, LEVEL), 0.0, field, CPU)
    assert witness.doubted > 0.5
    assert max(piece.apart for piece in witness.pieces if piece.against) < 25, "the units are 40 Å apart"
