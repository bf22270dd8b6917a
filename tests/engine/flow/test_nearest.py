"""The nearest centres, against SciPy's tree."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from chimerax.cryotrans.engine.flow.nearest import to_nearest


@pytest.mark.parametrize("n_centres", [1, 3, 200, 1500])
@pytest.mark.parametrize("scale", [(1, 1, 1), (1, 0.01, 30), (0, 1, 1)])
def test_they_are_those_of_scipy(n_centres, scale):
    random = np.random.default_rng(n_centres)
    points = random.random((5000, 3)) * scale
    points[::2] = random.normal(0.2, 0.01, (2500, 3)) * scale  # some lie close together
    centres = random.uniform(-0.3, 1.3, (n_centres, 3)) * scale  # and some centres far from all
    distances, chosen = to_nearest(torch.from_numpy(points), torch.from_numpy(centres))
    wanted, nearest = cKDTree(centres).query(points)
    np.testing.assert_allclose(distances, wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(chosen, nearest)


def test_of_two_as_near_the_first_is_taken():
    lattice = torch.cartesian_prod(*[torch.arange(8.0)] * 3)
    twice = torch.cat((lattice, lattice))
    distances, chosen = to_nearest(lattice + 0.25, twice)
    assert torch.equal(chosen, torch.arange(len(lattice)))
    torch.testing.assert_close(distances, torch.full((len(lattice),), 0.25 * 3**0.5))
