"""Parts that one of two maps lacks: found, told, left out; and none found where there is none."""

import numpy as np
import pytest
import torch
from chains import VOXEL, lobe, map_of, moved_lobe, two_lobes

from chimerax.cryotrans.engine.docking.coarse import coarse_pair
from chimerax.cryotrans.engine.docking.docked import dock_domains
from chimerax.cryotrans.engine.docking.partners import (
    Part,
    map_of_parts,
    partner_text,
    parts_without_partner,
    without,
)

CPU = torch.device("cpu")
LEVEL = 0.15
STILL, MOVING = two_lobes()
ARM = lobe(30, 9.0, 3) + np.array((40.0, 40.0, 58.0))  # beside both: a fifth of the molecule


def _parts(start: np.ndarray, end: np.ndarray) -> list[Part]:
    initial = map_of(start)
    pair = coarse_pair(initial, map_of(end), (LEVEL, LEVEL), 0.0, CPU)
    return parts_without_partner(dock_domains(pair)[0], initial)


WHOLE = np.concatenate((STILL, MOVING, ARM))
LACKING = np.concatenate((STILL, MOVING))


@pytest.mark.parametrize(("of", "start", "end"), [("initial", WHOLE, LACKING), ("target", LACKING, WHOLE)])
def test_a_part_that_one_map_lacks_is_found(of, start, end):
    [part] = _parts(start, end)
    assert part.of == of and 0.08 < part.share < 0.2  # 30 of 170 atoms, some of which lie against others
    assert np.linalg.norm(np.array(part.centre) - ARM.mean(0)) < 3.0  # Å
    assert part.voxels.shape == map_of(WHOLE).grid_shape
    inside = part.voxels[tuple(np.rint(ARM / VOXEL).astype(int).T)]
    outside = part.voxels[tuple(np.rint(LACKING / VOXEL).astype(int).T)]
    assert inside.mean() > 0.7 and outside.mean() < 0.05


@pytest.mark.parametrize("end", [LACKING, np.concatenate((STILL, moved_lobe(MOVING)))], ids=["at rest", "moved"])
def test_what_moves_has_a_partner(end):
    assert _parts(LACKING, end) == []


def test_two_unrelated_maps_are_no_matter_of_parts():
    others = [lobe(70, 13.0, seed) + middle for seed, middle in ((7, (40.0, 27.0, 40.0)), (8, (40.0, 52.0, 40.0)))]
    assert _parts(LACKING, np.concatenate(others)) == []


def test_what_is_found_is_left_out_told_and_shown():
    box = np.zeros((6, 7, 8), bool)
    box[1:3, 2:4, 3:5] = True
    parts = [Part("initial", 0.143, (30.1, 65.4, 42.8), box), Part("target", 0.05, (1.0, 2.0, 3.0), box[::-1].copy())]
    grid = map_of(STILL)
    grid = type(grid)(np.ones((6, 7, 8)), grid.voxel_size)
    assert without(grid, parts, "initial").density.sum() == grid.density.size - 8
    assert without(grid, parts[:1], "target") is grid
    shown = map_of_parts(parts, grid).density
    assert [(shown == value).sum() for value in (1, -1)] == [8, 8]
    assert partner_text(parts[0], "a.mrc", "b.mrc").startswith(
        "A part of a.mrc round 43, 65, 30 Å with 14% of its density has no partner in b.mrc and is left out "
    )
    assert partner_text(parts[1], "a.mrc", "b.mrc").startswith("A part of b.mrc round 3, 2, 1 Å with 5%")
    again = Part.of_state(parts[0].state())
    np.testing.assert_array_equal(again.voxels, box)
    assert again[:3] == parts[0][:3]
