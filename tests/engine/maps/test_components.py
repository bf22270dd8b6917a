"""Connected parts and distances against SciPy, which the product does without."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from chimerax.cryotrans.engine.maps.components import connected_components, distance_from


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 1.0])
def test_the_parts_are_those_that_scipy_finds(share):
    occupied = np.random.default_rng(3).random((13, 17, 19)) < share
    voxels, parts = connected_components(occupied)
    np.testing.assert_array_equal(voxels, np.argwhere(occupied))
    wanted, n_parts = ndimage.label(occupied)
    pairs = set(zip(parts.tolist(), wanted[tuple(voxels.T)].tolist()))
    assert len(pairs) == n_parts == len(set(parts.tolist()))  # one to one


def test_a_winding_part_is_one():
    occupied = np.zeros((9, 9, 2), bool)
    occupied[::2, :, 0] = True  # rows, joined at alternating ends
    for row in range(1, 9, 2):
        occupied[row, 0 if row % 4 == 1 else -1, 0] = True
    assert set(connected_components(occupied)[1].tolist()) == {0}


@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (1.5, 0.8, 2.3)])
@pytest.mark.parametrize("reach", [1.0, 4.7, 100.0])
def test_distances_are_those_of_scipy_up_to_the_reach(voxel_size, reach):
    occupied = np.random.default_rng(5).random((14, 11, 12)) < 0.01
    wanted = ndimage.distance_transform_edt(~occupied, sampling=voxel_size)
    got = distance_from(occupied, voxel_size, reach)
    np.testing.assert_allclose(got, np.where(wanted <= reach, wanted, np.inf), rtol=1e-5)
