"""The blur between maps made of Gaussians of known widths."""

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.relative_blur import estimate_blur

SHAPE, VOXEL = (40, 44, 48), (1.5, 1.5, 1.5)
OWN = 1.2  # width of the initial map's atoms, voxels


def _atoms(motion: str = "none") -> np.ndarray:
    """(n, 3), voxels."""
    atoms = np.random.default_rng(0).normal(scale=4, size=(200, 3))
    if motion == "turn":
        atoms = atoms @ Rotation.random(random_state=1).as_matrix().T
    elif motion == "hinge":
        turn = Rotation.from_rotvec([0.5, 0, 0]).as_matrix()
        atoms[atoms[:, 2] > 0] = atoms[atoms[:, 2] > 0] @ turn.T + [0, 2, 1]
    return atoms + np.array(SHAPE) / 2


def _density(atoms: np.ndarray, sigma: float) -> np.ndarray:
    axes = [np.exp(-((np.arange(n) - atoms[:, [k]]) ** 2) / (2 * sigma**2)) for k, n in enumerate(SHAPE)]
    return np.einsum("az,ay,ax->zyx", *axes, optimize=True).astype(np.float32)


@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])  # voxels
@pytest.mark.parametrize("motion", ["none", "turn", "hinge"])
def test_a_blur_is_found_whatever_moved(motion, blur):
    target = 5 * _density(_atoms(motion), math.hypot(OWN, blur))
    found = estimate_blur(_density(_atoms(), OWN), target, VOXEL)
    assert found == pytest.approx(blur * 1.5, rel=0.05)


@pytest.mark.parametrize("noise", [0.01, 0.1])  # the maps' highest values are about 2
def test_noise_does_not_pass_for_detail(noise):
    random = np.random.default_rng(1)
    target = _density(_atoms("turn"), math.hypot(OWN, 2)) + noise * random.normal(size=SHAPE)
    initial = _density(_atoms(), OWN) + noise * random.normal(size=SHAPE)
    assert estimate_blur(initial, target, VOXEL) == pytest.approx(3.0, rel=0.1)


def test_within_a_mask_a_blur_is_found_where_noise_hides_all_but_few_shells():
    found = [estimate_blur(*_noisy_in_masks(seed, noise=0.5), VOXEL, is_masked=True) for seed in range(5)]
    np.testing.assert_allclose(found, 1.5, atol=0.6)


def test_within_a_mask_shells_count_that_would_be_noise_outside_one():
    """Where noise is so strong that five times its power would leave too few shells, or the wrong ones."""
    found = {True: [], False: []}
    for seed in range(5):
        noisy = _noisy_in_masks(seed, noise=1.3)
        for is_masked, blurs in found.items():
            blurs.append(estimate_blur(*noisy, VOXEL, is_masked=is_masked))
    np.testing.assert_allclose(found[True], 1.5, atol=0.5)
    assert min(found[False]) == 0.0


def _noisy_in_masks(seed: int, noise: float) -> list[np.ndarray]:
    """Two states in noise of this standard deviation, the second blurred by a voxel, each in a mask round it."""
    random = np.random.default_rng(seed)
    a, b = _density(_atoms(), OWN), _density(_atoms("hinge"), math.hypot(OWN, 1.0))
    masks = [ndimage.gaussian_filter((ndimage.gaussian_filter(each, 3) > 0.05).astype(float), 1) for each in (a, b)]
    return [(each + noise * random.normal(size=SHAPE)) * mask for each, mask in zip((a, b), masks)]


def test_a_blur_by_another_program_is_found():
    initial = _density(_atoms(), OWN)
    blurred = ndimage.gaussian_filter(initial.astype(float), 2.0, mode="wrap", truncate=8)
    assert estimate_blur(initial, blurred, (2.0, 2.0, 2.0)) == pytest.approx(4.0, rel=0.01)


def test_voxels_may_be_longer_than_wide():
    atoms = np.random.default_rng(0).normal(scale=6, size=(200, 3)) + 40  # Å

    def density(sigma):
        axes = [np.exp(-((np.arange(n) * h - atoms[:, [k]]) ** 2) / (2 * sigma**2)) for k, (n, h) in enumerate(grid)]
        return np.einsum("az,ay,ax->zyx", *axes, optimize=True)

    grid = [(40, 2.0), (64, 1.25), (64, 1.25)]
    assert estimate_blur(density(1.8), density(math.hypot(1.8, 2.5)), (2.0, 1.25, 1.25)) == pytest.approx(2.5, rel=0.03)


def test_a_sharper_target_needs_none():
    sharp, coarse = _density(_atoms(), OWN), _density(_atoms("turn"), 2 * OWN)
    assert estimate_blur(coarse, sharp, VOXEL) == 0.0
    assert estimate_blur(sharp, sharp, VOXEL) == 0.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("target", [np.zeros(SHAPE), np.ones(SHAPE), np.random.default_rng(0).normal(size=SHAPE)])
def test_without_signal_there_is_nothing_to_tell(target):
    assert estimate_blur(_density(_atoms(), OWN), target, VOXEL) == 0.0


def test_maps_of_two_shapes_are_an_error():
    with pytest.raises(InputError, match=r"must share a grid: one has 5x4x3 voxels, the other 6x4x3\. Resample one"):
        estimate_blur(np.zeros((3, 4, 5)), np.zeros((3, 4, 6)), VOXEL)


@pytest.mark.parametrize("blur", [0.4, 0.6])  # voxels
def test_density_that_reaches_the_corners_of_fourier_space_is_no_noise(blur):
    own = 0.4  # voxels: as fine as they allow
    found = estimate_blur(_density(_atoms(), own), _density(_atoms("hinge"), math.hypot(own, blur)), VOXEL)
    assert found == pytest.approx(blur * 1.5, rel=0.2)
