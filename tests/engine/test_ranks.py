"""How points are shared.  What is exchanged is tested in tests/programs/test_several_devices.py, by two processes."""

import pytest
import torch

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.ranks import ALONE, ConnectedRanks


@pytest.mark.parametrize(("n_points", "n"), [(1, 1), (7, 3), (8, 8), (100, 7)])
def test_every_point_is_one_rank_s_own_and_shares_are_alike(n_points, n):
    shares = [ConnectedRanks(k, n, n, torch.device("cpu")).share_of(n_points) for k in range(n)]
    assert [point for share in shares for point in range(n_points)[share]] == list(range(n_points))
    sizes = {share.stop - share.start for share in shares}
    assert max(sizes) - min(sizes) <= 1


def test_alone_all_points_are_one_s_own():
    assert ALONE.share_of(5) == slice(0, 5)


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match="3 points are too few to be shared by 4 devices"):
        ConnectedRanks(0, 4, 4, torch.device("cpu")).share_of(3)
