"""What is held out of the target says nothing to training: not by its voxels, and not by what is found out before."""

import numpy as np
import pytest
import torch

from chimerax.cryotrans.engine.judging import held_out
from chimerax.cryotrans.engine.maps.demo_pair import LEVEL, make_demo_pair
from chimerax.cryotrans.engine.options.training import training_options
from chimerax.cryotrans.programs.beginning import begin
from chimerax.cryotrans.programs.pair import Pair
from chimerax.cryotrans.programs.progress import Reporter


@pytest.mark.parametrize("recipe", ["auto", "cryotrans"])
@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_another_density_of_what_is_held_out_changes_no_loss(monkeypatch, recipe, noise):
    demo = make_demo_pair()
    rng = np.random.default_rng(3)
    target = demo.target.density + rng.normal(0, noise, demo.target.grid_shape).astype(np.float32)
    mask = np.zeros(target.shape, bool)
    mask[12:22, 14:24, 14:24] = mask[16:24, 20:28, 36:44] = True
    other = np.where(mask, 0.6 * target[::-1] + rng.normal(0, 0.1, target.shape), target).astype(np.float32)
    monkeypatch.setattr(held_out, "held_out_mask", lambda *_: mask)
    found = []
    for density in (target, other):
        said = {"initial_level": LEVEL, "target_level": LEVEL, "recipe": recipe, "hold_out": 0.05, "directory": "run"}
        said |= {"n_steps": 3, "period": 3, "conditioning": "auto"}
        if recipe == "cryotrans":
            said |= {"loss": "correlation", "width": 8}
        options = training_options(said, seed=1)
        pair = Pair(demo.initial, demo.target.with_density(density), {})
        training, compared = begin(pair, None, options, torch.device("cpu"), Reporter())
        for _ in range(2 if recipe == "cryotrans" else 0):  # the second step of recipe auto would dock
            training.update()
            training.evaluate()
        found.append((training.losses, compared.blur))
    assert mask[target > LEVEL].any()
    assert found[0] == found[1]
