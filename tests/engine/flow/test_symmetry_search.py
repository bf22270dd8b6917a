"""Finding symmetry in maps that scipy's rotations made, about any axis through any point, and not finding it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.symmetry_search import find_symmetry

SIDE = 40
OFF = np.array([1.3, -2.1, 0.7])  # of the centre from the box's middle, voxels
MIDDLE = (SIDE - 1) / 2
LEVEL = 0.3


def blobs(places, sigmas, heights) -> np.ndarray:
    """Gaussians at (z, y, x); (SIDE, SIDE, SIDE)."""
    density, index = np.zeros((SIDE,) * 3), np.arange(SIDE)
    for place, sigma, height in zip(places, sigmas, heights):
        z, y, x = (np.exp(-((index - c) ** 2) / (2 * sigma**2)) for c in place)
        density += height * z[:, None, None] * y[:, None] * x
    return density.astype(np.float32)


def turned(seed: int) -> Rotation:
    return Rotation.random(random_state=seed)


def map_of(group: str, seed: int, n_blobs: int = 8, moved: float = 0.0, turn: int | None = None) -> np.ndarray:
    """A unit of blobs at random places and its images; in one of them the first few may be moved (voxels)."""
    random = np.random.default_rng(seed)
    unit = random.normal(size=(n_blobs, 3))
    unit *= (11 * random.uniform(0.35, 1, n_blobs) / np.linalg.norm(unit, axis=1))[:, None]
    sigmas, heights = random.uniform(1.2, 2.2, n_blobs), random.uniform(0.6, 1, n_blobs)
    other = unit + np.where(np.arange(n_blobs) < n_blobs // 3, moved, 0)[:, None]
    about, rotations = turned(seed if turn is None else turn), Rotation.create_group(group)
    places = [about.apply(rotation.apply(other if k == 1 else unit)) for k, rotation in enumerate(rotations)]
    n = len(rotations)
    return blobs(np.concatenate(places) + MIDDLE + OFF, np.tile(sigmas, n), np.tile(heights, n))


def find(name, *densities, level=LEVEL):
    return find_symmetry(name, densities, [level] * len(densities))


@pytest.mark.parametrize(
    ("group", "n_blobs"),
    [("C2", 10), ("C3", 10), ("C7", 8), ("D2", 8), ("D3", 8), ("D5", 8), ("D7", 8), ("T", 5), ("O", 4), ("I", 3)],
)
def test_the_symmetry_of_a_map_is_found(group, n_blobs):
    seed = len(group) + ord(group[-1])
    found = find("auto", map_of(group, seed, n_blobs))
    assert found.symmetry.name == group
    assert found.alike[0] > 0.97
    # What the group found makes of a point is what the group put in makes of it.
    point = np.array([9.0, 4.0, -3.0])
    about, centre = turned(seed), MIDDLE + OFF
    wanted = centre + about.apply([each.apply(about.inv().apply(point)) for each in Rotation.create_group(group)])
    images = found.symmetry.images((torch.from_numpy(point + centre)[None] + 0.5).float() / SIDE)[:, 0].numpy()
    distances = np.linalg.norm(images[:, None] * SIDE - 0.5 - wanted, axis=2)
    assert distances.min(1).max() < 0.4  # voxels
    assert sorted(distances.argmin(1)) == list(range(len(wanted)))


def test_two_maps_of_one_symmetry_have_it_both():
    found = find("auto", map_of("D3", 3), map_of("D3", 4, turn=3))
    assert (found.symmetry.name, len(found.alike)) == ("D3", 2)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (map_of("C1", 5, 30), None),
        (map_of("C4", 9, turn=8), None),  # about another axis
        (map_of("C2", 6, turn=4), "C2"),  # what they have in common
        (blobs([MIDDLE + OFF], [2.0], [1.0]), None),
    ],
)
def test_both_maps_must_have_it(other, name):
    found = find("auto", map_of("C4", 4), other)
    assert (found and found.symmetry.name) == name


@pytest.mark.parametrize("group", ["C3", "D3"])
def test_a_domain_that_breaks_it_somewhere_is_seen(group):
    """One of many: the map as a whole is as good as symmetric."""
    whole, broken = map_of(group, 3), map_of(group, 3, moved=4.0)
    assert np.corrcoef(whole.ravel(), broken.ravel())[0, 1] > 0.9
    assert find("auto", whole, broken) is None


def test_noise_as_strong_as_the_signal_does_not_hide_it():
    density = map_of("C3", 3)
    spread, random = density[density > LEVEL].std(), np.random.default_rng(1)
    noisy = [(density + random.normal(size=density.shape) * spread).astype(np.float32) for _ in range(2)]
    found = find("auto", *noisy, level=0.5)
    assert found.symmetry.name == "C3"
    direction = found.symmetry.axis().numpy()
    assert abs(direction @ turned(3).apply([0, 0, 1])) > np.cos(np.radians(2))


def helices_in_a_belt() -> np.ndarray:
    """Three winding helices with a bump each, in a belt that is the same all round and holds most of the mass."""
    up = np.linspace(-1, 1, 14)
    places = np.array(
        [(12 * t, 6 * np.cos(a), 6 * np.sin(a)) for k in range(3) for t, a in zip(up, 2 * np.pi * k / 3 + 0.35 * up)]
    )
    places = np.concatenate((places, places[3::14] * [1, 1.7, 1.7])) + MIDDLE
    z, y, x = np.indices((SIDE,) * 3) - MIDDLE
    belt = 1.5 * np.exp(-((np.hypot(y, x) - 14) ** 2 / 12 + z**2 / 40))
    return (blobs(places, np.full(len(places), 1.5), np.full(len(places), 0.8)) + belt).astype(np.float32)


def test_a_belt_does_not_make_it_higher():
    found = find("auto", helices_in_a_belt())
    assert (found.symmetry.name, found.symmetry.axis_text()) == ("C3", "z")


def _radius() -> np.ndarray:
    return np.linalg.norm(np.indices((SIDE,) * 3) - MIDDLE, axis=0)


@pytest.mark.parametrize(
    "density",
    [
        (_radius() < 13).astype(np.float32),
        ((_radius() < 14) & (_radius() > 9)).astype(np.float32),
        np.exp(-(_radius() ** 2) / 80).astype(np.float32),
        (np.random.default_rng(0).normal(size=(SIDE,) * 3) * 0.5 + (_radius() < 13)).astype(np.float32),
    ],
    ids=["ball", "shell", "soft", "noisy"],
)
def test_what_has_no_features_has_no_symmetry(density):
    assert find("auto", density) is None


def test_a_named_symmetry_is_taken_about_whatever_axis_fits():
    found = find("C7", map_of("C7", 3))
    assert found.symmetry.order == 7
    assert abs(found.symmetry.axis().numpy() @ turned(3).apply([0, 0, 1])) > 0.999
    assert find("c12", helices_in_a_belt()).symmetry.order == 12  # the user's word
    assert find("O", map_of("O", 4, 4)).symmetry.order == 24
    assert find("C1", map_of("C3", 3)) is None


def test_a_named_symmetry_that_is_not_there_is_said():
    with pytest.raises(InputError, match=r"The maps are not C5: turned so about any axis.*Leave symmetry out"):
        find("c5", map_of("C3", 3))
    with pytest.raises(InputError, match="Unknown symmetry 'helical'"):
        find("helical", map_of("C3", 3))


def test_a_large_box_is_looked_through_like_a_small_one(monkeypatch):
    monkeypatch.setattr("chimerax.cryotrans.engine.flow.symmetry_evidence._LARGEST_SIDE", SIDE // 2)
    assert find("auto", map_of("D3", 3)).symmetry.name == "D3"


def test_what_is_found_is_said():
    found = find("auto", helices_in_a_belt(), helices_in_a_belt())
    assert found.text() == "C3 about z (0.99 in both)"
