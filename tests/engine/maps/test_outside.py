"""What falls outside when a map is put on another's grid, and voxel sizes that were never filled in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from phantoms import SHAPE, VOXEL_SIZE, two_domains

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.grids import on_grid_of, share_outside, sizes_text

BOX = DensityMap(np.zeros(SHAPE), VOXEL_SIZE, name="a.mrc")


def _moved(n_voxels: int) -> DensityMap:
    return DensityMap(np.ones(SHAPE), VOXEL_SIZE, header_origin=(0, 0, n_voxels * VOXEL_SIZE[2]), name="b.mrc")


@pytest.mark.parametrize("n_voxels", [-28, -3, 0, 7, 40])
def test_the_share_of_an_even_map_is_that_of_the_volume(n_voxels):
    assert share_outside(_moved(n_voxels), BOX) == pytest.approx(min(1, abs(n_voxels) / SHAPE[2]), abs=1e-12)


def test_only_what_is_above_the_level_counts():
    density = np.full(SHAPE, 0.1)
    density[:, :, -4:] = 1
    moved = dataclasses.replace(_moved(4), density=density)
    assert share_outside(moved, BOX, level=0.5) == pytest.approx(1)
    assert share_outside(moved, BOX) == pytest.approx(0.4 / (0.4 + 0.1 * 2.4), rel=1e-5)


def test_it_is_said_and_refused_above_half():
    placed, _ = on_grid_of(_moved(7), BOX, 0.5)
    assert placed.notes == (
        "25% of the density above 0.5 of b.mrc lies outside the box of a.mrc and is left out. Use a larger box, or "
        "move one onto the other first.",
    )
    with pytest.raises(InputError, match=r"^54% of the density above 0\.5 of b\.mrc lies outside the box of a\.mrc: "):
        on_grid_of(_moved(15), BOX, 0.5)
    half_a_voxel = dataclasses.replace(_moved(0), density=two_domains(), header_origin=(0, 0.5 * VOXEL_SIZE[1], 0))
    assert on_grid_of(half_a_voxel, BOX, 0.5)[0].notes == ()


def test_a_voxel_of_exactly_one_angstrom_in_one_of_two_equal_boxes_is_doubted():
    one = dataclasses.replace(BOX, voxel_size=(1.0, 1.0, 1.0), name="b.mrc")
    assert "boxes of equal sides, and one says exactly 1 Å" in (sizes_text(BOX, one) or "")
    assert sizes_text(BOX, one) == sizes_text(one, BOX)
    assert sizes_text(one, one) is None and sizes_text(BOX, dataclasses.replace(BOX, voxel_size=(1.2,) * 3)) is None
    assert sizes_text(dataclasses.replace(one, voxel_size_known=False), BOX) is None
