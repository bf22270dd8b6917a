"""Shell correlation and correlation, against brute force, closed forms and numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps import fsc
from chimerax.cryotrans.engine.maps.fsc import (
    correlation,
    correlation_about_mean,
    fourier_shell_correlation,
    resolution_at,
)

SHAPES = [(8, 8, 8), (6, 7, 8), (9, 5, 7), (2, 3, 4)]


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ---- Fourier shell correlation


def test_what_is_empty_and_how_much_is_looked_at_at_once_change_nothing(monkeypatch):
    """numpy's transform of the whole box."""
    shape, size = (10, 9, 12), (1.0, 1.2, 0.9)
    a, b = np.zeros(shape), np.zeros(shape)
    a[2:6, 3:7, 4:9], b[3:8, 1:6, 5:11] = noise((4, 4, 5), 1), noise((5, 5, 6), 2)
    frequencies = np.sqrt(
        sum(
            np.fft.fftfreq(n, s).reshape([-1 if k == axis else 1 for k in range(3)]) ** 2
            for axis, (n, s) in enumerate(zip(shape, size))
        )
    )
    shells = np.floor(10.8 * frequencies + 0.5).astype(int).ravel()  # the longest side is 10.8 Å, twice

    def sums(values):
        return np.bincount(shells, values.real.ravel())[1:5]

    modes_a, modes_b = np.fft.fftn(a), np.fft.fftn(b)
    expected = sums(modes_a * modes_b.conj()) / np.sqrt(sums(np.abs(modes_a) ** 2) * sums(np.abs(modes_b) ** 2))
    for lines, modes in ((1 << 24, 1 << 19), (150, 200), (1, 1)):
        monkeypatch.setattr(fsc, "_LINES_KEPT", lines)
        monkeypatch.setattr(fsc, "_MODES_AT_ONCE", modes)
        np.testing.assert_allclose(fourier_shell_correlation(a, b, size)[1], expected, rtol=1e-9, atol=1e-12)


def test_of_two_empty_maps_nothing_is_alike():
    assert not fourier_shell_correlation(np.zeros((6, 6, 6)), np.zeros((6, 6, 6)), (1.0, 1.0, 1.0))[1].any()


