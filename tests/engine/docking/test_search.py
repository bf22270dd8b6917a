"""Docking of neighbourhoods against local correlation voxel by voxel, and against a lobe that was moved."""

import math

import numpy as np
import pytest
import torch
from chains import lobe, map_of, moved_lobe
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from chimerax.cryotrans.engine.docking import search
from chimerax.cryotrans.engine.docking.motions import Motions
from chimerax.cryotrans.engine.docking.search import Mask, correlation, dock, refine
from chimerax.cryotrans.engine.maps.sampling import sample


def _random_maps() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 12, 13, 14, generator=generator, dtype=torch.float64)
    return a, b


def test_samples_are_those_of_scipy():
    density = _random_maps()[0]
    points = torch.rand(40, 3, dtype=torch.float64) * 11
    wanted = map_coordinates(density.numpy(), points.numpy().T, order=1)
    np.testing.assert_allclose(sample(density, points).numpy(), wanted, atol=1e-12)
    assert float(sample(density, torch.tensor([[-3.0, 5, 5], [5, 5, 40]], dtype=torch.float64)).abs().max()) == 0


def test_a_score_is_the_local_correlation():
    """Weighted Pearson correlation, taken one point at a time by scipy and numpy."""
    a, b = _random_maps()
    mask = Mask(3.0, a)
    turn = Rotation.from_rotvec([0.4, -0.9, 1.2])
    centre, shift = np.array([6.0, 6.0, 6.0]), np.array([0.3, -0.4, 0.6])
    offsets = mask.offsets.numpy()
    there = map_coordinates(b.numpy(), (turn.apply(offsets) + centre + shift).T, order=1)
    here = map_coordinates(a.numpy(), (offsets + centre).T, order=1)
    covariance = np.cov(here, there, aweights=mask.weights.numpy())
    wanted = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    motion = Motions(*(torch.from_numpy(x)[None] for x in (turn.as_matrix(), centre, shift)))
    assert float(correlation(mask, a, b, motion)) == pytest.approx(wanted, abs=1e-9)


def test_the_search_finds_the_best_of_all_turns_and_places(monkeypatch):
    """The one product of matrices against each pose by itself."""
    monkeypatch.setattr(search, "_MOST_AXES", 10**6)
    a, b = _random_maps()
    mask, places = Mask(2.0, a), torch.cartesian_prod(*[torch.arange(4.0, 9.0, 2, dtype=torch.float64)] * 3)
    centre = torch.tensor([[6.0, 6.0, 6.0]], dtype=torch.float64)
    motions, rho = dock(a, b, centre, places, mask, 20, (1, 0), 3.0)
    turns = torch.cat((torch.eye(3, dtype=torch.float64)[None], search.all_turns(19, a)))
    values = []
    for turn in turns:
        here = mask.ready(sample(a, centre + mask.offsets @ turn))
        values.append((here * mask.ready(sample(b, places[:, None] + mask.offsets))).sum(1))
    assert float(rho[0]) == pytest.approx(float(torch.stack(values).max()), abs=1e-9)
    best = int(torch.stack(values).max(1).values.argmax())
    torch.testing.assert_close(motions.rotations[0], turns[best])


def test_what_was_moved_is_found_and_then_to_a_fraction_of_a_voxel():
    positions = lobe(60, 13.0, 5) + 40.0
    initial, target = (torch.from_numpy(map_of(x).density) for x in (positions, moved_lobe(positions)))
    centre = torch.from_numpy(positions.mean(0)).float()[None] / 2
    places = torch.nonzero(target > 0.2).float()
    mask = Mask(5.0, initial)
    found, _ = dock(initial, target, centre, places, mask, 1200, (3, 0), 2.0)
    found, rho = refine(initial, target, found, mask)
    ends = found.moved(torch.from_numpy(positions).float() / 2)[int(rho.argmax())].numpy() * 2
    assert np.sqrt(((ends - moved_lobe(positions)) ** 2).sum(1).mean()) < 1.0  # Å; voxels of 2
    assert float(rho.max()) > 0.9


def test_the_few_axes_hold_next_to_all():
    density = torch.from_numpy(map_of(lobe(60, 13.0, 5) + 40.0).density)
    mask = Mask(4.0, density)
    around = mask.ready(sample(density, torch.nonzero(density > 0.2).float()[:, None] + mask.offsets))
    kept = (around @ search._main_axes(around)).norm(dim=1)
    assert around.shape[1] > search._MOST_AXES
    assert float(kept.min()) > 0.97
