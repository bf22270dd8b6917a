"""The deposit against reference numbers, gradcheck, and what it must keep."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.deposit import deposit


def test_density_and_gradient_are_those_of_the_reference(reference):
    shape = reference["deposit_density"].shape
    side = max(shape)
    points = torch.from_numpy(reference["deposit_points"]).requires_grad_()  # in units of the box, some outside it
    density = deposit(points * side - 0.5, torch.from_numpy(reference["deposit_weights"]), shape)
    torch.testing.assert_close(density, torch.from_numpy(reference["deposit_density"]), rtol=0, atol=1e-12)
    density.backward(torch.from_numpy(reference["deposit_cotangent"]))
    torch.testing.assert_close(
        points.grad, torch.from_numpy(reference["deposit_gradient_points"]), rtol=1e-9, atol=1e-10
    )


def test_the_gradient_passes_gradcheck():
    random = torch.Generator().manual_seed(0)
    points = (torch.rand(12, 3, dtype=torch.float64, generator=random) * 6 - 1).requires_grad_()
    weights = torch.rand(12, dtype=torch.float64, generator=random).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, w: deposit(p, w, (3, 4, 5)), (points, weights))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(1, 4), st.floats(1, 5), st.floats(1, 6), st.floats(0.1, 9)), min_size=1, max_size=20)
)
def test_mass_and_centre_of_mass_are_kept_inside_the_box(rows):
    table = torch.tensor(rows, dtype=torch.float64)
    points, weights = table[:, :3], table[:, 3]
    density = deposit(points, weights, (6, 7, 8))
    voxels = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) for n in density.shape])
    torch.testing.assert_close(density.sum(), weights.sum())
    torch.testing.assert_close(density.ravel() @ voxels, weights @ points)


def test_a_point_on_a_voxel_fills_that_voxel_alone():
    density = deposit(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([5.0]), (3, 4, 5))
    assert float(density[1, 2, 3]) == 5
    assert int(density.count_nonzero()) == 1


@pytest.mark.parametrize("place", [-0.25, 4.25, -5.0, 1e12, -1e30, float("nan")])
def test_what_lies_outside_is_dropped(place):
    density = deposit(torch.tensor([[2.0, 2.0, place]]), torch.tensor([1.0]), (5, 5, 5))
    inside = 0.75 if abs(place) < 5 and place != -5 else 0
    assert float(density.nan_to_num(0).sum()) == pytest.approx(inside, abs=1e-6)


def test_points_and_weights_must_match():
    with pytest.raises(InputError, match="points"):
        deposit(torch.zeros(3, 3), torch.zeros(2), (4, 4, 4))
