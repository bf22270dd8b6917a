"""What is held out leaves no trace in training: not through binning, not through blur, not through the scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from phantoms import LEVEL, MOTION, MOVING, SHAPE, VOXEL_SIZE, two_domains

from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.preparation import prepare
from chimerax.cryotrans.engine.options.training import TrainingOptions
from chimerax.cryotrans.engine.training.training import Training


def _gradient(target: np.ndarray, held_out: np.ndarray, loss: str, bin_size: int, blur: float) -> torch.Tensor:
    initial, other = (DensityMap(density, VOXEL_SIZE) for density in (two_domains(0), target))
    pair = prepare(initial, other, LEVEL, LEVEL, bin_size, margin=1, held_out=held_out)
    options = TrainingOptions(LEVEL, LEVEL, n_steps=1, period=1, bin_size=bin_size, loss=loss)
    training = Training(pair, options, VelocityField(3, 10, 1), torch.device("cpu"), (blur, blur))
    training.evaluate()
    return torch.cat([weights.grad.ravel() for weights in training.velocity.parameters()])


@pytest.mark.parametrize(("loss", "blur"), [("w2", 0.0), ("l2", 0.0), ("correlation", 0.0), ("correlation", 1.3)])
@pytest.mark.parametrize("bin_size", [1, 3])
def test_the_gradient_is_the_same_to_the_bit_whatever_the_density_that_is_held_out(loss, blur, bin_size):
    target = two_domains(1)
    centre = np.add(MOVING, MOTION).astype(int)
    held_out = np.zeros(SHAPE, bool)
    held_out[tuple(slice(c, c + 4) for c in centre)] = True
    held_out &= target >= LEVEL
    assert 5 < held_out.sum() < 60
    changed = np.where(held_out, 3 * target, target)
    before, after = (_gradient(density, held_out, loss, bin_size, blur) for density in (target, changed))
    assert torch.equal(before, after) and before.abs().max() > 0
    seen = np.roll(held_out, -1, axis=2) & ~held_out & (target >= LEVEL)
    other = _gradient(np.where(seen, 3 * target, target), held_out, loss, bin_size, blur)
    assert not torch.equal(before, other)


def test_what_is_held_out_costs_even_density_no_scale():
    """A target of one value, of which a fifth is held out, keeps the values that it has when all of it is seen."""
    target = np.zeros(SHAPE, np.float32)
    target[5:15, 5:15, 5:15] = 1
    held_out = np.zeros(SHAPE, bool)
    held_out[5:7, 5:15, 5:15] = True
    initial = DensityMap(two_domains(0), VOXEL_SIZE)
    whole, part = (prepare(initial, DensityMap(target, VOXEL_SIZE), LEVEL, LEVEL, held_out=h) for h in (None, held_out))
    np.testing.assert_allclose(part.target, np.where(held_out, 0, whole.target), rtol=1e-6)
