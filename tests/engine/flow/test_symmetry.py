"""Point groups, and finding them in maps of known symmetry."""

import numpy as np
import pytest
import torch

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.symmetry import find_symmetry, point_group

ORIGIN = torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize(("name", "order"), [("C1", 1), ("C2", 2), ("c5", 5), ("D2", 4), ("D7", 14)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_group_is_closed_and_of_its_order(name, order, axis):
    rotations = point_group(name, ORIGIN, axis).rotations.numpy()
    assert len(rotations) == order
    assert np.allclose(np.linalg.det(rotations), 1)
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 1, 3, 3)
    assert (np.abs(products - rotations).max((2, 3)).min(1) < 1e-12).all()
    assert len(np.unique(rotations.round(6), axis=0)) == order
    np.testing.assert_allclose(rotations[0], np.eye(3))


def test_the_main_axis_stays():
    for axis in range(3):
        along = torch.eye(3, dtype=torch.float64)[axis]
        for turned in point_group("C7", ORIGIN, axis).images(along[None]):
            torch.testing.assert_close(turned[0], along)


@pytest.mark.parametrize("name", ["C0", "C61", "D1", "T", "O3", "C", "", "3"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(InputError, match="Unknown symmetry"):
        point_group(name, ORIGIN)


def _map_of(name: str, axis: int = 0, shape=(40, 40, 40), centre=(20.0, 20.0, 20.0), seed: int = 0) -> np.ndarray:
    """Blobs of several widths at random places, and their images."""
    random = np.random.default_rng(seed)
    group = point_group(name, torch.tensor(centre), axis)
    places = torch.from_numpy(random.uniform(-9, 9, (12, 3))) + group.centre
    z, y, x = np.indices(shape)
    density = np.zeros(shape)
    for place, sigma in zip(group.images(places).numpy().swapaxes(0, 1), random.uniform(1, 2, 12)):
        for cz, cy, cx in place:
            density += np.exp(-((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
    return np.where(density > 0.3, density, 0).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "axis", "centre"),
    [
        ("C7", 0, (20, 20, 20)),  # voxel n/2, as most programs have it
        ("C3", 1, (19.5, 19.5, 19.5)),  # the middle of the box
        ("C2", 2, (18, 22, 19)),  # the centre of mass
        ("D3", 0, (20, 20, 20)),
    ],
)
def test_the_symmetry_of_a_map_is_found(name, axis, centre):
    found = find_symmetry("auto", _map_of(name, axis, centre=centre))
    assert found.name == name
    assert found.order == {"C": 1, "D": 2}[name[0]] * int(name[1:])
    # An image of a point that the group makes is one that was put in.
    wanted = point_group(name, (torch.tensor(centre, dtype=torch.float64) + 0.5) / 40, axis).to(torch.zeros(1))
    point = torch.tensor([[0.6, 0.7, 0.55]])
    distances = torch.cdist(found.images(point)[:, 0], wanted.images(point)[:, 0])
    assert float(distances.min(1).values.max()) < 1 / 40


def test_a_map_without_symmetry_has_none():
    assert find_symmetry("auto", _map_of("C1")) is None


def test_both_maps_must_have_it():
    assert find_symmetry("auto", _map_of("C4"), _map_of("C1")) is None


def test_a_named_symmetry_that_is_not_there_is_said():
    with pytest.raises(InputError, match=r"The maps are not C5.*Leave --symmetry out"):
        find_symmetry("C5", _map_of("C3"))
    assert find_symmetry("C3", _map_of("C3")).order == 3
    assert find_symmetry("C1", _map_of("C3")) is None
