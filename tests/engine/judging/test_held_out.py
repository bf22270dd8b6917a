"""Share, place and size of the blocks that are held out."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.judging.held_out import held_out_mask


def _density() -> np.ndarray:
    """A ball of uneven density that fills a part of a box that is no cube."""
    places = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in (40, 44, 48)], indexing="ij"))
    inside = (places**2).sum(0) < 15**2
    return np.where(inside, np.random.default_rng(0).uniform(0.2, 1, inside.shape), 0).astype(np.float32)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("block", [2.0, 8.0])
def test_the_blocks_hold_their_share_of_the_mass_and_nothing_empty(share, block):
    density = _density()
    mask = held_out_mask(density, share, block, seed=0)
    assert mask.shape == density.shape and mask.dtype == bool
    assert density[mask].min() > 0
    assert density[mask].sum() / density.sum() == pytest.approx(share, abs=2e-4)  # a voxel holds 1e-4


@pytest.mark.parametrize("block", [4.0, 8.0])
def test_the_blocks_are_as_wide_as_is_wanted(block):
    # Close to a held-out voxel most is held out, a block and a half away no more than anywhere.
    density, share = _density(), 0.2
    near, far = [], []
    for seed in range(8):
        mask = held_out_mask(density, share, block, seed)
        distances = ndimage.distance_transform_edt(mask)
        assert distances.max() < block
        for axis in range(3):
            for step, found in ((round(block / 4), near), (round(1.5 * block), far)):
                moved, occupied = np.roll(mask, step, axis), np.roll(density, step, axis) > 0
                found.append(moved[mask & occupied].mean())
    assert np.mean(near) > 0.6
    assert np.mean(far) == pytest.approx(share, abs=0.1)


def test_blocks_are_few_and_connected():
    density = _density()
    wide, narrow = (ndimage.label(held_out_mask(density, 0.1, block, 0))[1] for block in (12.0, 3.0))
    assert 1 <= wide < 20 < narrow


def test_a_seed_names_a_mask():
    first, again, other = (held_out_mask(_density(), 0.1, 6.0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first & other).sum() < 0.5 * first.sum()


@pytest.mark.parametrize(("share", "block"), [(0.0, 5.0), (1.0, 5.0), (float("nan"), 5.0), (0.1, 0.0)])
def test_what_cannot_be_held_out_is_an_error(share, block):
    with pytest.raises(InputError, match="share between 0 and 1"):
        held_out_mask(_density(), share, block, 0)
    with pytest.raises(InputError, match="zero everywhere"):
        held_out_mask(np.zeros((4, 5, 6)), 0.1, 3.0, 0)


def test_the_field_is_of_32_bit_floats(monkeypatch):
    """Of the density's size and of half a spectrum, so that large boxes fit; odd sides come back as they were."""
    kinds = []
    really = torch.fft.rfftn
    monkeypatch.setattr(torch.fft, "rfftn", lambda field: (kinds.append(field.dtype), really(field))[1])
    density = _density()[:, :43, :47]
    mask = held_out_mask(density, 0.1, 6.0, 0)
    assert kinds == [torch.float32] and mask.shape == density.shape