@pytest.mark.parametrize("voxel_size", [(1.5, 1.5, 1.5), (1.0, 1.3, 0.8), (0.7, 0.7, 2.0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_shells_agree_with_a_sum_over_every_mode(shape, voxel_size):
    a, b = noise(shape, 1), noise(shape, 2)
    modes_a, modes_b = np.fft.fftn(a), np.fft.fftn(b)
    longest_side = max(n * size for n, size in zip(shape, voxel_size))
    sums = {}
    for index in itertools.product(*map(range, shape)):
        k = [(i if i <= n // 2 else i - n) / (n * size) for i, n, size in zip(index, shape, voxel_size)]
        shell = math.floor(math.hypot(*k) * longest_side + 0.5)
        cross, power_a, power_b = sums.get(shell, (0, 0, 0))
        f, g = modes_a[index], modes_b[index]
        sums[shell] = cross + (f * g.conjugate()).real, power_a + abs(f) ** 2, power_b + abs(g) ** 2
    shells = [n for n in range(1, 100) if n / longest_side <= 1 / (2 * max(voxel_size)) + 1e-9]
    expected = [sums[shell][0] / math.sqrt(sums[shell][1] * sums[shell][2]) for shell in shells]

    frequencies, fsc = fourier_shell_correlation(a, b, voxel_size)

    np.testing.assert_allclose(frequencies, np.array(shells) / longest_side, rtol=1e-12)
    np.testing.assert_allclose(fsc, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "voxel_size", "first", "last"),
    [
        ((10, 10, 10), (1.5, 1.5, 1.5), 15.0, 3.0),  # box side, Nyquist
        ((10, 8, 6), (1.06, 1.06, 1.06), 10.6, 2.12),
        ((10, 10, 10), (1.0, 1.0, 2.0), 20.0, 4.0),
        ((11, 11, 11), (1.0, 1.0, 1.0), 11.0, 2.2),
    ],
)
def test_frequencies_run_from_the_box_to_nyquist_of_the_coarsest_axis(shape, voxel_size, first, last):
    frequencies, fsc = fourier_shell_correlation(noise(shape), noise(shape), voxel_size)
    assert 1 / frequencies[0] == pytest.approx(first)
    assert 1 / frequencies[-1] == pytest.approx(last)
    assert frequencies.shape == fsc.shape
    np.testing.assert_allclose(np.diff(frequencies), frequencies[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [1, 3.5, -2])
def test_a_map_with_itself_gives_one_or_minus_one_whatever_the_scale_and_mean(shape, factor):
    a = noise(shape)
    _, fsc = fourier_shell_correlation(a, factor * a + 7, (1.0, 1.2, 1.4))
    np.testing.assert_allclose(fsc, np.sign(factor), rtol=1e-12)


def test_a_blurred_map_agrees_with_itself_in_every_shell():
    a = noise((12, 12, 12))
    k = np.fft.fftfreq(12)
    squared = k[:, None, None] ** 2 + k[:, None] ** 2 + k**2
    blurred = np.fft.ifftn(np.fft.fftn(a) * np.exp(-8 * squared)).real  # the same transfer for all of a shell, nearly
    _, fsc = fourier_shell_correlation(a, blurred, (1.0, 1.0, 1.0))
    assert fsc.min() > 0.98  # not 1: the transfer varies within a shell
    assert correlation(a, blurred) < 0.8


def test_signal_and_independent_noise_give_the_ratio_of_their_powers():
    # Both maps hold one white signal of variance 1 and white noise of their own of variance 1/s: FSC = s / (1 + s).
    for signal_to_noise in (0.25, 1.0, 4.0):
        signal = noise((40, 40, 40), 1)
        a, b = (signal + noise(signal.shape, seed) / math.sqrt(signal_to_noise) for seed in (2, 3))
        _, fsc = fourier_shell_correlation(a, b, (1.0, 1.0, 1.0))
        expected = signal_to_noise / (1 + signal_to_noise)
        np.testing.assert_allclose(fsc[10:], expected, atol=0.1)  # shells of at least 600 free modes: 4 % scatter
        assert np.mean(fsc[10:]) == pytest.approx(expected, abs=0.015)


def test_a_shift_turns_the_phases():
    # One plane wave against itself shifted: Re exp(i 2π k d) = cos(2π k d).
    x = np.arange(12)
    waves = [np.broadcast_to(np.cos(2 * np.pi * 3 * (x - shift) / 12), (10, 11, 12)) for shift in (0.0, 0.7)]
    frequencies, fsc = fourier_shell_correlation(*waves, (1.0, 1.0, 1.0))
    assert frequencies[2] == pytest.approx(3 / 12)
    assert fsc[2] == pytest.approx(math.cos(2 * math.pi * 3 * 0.7 / 12))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pair", [(np.zeros((4, 5, 6)), noise((4, 5, 6))), (np.zeros((4, 5, 6)), np.zeros((4, 5, 6)))])
def test_empty_shells_give_zero_without_a_warning(pair):
    _, fsc = fourier_shell_correlation(*pair, (1.0, 1.0, 1.0))
    assert not fsc.any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_float32_maps_of_any_scale_are_summed_in_float64(scale):
    a, b = (noise((6, 7, 8), seed).astype(np.float32) for seed in (1, 2))
    expected = fourier_shell_correlation(a.astype(float), b.astype(float), (1.0, 1.0, 1.0))
    actual = fourier_shell_correlation(a * np.float32(scale), b * np.float32(scale), (1.0, 1.0, 1.0))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)  # the scaled float32 are rounded
    assert actual[1].dtype == np.float64


# ---- resolution


@pytest.mark.parametrize(
    ("fsc", "threshold", "expected"),
    [
        ([1.0, 0.8, 0.2, 0.0], 0.5, 1 / 0.25),  # half way between 0.2 and 0.3
        ([1.0, 0.8, 0.2, 0.0], 0.143, 1 / (0.3 + 0.1 * 0.057 / 0.2)),
        ([1.0, 0.5, 0.2, 0.0], 0.5, 1 / 0.2),  # equal is not below
        ([0.5, 0.9, 0.1, 0.0], 0.5, 1 / 0.25),
        ([1.0, 0.4, 0.9, 0.0], 0.5, 1 / (0.1 + 0.1 * 0.5 / 0.6)),  # the first crossing counts
        ([1.0, 0.9, 0.8, 0.7], 0.5, 1 / 0.4),  # never: the last shell
        ([0.4, 0.9, 0.8, 0.7], 0.5, 1 / 0.1),  # from the first: the box
    ],
)
def test_resolution_is_where_the_curve_first_crosses(fsc, threshold, expected):
    assert resolution_at(np.array([0.1, 0.2, 0.3, 0.4]), np.array(fsc), threshold) == pytest.approx(expected)


def test_resolution_is_a_float():
    assert type(resolution_at(np.array([0.1, 0.2]), np.array([1.0, 0.1]), 0.5)) is float


# ---- correlation


def test_correlation_is_the_cosine_between_the_maps():
    a, b = noise((3, 4, 5), 1) + 1, noise((3, 4, 5), 2) + 0.5
    expected = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
    assert correlation(a, b) == pytest.approx(expected)
    assert correlation(a, -3 * a) == pytest.approx(-1)


def test_correlation_about_mean_is_pearsons():
    a, b = noise((3, 4, 5), 1) + 1, noise((3, 4, 5), 2) + 2
    assert correlation_about_mean(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert correlation_about_mean(a, 2 * a - 30) == pytest.approx(1)


@pytest.mark.filterwarnings("error")
def test_float32_sums_do_not_overflow():
    a = (1e25 * noise((3, 4, 5))).astype(np.float32)
    assert correlation(a, a) == pytest.approx(1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("measure", [correlation, correlation_about_mean])
def test_maps_of_zeros_give_zero(measure):
    zeros = np.zeros((3, 4, 5), dtype=np.float32)
    assert measure(zeros, noise((3, 4, 5))) == measure(noise((3, 4, 5)), zeros) == measure(zeros, zeros) == 0.0


@pytest.mark.parametrize("constant", [0.1, 1 / 3])
def test_a_constant_map_has_no_correlation_about_its_mean(constant):
    flat = np.full((7, 9, 11), constant)  # its mean differs, by rounding
    assert correlation_about_mean(flat, noise(flat.shape)) == correlation_about_mean(noise(flat.shape), flat) == 0.0


@pytest.mark.parametrize(
    "measure", [correlation, correlation_about_mean, lambda a, b: fourier_shell_correlation(a, b, (1.0, 1.0, 1.0))]
)
def test_maps_of_two_shapes_are_an_error(measure):
    with pytest.raises(InputError, match=r"must share a grid: one has 5x4x3 voxels, the other 6x4x3\. Resample one"):
        measure(np.zeros((3, 4, 5)), np.zeros((3, 4, 6)))
