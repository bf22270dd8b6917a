"""Point groups: their names and what they do."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.flow.symmetry import group_in_frame, point_group, standard_rotations

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


@pytest.mark.parametrize("name", ["C0", "C61", "D1", "T2", "O3", "C", "", "3"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(InputError, match="Unknown symmetry"):
        point_group(name, ORIGIN)


@pytest.mark.parametrize(("name", "order"), [("T", 12), ("O", 24), ("I", 60), ("D5", 10), ("c4", 4)])
def test_groups_are_those_of_scipy(name, order):
    """Up to where they lie: the same number of rotations by each angle."""
    ours = Rotation.from_matrix(standard_rotations(name).numpy()).magnitude()
    theirs = Rotation.create_group(name.upper()).magnitude()
    assert len(ours) == order
    np.testing.assert_allclose(np.sort(ours), np.sort(theirs), atol=1e-6)


def test_a_group_lies_in_its_frame():
    frame = torch.from_numpy(Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix())
    group = group_in_frame("D3", ORIGIN, frame)
    images = group.images(frame.T)  # (6, 3, 3): what becomes of the three axes
    assert {round(float(image @ frame[:, 0])) for image in images[:, 0]} == {1, -1}
    assert any(torch.allclose(turned[1], frame[:, 1]) and torch.allclose(turned[0], -frame[:, 0]) for turned in images)
    assert abs(float(group.axis() @ frame[:, 0])) == pytest.approx(1)


@pytest.mark.parametrize(("axis", "text"), [((1, 0, 0), "z"), ((0, 0.01, -1), "x"), ((2, 0, 1), "(0.45, 0.00, 0.89)")])
@pytest.mark.parametrize("name", ["C2", "C5"])
def test_an_axis_is_said_in_x_y_z(name, axis, text):
    frame, _ = Rotation.align_vectors([axis], [[1, 0, 0]])
    assert group_in_frame(name, ORIGIN, torch.from_numpy(frame.as_matrix())).axis_text() == text
