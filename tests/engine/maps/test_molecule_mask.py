"""Noise of known strength found again, and a mask whose widths are those that it is said to have."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import blob
from scipy import ndimage

from chimerax.cryotrans.engine.maps.components import soft_edged
from chimerax.cryotrans.engine.maps.low_pass import low_passed
from chimerax.cryotrans.engine.maps.molecule_mask import find_molecule
from chimerax.cryotrans.engine.maps.solvent import flat_voxels, solvent_of

SIZE = (2.0, 2.0, 2.0)
SHAPE = (36, 40, 44)


def _molecule() -> np.ndarray:
    return blob((18, 18, 16), SHAPE, 4.0) + blob((18, 22, 26), SHAPE, 3.0)


def _noise(sigma: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sigma, SHAPE)


@pytest.mark.parametrize("offset", [0.0, -3.0, 100.0])
@pytest.mark.parametrize("sigma", [0.05, 0.4])
def test_noise_and_background_are_found_again(sigma, offset):
    background, noise = find_molecule((_molecule() + _noise(sigma) + offset).astype(np.float32), SIZE).solvent
    assert noise == pytest.approx(sigma, rel=0.03)
    assert background == pytest.approx(offset, abs=0.03 * sigma + 1e-5)


def test_the_molecule_alone_is_no_noise():
    assert find_molecule(_molecule().astype(np.float32), SIZE).solvent.noise < 1e-3


@pytest.mark.parametrize("inside", [0.3, 0.8])
def test_what_a_program_has_set_to_zero_is_not_taken_for_quiet_solvent(inside):
    """Noise within a sphere and zeros outside, however small the sphere is."""
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    sphere = (places**2).sum(0) < inside * 1.5
    density = np.where(sphere, _molecule() + _noise(0.1), 0).astype(np.float32)
    assert find_molecule(density, SIZE).solvent.noise == pytest.approx(0.1, rel=0.1)


def test_a_map_cut_at_a_level_has_no_noise():
    """Else all that is left, the molecule, would be taken for it."""
    density = np.where(_molecule() > 0.35, _molecule(), 0).astype(np.float32)
    molecule = find_molecule(density, SIZE)
    assert molecule.solvent == (0.0, 0.0) and molecule.mask[density > 0].min() == 1


def test_voxels_count_as_flat_where_a_neighbour_is_the_same():
    density = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    density[0, 0, 1:3] = 7.5
    flat = flat_voxels(density)
    assert np.argwhere(flat).tolist() == [[0, 0, 1], [0, 0, 2]]


def test_the_noise_of_what_lies_below_the_median_is_not_raised_by_what_lies_above():
    values = _noise(1.0)
    values[values > 0] *= 50
    assert solvent_of(values, np.ones(SHAPE, bool), np.zeros(SHAPE, bool)).noise == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_noise_is_masked_away_and_the_molecule_is_kept(sigma):
    clean = _molecule()
    mask = find_molecule((clean + _noise(sigma)).astype(np.float32), SIZE).mask
    assert mask[clean >= 0.25].min() > 0.99
    assert (mask > 0).mean() < 0.45 and mask[0].max() == 0


@pytest.mark.parametrize(("height", "kept"), [(0.05, False), (0.6, True)])
def test_a_second_part_counts_by_its_mass(height, kept):
    """Farther off than any width of the mask: dust is dropped, a second molecule is not."""
    density = blob((18, 20, 12), SHAPE, 3.0) + height * blob((18, 20, 36), SHAPE, 1.5 if height < 0.1 else 3.0) * 4
    molecule = find_molecule(density.astype(np.float32), SIZE)
    assert molecule.n_parts == 1 + kept
    assert (molecule.mask[18, 20, 36] == 1) == kept
    assert (molecule.dust > 0) != kept


def test_the_mask_is_as_wide_as_it_is_said_to_be():
    core = np.zeros((1, 1, 41), bool)
    core[..., 20] = True
    got = soft_edged(core, (1, 1, 0.5), grown=3, edge=4)[0, 0]
    distance = 0.5 * np.abs(np.arange(41) - 20)
    wanted = np.where(distance <= 3, 1, np.where(distance >= 7, 0, 0.5 + 0.5 * np.cos(np.pi * (distance - 3) / 4)))
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("size", [(1.0, 1.0, 1.0), (1.0, 1.4, 2.0)])
def test_a_low_passed_point_is_the_gaussian_of_an_atom(size):
    point = np.zeros((40, 40, 40), np.float32)
    point[20, 20, 20] = 1
    sigmas = [0.225 * 8 / side for side in size]
    wanted = ndimage.gaussian_filter(point.astype(float), sigmas, truncate=8)
    np.testing.assert_allclose(low_passed(point, size, 8.0), wanted, atol=1e-7)
    np.testing.assert_array_equal(low_passed(point, size, 0.0), point)


def test_finer_voxels_tell_the_same_molecule():
    """They are looked at through coarser ones."""
    density = (_molecule() + _noise(0.05)).astype(np.float32)
    coarse = find_molecule(density, (1.5, 1.5, 1.5))
    fine = find_molecule(density.repeat(3, 0).repeat(3, 1).repeat(3, 2), (0.5, 0.5, 0.5))
    assert fine.mask.shape == tuple(3 * n for n in SHAPE)
    np.testing.assert_allclose(fine.mask[1::3, 1::3, 1::3], coarse.mask, atol=1e-6)
