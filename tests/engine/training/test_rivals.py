"""Which start is a rival: almost as good, and elsewhere."""

import pytest
import torch

from chimerax.cryotrans.engine.flow.domains import DomainField
from chimerax.cryotrans.engine.training.rivals import rival_of

SIDE = 100.0  # Å


def _shift(of_second: float) -> DomainField:
    """Two domains; the second, a third of the points, moves by so many Å along x."""
    centres = torch.tensor([[0.5, 0.5, 0.2], [0.5, 0.5, 0.8]])
    velocities = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, of_second / SIDE]])
    return DomainField.of_screws(centres, torch.zeros(2, 3), velocities, 0.1)


@pytest.mark.parametrize(
    ("scores", "ways", "wanted"),
    [
        ((0.95, 0.94), (10.0, 30.0), (1, 1 / 3, 20.0)),
        ((0.95, 0.92), (10.0, 30.0), None),  # not as good
        ((0.95, 0.94), (10.0, 14.0), None),  # not elsewhere
        ((0.94, 0.95, 0.949), (30.0, 10.0, 11.0), (0, 1 / 3, 20.0)),
    ],
)
def test_a_rival_is_almost_as_good_and_takes_mass_elsewhere(scores, ways, wanted):
    points = torch.tensor([[0.5, 0.5, x] for x in (0.15, 0.2, 0.25, 0.3, 0.75, 0.85)])
    best = max(range(len(scores)), key=scores.__getitem__)
    found = rival_of([_shift(way) for way in ways], scores, best, points, torch.ones(6), SIDE)
    if wanted is None:
        assert found is None
    else:
        assert found == pytest.approx(wanted, rel=0.05)  # domains mix a little


def test_a_small_part_makes_no_rival():
    points = torch.tensor([[0.5, 0.5, x] for x in (0.2, 0.8)])
    assert rival_of([_shift(0.0), _shift(30.0)], (0.9, 0.9), 0, points, torch.tensor([0.95, 0.05]), SIDE) is None
