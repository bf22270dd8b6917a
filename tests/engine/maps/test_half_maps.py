"""Noise of known strength and spectrum found again from half maps."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import blob

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.conditioning import conditioned
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.fsc import correlation
from chimerax.cryotrans.engine.maps.half_maps import ceiling_of_correlation, noise_of
from chimerax.cryotrans.engine.maps.low_pass import low_passed
from chimerax.cryotrans.engine.maps.preparation import above_level

SHAPE, SIZE, LEVEL = (36, 40, 44), (2.0, 2.0, 2.0), 0.3
CLEAN = blob((18, 18, 16), SHAPE, 3.0) + blob((18, 22, 26), SHAPE, 2.0)
WHOLE_BOX = np.ones(SHAPE, np.float32)


def _map(density: np.ndarray, name: str = "whole.mrc") -> DensityMap:
    return DensityMap(density, SIZE, name=name)


def _halves(sigma: float, scale: float = 1.0) -> tuple[DensityMap, DensityMap]:
    """Whose mean has noise of this strength; of another scale than the map."""
    random = np.random.default_rng(5)
    a, b = (scale * (CLEAN + random.normal(0, sigma * 2**0.5, SHAPE)) for _ in range(2))
    return _map(a, "a.mrc"), _map(b, "b.mrc")


def _mean(halves: tuple[DensityMap, DensityMap]) -> np.ndarray:
    return (halves[0].density + halves[1].density) / 2


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_draw_is_as_strong_as_the_noise(scale):
    halves = _halves(0.2, scale)
    noise = noise_of(_map(_mean(halves) / scale), halves, WHOLE_BOX)
    assert noise.draw.std() == pytest.approx(0.2, rel=0.02)
    assert abs(correlation(noise.draw, _mean(halves) / scale - CLEAN)) < 0.02  # a draw, not the noise itself


def test_it_has_been_through_the_filter_of_the_map():
    halves = _halves(0.2)
    filtered = low_passed(_mean(halves), SIZE, 8.0)
    left = low_passed(_mean(halves) - CLEAN, SIZE, 8.0).std()
    assert left < 0.1
    assert noise_of(_map(filtered), halves, WHOLE_BOX).draw.std() == pytest.approx(left, rel=0.1)


def test_the_resolution_is_where_the_signal_has_fallen_to_a_sixth_of_the_noise_of_a_half():
    """FSC = S / (S + N) with N of a half: 0.143 where S = N / 6; S and N by sums over the same shells."""
    halves = _halves(0.1)
    got = noise_of(_map(_mean(halves)), halves, WHOLE_BOX).resolution
    n = max(SHAPE)
    f = np.sqrt(
        sum(np.fft.fftfreq(m).reshape([-1 if k == a else 1 for a in range(3)]) ** 2 for k, m in enumerate(SHAPE))
    )
    shell = np.rint(f * n).astype(int).ravel()
    power = np.bincount(shell, np.abs(np.fft.fftn(CLEAN)).ravel() ** 2) / np.bincount(shell)
    ratio = power / (2 * 0.1**2 * CLEAN.size)
    last = np.flatnonzero(ratio > 1 / 6)[-1]
    assert 2.0 * n / (last + 2) < got < 2.0 * n / (last - 1)


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
def test_the_ceiling_is_the_correlation_with_the_signal(sigma):
    halves = _halves(sigma)
    target = _map(_mean(halves))
    kept = np.where(CLEAN > 0.3, target.density, 0)
    got = ceiling_of_correlation(kept, noise_of(target, halves, WHOLE_BOX).draw)
    assert got == pytest.approx(correlation(kept, np.where(CLEAN > 0.3, CLEAN, 0)), abs=0.01)  # another draw
    assert got < 1


def test_training_sees_a_noisy_map_no_finer_than_its_half_maps_agree():
    halves = _halves(0.2)
    target = _map(_mean(halves))
    noise = noise_of(target, halves, WHOLE_BOX)
    seen = conditioned(target, LEVEL, None, noise)
    assert seen.blur >= 0.225 * min(noise.resolution, 10.0)
    assert seen.notes[0].startswith("whole.mrc is noisy: its noise by the half maps (standard deviation 0.2) reaches")
    wanted = above_level(_map(CLEAN), LEVEL)
    assert correlation(above_level(seen.density_map, seen.level), wanted) > 0.9
    clean = _halves(0.001)
    assert conditioned(_map(_mean(clean)), LEVEL, None, noise_of(_map(_mean(clean)), clean, WHOLE_BOX)).blur == 0


def test_noise_within_the_molecule_is_seen_where_the_solvent_is_clean():
    random = np.random.default_rng(6)
    where = CLEAN > 0.2
    a, b = (_map(CLEAN + where * random.normal(0, 0.15, SHAPE), name) for name in ("a", "b"))
    target = _map(_mean((a, b)))
    mask = where.astype(np.float32)
    assert conditioned(target, LEVEL, mask).blur == 0
    assert conditioned(target, LEVEL, mask, noise_of(target, (a, b), WHOLE_BOX)).blur > 0


def test_what_are_not_the_half_maps_is_refused():
    halves = _halves(0.1)
    with pytest.raises(InputError, match=r"a.mrc and b.mrc are not the half maps of whole.mrc \(half_maps\)"):
        noise_of(_map(CLEAN[::-1, ::-1, ::-1].copy()), halves, WHOLE_BOX)
    with pytest.raises(InputError, match=r"a\.mrc and a\.mrc are equal"):
        noise_of(_map(CLEAN), (halves[0], halves[0]), WHOLE_BOX)
