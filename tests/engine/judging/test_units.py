"""What is said of maps does not depend on the unit of their density, and goes with that of length."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms import LEVEL, VOXEL_SIZE, two_domains

from chimerax.cryotrans.engine.flow.velocity import VelocityField
from chimerax.cryotrans.engine.judging.comparison import Comparison
from chimerax.cryotrans.engine.judging.confidence import confidence
from chimerax.cryotrans.engine.judging.motion_maps import residual
from chimerax.cryotrans.engine.maps.belt import _detail
from chimerax.cryotrans.engine.maps.conditioning import conditioned, molecule_of
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.inspection import doubts_about
from chimerax.cryotrans.engine.maps.preparation import prepare
from chimerax.cryotrans.engine.maps.relative_blur import estimate_blur

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # no square over- or underflows

UNITS = st.floats(-30, 30).map(lambda power: 10.0**power)
SHAPE = (16, 18, 22)
NOISE = np.random.default_rng(5).normal(scale=0.08, size=SHAPE)


def maps(unit: float = 1.0, noise: float = 0.0) -> list[DensityMap]:
    densities = [(two_domains(time, SHAPE) + noise * NOISE) * unit for time in (0.0, 1.0)]
    return [DensityMap(d.astype(np.float32), VOXEL_SIZE, name=n) for d, n in zip(densities, ("a", "b"))]


def said_of(unit: float) -> dict[str, object]:
    """All that has no unit of density, by name."""
    a, b = maps(unit)
    level = LEVEL * unit
    pair = prepare(a, b, level, level, 2, 1)
    noisy = conditioned(maps(unit, noise=1.0)[0], level, None)
    molecule, notes = molecule_of(a, level)
    comparison = Comparison(a, b, level, level, torch.device("cpu"))
    measured = comparison.measure(VelocityField(2, 8, 0), 0, 0.0, 0.0)
    return {
        "doubts": len(doubts_about(a, level)),
        "blur": estimate_blur(a.density, b.density, a.voxel_size),
        "points": pair.weights,
        "target": pair.target,
        "noisy": [float(noisy.is_noisy), noisy.level / unit, noisy.blur, len(noisy.notes)],
        "conditioned": noisy.density_map.density / unit,
        "molecule": molecule.density / unit,
        "notes": len(notes),
        "detail": _detail(a),
        "measures": measured.measures,
        "confidence": confidence(comparison, measured, a, None),
        "residual": residual(a.density, b.density, 1.0) / unit,
    }


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(UNITS)
def test_nothing_depends_on_the_unit_of_density(unit):
    expected = said_of(1.0)
    for name, value in said_of(unit).items():
        np.testing.assert_allclose(
            np.asarray(value, np.float64), np.asarray(expected[name], np.float64), rtol=1e-3, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("times", [0.125, 16.0])
def test_lengths_go_with_the_size_of_a_voxel(times):
    field, cpu = VelocityField(2, 8, 0), torch.device("cpu")
    pairs = [maps(), [dataclasses.replace(each, voxel_size=tuple(times * s for s in VOXEL_SIZE)) for each in maps()]]
    before, after = (Comparison(*pair, LEVEL, LEVEL, cpu).measure(field, 0, 0.0, 0.0) for pair in pairs)
    np.testing.assert_allclose(after.displacement, times * before.displacement, rtol=1e-5)
    for name, value in before.measures._asdict().items():
        # Two have lengths of their own: maps are low-passed to 3 Å, and below 5 Å transport counts for less.
        if name == "correlation" or (name == "transport_distance" and times < 1):
            continue
        scaled = times if name in ("transport_distance", "resolution") else 1.0
        rtol = 2e-3 if name == "transport_distance" else 1e-4
        np.testing.assert_allclose(getattr(after.measures, name), scaled * value, rtol=rtol, err_msg=name)


def test_a_place_elsewhere_changes_nothing():
    field, cpu = VelocityField(2, 8, 0), torch.device("cpu")
    pairs = [maps(), [dataclasses.replace(each, header_origin=(310.0, -20.0, 1.5)) for each in maps()]]
    before, after = (Comparison(*pair, LEVEL, LEVEL, cpu).measure(field, 0, 0.0, 0.0) for pair in pairs)
    np.testing.assert_array_equal(after.displacement, before.displacement)
    np.testing.assert_array_equal(after.measures, before.measures)
