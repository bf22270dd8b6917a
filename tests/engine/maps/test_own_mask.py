"""A user's own mask put on a map's grid, and what is refused as one."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import blob

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.conditioning import conditioned
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.own_mask import mask_on_grid, mask_round, masked

SHAPE, SIZE, LEVEL = (24, 26, 28), (2.0, 2.0, 2.0), 0.3
LEFT, RIGHT = blob((12, 12, 8), SHAPE, 2.5), blob((12, 12, 20), SHAPE, 2.5)
MAP = DensityMap(LEFT + RIGHT, SIZE, header_origin=(4.0, 6.0, 8.0), name="a.mrc")


def _half(name: str = "mask.mrc", value: float = 1.0) -> DensityMap:
    """Of twice as large voxels, 1 where x is below that of voxel 14 of the map."""
    mask = np.zeros((12, 13, 14), np.float32)
    mask[..., :7] = value
    return DensityMap(mask, (4.0, 4.0, 4.0), header_origin=(5.0, 7.0, 9.0), name=name)


def test_what_counts_is_the_map_times_the_mask():
    mask, said = mask_on_grid(_half(), MAP, "initial_mask")
    assert said.startswith("mask.mrc (14x13x12 voxels of 4 Å") and mask.grid_shape == SHAPE
    result, text = masked(MAP, mask, LEVEL, "initial_mask")
    np.testing.assert_array_equal(result.density, MAP.density * mask.density)
    np.testing.assert_array_equal(result.density[..., 16:], 0)
    np.testing.assert_array_equal(result.density[2:20, 2:20, 3:12], MAP.density[2:20, 2:20, 3:12])
    assert text == "mask.mrc keeps 50 % of the density of a.mrc above level 0.3; what lies outside it does not count."


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (_half(value=7), "mask.mrc is no mask (initial_mask): its values run from 0 to 7"),
        (_half(value=0), "mask.mrc is an empty mask (initial_mask)"),
        (DensityMap(np.ones((4, 4, 4)), SIZE, header_origin=(500.0, 0, 0), name="far.mrc"), "The maps must overlap"),
    ],
    ids=["no mask", "empty", "far"],
)
def test_what_is_no_mask_of_the_map_is_refused(mask, said):
    with pytest.raises(InputError) as error:
        mask_on_grid(mask, MAP, "initial_mask")
    assert said in str(error.value)


def test_a_mask_that_leaves_next_to_nothing_is_refused():
    corner = np.zeros(SHAPE, np.float32)
    corner[:4, :4, :4] = 1
    with pytest.raises(InputError, match=r"mask.mrc keeps 0.0 % of the density of a.mrc .* too little to go by"):
        masked(MAP, DensityMap(corner, SIZE, name="mask.mrc"), LEVEL, "initial_mask")


def test_round_atoms_it_is_one_to_four_angstroms_and_falls_to_nothing():
    atoms = np.array([[4.0 + 24, 6.0 + 24, 8.0 + 16]])  # at voxel 12, 12, 8
    mask = mask_round(atoms, MAP, "model.pdb", "initial_mask").density
    distance = 2.0 * np.sqrt(((np.indices(SHAPE).T - (12, 12, 8)) ** 2).sum(-1)).T
    assert (mask[distance <= 4] == 1).all() and (mask[distance >= 7] == 0).all()
    between = mask[(distance > 4.1) & (distance < 6.9)]
    assert ((between > 0) & (between < 1)).all()
    with pytest.raises(InputError, match=r"No atom of model.pdb \(initial_mask\) lies in the box of a.mrc"):
        mask_round(atoms + 400, MAP, "model.pdb", "initial_mask")


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_it_takes_the_place_of_the_mask_that_would_be_found(sigma):
    noisy = MAP.with_density(MAP.density + np.random.default_rng(3).normal(0, sigma, SHAPE))
    mask, _ = mask_on_grid(_half(), MAP, "initial_mask")
    seen = conditioned(noisy, LEVEL, mask.density)
    assert seen.density_map.density[..., 16:].max() == 0
    assert (seen.blur > 0) == (sigma > 0)
    if sigma == 0:
        np.testing.assert_array_equal(seen.density_map.density, masked(MAP, mask, LEVEL, "initial_mask")[0].density)
