"""The energy against its formula, term by term, and labellings against trying all of them."""

import itertools

import numpy as np
import pytest
import torch

from chimerax.cryotrans.engine.docking import energy as energy_module
from chimerax.cryotrans.engine.docking import labelling as labelling_module
from chimerax.cryotrans.engine.docking.coarse import CoarsePair
from chimerax.cryotrans.engine.docking.energy import Energy
from chimerax.cryotrans.engine.docking.labelling import beginnings, best_labellings, expand, improve, reduce
from chimerax.cryotrans.engine.docking.motions import Motions
from chimerax.cryotrans.engine.docking.pieces import cut, points_above
from chimerax.cryotrans.engine.flow.rotations import of_vectors
from chimerax.cryotrans.engine.maps.deposit import deposit
from chimerax.cryotrans.engine.maps.sampling import sample


def _energy(n: int = 7, seed: int = 0) -> Energy:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, 14, 15, 16, generator=generator)
    for axis in range(3):  # nothing is to leave the box
        a.movedim(axis, 0)[:5] = a.movedim(axis, 0)[10:] = 0
    pair = CoarsePair(a / a.max(), b * (a.sum() / b.sum()) / a.max(), 3.0, 2.0)
    turns = of_vectors(0.4 * torch.randn(2, 3, generator=generator))
    moves = Motions(turns, torch.full((2, 3), 7.0), torch.randn(2, 3, generator=generator))
    motions = Motions.joined([Motions.identity(a), moves])
    return Energy(pair, cut(*points_above(pair.initial, 0.05), n), motions, torch.full((3,), 1e9))


def _direct(energy: Energy, labels: np.ndarray) -> float:
    pair, pieces, motions = energy.pair, energy.supervoxels, energy.candidates
    left, own, torn = pair.target.double(), [], 0.0
    for s, label in enumerate(labels):
        rows = pieces.owner == s
        ends = motions.chosen([int(label)]).moved(pieces.points[rows])[0]
        left = left - deposit(ends.double(), pieces.weights[rows].double(), tuple(left.shape))
        own.append(float(pieces.weights[rows].square().sum()))
    distances = torch.cdist(pieces.centres, pieces.centres).fill_diagonal_(float("inf"))
    nearest = distances.argsort(1)[:, : min(8, len(labels) - 1)]
    pairs = {tuple(sorted((s, int(t)))) for s in range(len(labels)) for t in nearest[s]}
    for s, t in pairs:
        middle = (pieces.centres[s] + pieces.centres[t])[None] / 2
        ends = motions.chosen([int(labels[s]), int(labels[t])]).moved(middle)[:, 0]
        torn += min(1.0, float((ends[0] - ends[1]).norm()) * 3.0 / 6.0)
    misfit = sum(energy.misfit[s, label] for s, label in enumerate(labels))
    explained = energy_module.EXPLAIN / 2 * float(left.square().sum()) / np.mean(own)
    smooth = 2 * energy_module.SMOOTH / nearest.shape[1] * torn
    return misfit + explained + smooth + energy_module.LABEL * len(set(labels.tolist()))


def test_the_energy_is_that_of_the_formula():
    energy = _energy()
    for labels in np.random.default_rng(0).integers(0, 3, (5, energy.n)):
        assert energy.of(labels) == pytest.approx(_direct(energy, labels), rel=1e-4)


def test_the_misfit_is_one_less_the_correlation_and_a_price_for_the_way():
    energy = _energy()
    pair, s, j = energy.pair, 3, 1
    centre = energy.supervoxels.centres[s]
    motion = energy.candidates.chosen([j])
    reach = torch.arange(-3.0, 4.0)
    offsets = torch.cartesian_prod(reach, reach, reach)
    offsets = offsets[offsets.norm(dim=1) <= 3.0]
    here = sample(pair.initial, centre + offsets).numpy()
    there = sample(pair.target, motion.moved(centre + offsets)[0]).numpy()
    rho = np.cov(here, there, aweights=(here > 0.1) + 1e-3)
    way = float((motion.moved(centre[None])[0, 0] - centre).norm()) * 3.0
    wanted = 1 - rho[0, 1] / np.sqrt(rho[0, 0] * rho[1, 1]) + 0.05 * min(1, way / 30)
    assert energy.misfit[s, j] == pytest.approx(wanted, abs=1e-3)


def test_the_residual_is_target_less_what_is_deposited():
    energy = _energy()
    labels = np.zeros(energy.n, np.int64)
    rest = energy.supervoxels
    kept = deposit(rest.points, rest.weights, tuple(energy.pair.target.shape))
    torch.testing.assert_close(energy.residual_map(labels), energy.pair.target - kept, atol=1e-5, rtol=0)


def _with_answer(seed: int) -> Energy:
    """One whose target is the initial, half of it moved."""
    energy = _energy(6, seed)
    pieces = energy.supervoxels
    label = (pieces.centres[:, seed] > 7).long()[pieces.owner]
    ends = energy.candidates.moved(pieces.points)[label, torch.arange(len(label))]
    target = deposit(ends, pieces.weights, tuple(energy.pair.target.shape))
    return Energy(energy.pair._replace(target=target), pieces, energy.candidates, energy.reach)


@pytest.mark.parametrize("seed", range(3))
def test_labellings_come_to_the_lowest_energy_there_is(monkeypatch, seed):
    for module in (energy_module, labelling_module):  # so that in so small a map a second motion pays
        monkeypatch.setattr(module, "LABEL", 0.1)
    monkeypatch.setattr(energy_module, "SMOOTH", 0.1)
    energy = _with_answer(seed)
    lowest = min(energy.of(np.array(labels)) for labels in itertools.product(range(3), repeat=energy.n))
    best = best_labellings(energy, beginnings(energy, 0))[0]
    assert best.energy == pytest.approx(energy.of(best.labels), abs=1e-5)
    assert best.energy == pytest.approx(lowest, abs=1e-4)
    assert len(set(best.labels)) == 2


def test_no_step_raises_the_energy():
    energy = _energy()
    labels = np.random.default_rng(1).integers(0, 3, energy.n)
    found = improve(energy, labels)
    assert found.energy <= energy.of(labels)
    further = expand(energy, found)
    assert further.energy <= found.energy
    fewer = reduce(energy, further)
    assert fewer.energy <= further.energy
    for each in (found, further, fewer):  # what was kept up to date in passing
        assert each.energy == pytest.approx(energy.of(each.labels), abs=1e-4)
        np.testing.assert_allclose(each.left, energy.residual(each.labels), atol=1e-4)


def test_a_motion_out_of_reach_is_not_taken():
    energy = _energy()
    reach = torch.tensor([1e9, 0.0, 1e9])
    energy = Energy(energy.pair, energy.supervoxels, energy.candidates, reach)
    assert not energy.open[:, 1].any()
    assert all(1 not in found.labels for found in best_labellings(energy, beginnings(energy, 0)))
