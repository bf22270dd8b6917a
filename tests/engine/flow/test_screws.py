"""Screw motions in closed form, against the matrix exponential."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from chimerax.cryotrans.engine.flow.domains import DomainField
from chimerax.cryotrans.engine.flow.integration import displacement, displacements, follow
from chimerax.cryotrans.engine.flow.screws import Screws


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.3, 0.999, 1.001, 2.5, 3.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_way_is_that_of_the_exponential(angle, dtype):
    axis = np.array([0.48, -0.6, 0.64])
    turn, shift, point, time = angle * axis, np.array([0.2, -0.1, 0.4]), np.array([0.3, 0.7, -0.2]), 0.8
    generator = np.zeros((4, 4))
    generator[:3, :3] = [[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]]
    generator[:3, 3] = shift
    wanted = (expm(generator * time) @ [*point, 1])[:3] - point
    start = torch.tensor(point[None], dtype=dtype)
    screws = Screws(torch.tensor(turn[None], dtype=dtype), torch.tensor(shift[None], dtype=dtype))
    found = screws.way(screws(start), time)[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=3e-7 if dtype == torch.float32 else 1e-10)


def test_its_derivative_is_finite_at_rest():
    turn = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    velocity = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, v: Screws(w, v).way(v, 1.0), (turn, velocity))


def test_a_flow_of_domains_ends_in_one_step_where_many_small_ones_do():
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    field = DomainField.spread_over(points, 4)
    with torch.no_grad():
        field.rotations.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
        field.translations.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
        wanted = follow(field, points, 400, "rk4")
        torch.testing.assert_close(displacement(field, points), wanted, atol=2e-6, rtol=0)
        *_, last = displacements(field, points, [0.33, 0.5, 1.0])
        torch.testing.assert_close(last, wanted, atol=2e-6, rtol=0)
