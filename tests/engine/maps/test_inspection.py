"""What is said of maps that are not as they should be, and that nothing is said of those that are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from phantoms import LEVEL, SHAPE, VOXEL_SIZE, blob, two_domains

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.inspection import check_points, doubts_about


def _doubts(density: np.ndarray, level: float = LEVEL) -> list[str]:
    return doubts_about(DensityMap(density, VOXEL_SIZE, name="a.mrc"), level)


@pytest.mark.parametrize("density", [two_domains(0), two_domains(1), blob((9, 12, 14))])
def test_of_maps_as_they_should_be_nothing_is_said(density):
    assert _doubts(density) == []


def _hot() -> np.ndarray:
    density = two_domains()
    density[2, 3, 4] = 1e4
    return density


def _plane() -> np.ndarray:
    density = np.zeros(SHAPE, np.float32)
    density[:, 12] = blob((9, 12, 14), sigma=3)[:, 12]
    return density


@pytest.mark.parametrize(
    ("density", "level", "text"),
    [
        (
            _hot(),
            LEVEL,
            r"Voxel 4, 3, 2 of a\.mrc is hot: it is 1e\+04 .* holds 99\.\d% of the density",
        ),
        (
            -two_domains(),
            0.015,
            r"a\.mrc looks inverted: its values run from -0.99.* lies below zero.*factor -1",
        ),
        (two_domains() + 5, 5.5, r"The background of a\.mrc is not zero: 95 % .*volume scale #1 shift -4\.98"),
        (np.ones(SHAPE) + 0.1 * two_domains(), 0.9, r"keeps 100% of the box of a\.mrc.*Raise it"),
        (_plane(), LEVEL, r"All that level 0\.5 keeps of a\.mrc lies in one section along y: a plane"),
        (blob((0, 12, 14), sigma=3), LEVEL, r"The molecule of a\.mrc is cut by the box: \d\d% .* at the ends of z"),
    ],
    ids=["hot", "inverted", "background", "whole box", "plane", "cut"],
)
def test_each_doubt_is_said_with_the_way_out(density, level, text):
    assert any(re.search(text, doubt) for doubt in _doubts(density, level)), _doubts(density, level)


def test_noise_at_the_faces_does_not_cut_the_molecule():
    density = two_domains() + np.random.default_rng(0).normal(0, 0.35, SHAPE)
    assert not any("cut by the box" in doubt for doubt in _doubts(density))


def test_too_few_points_are_refused():
    check_points(DensityMap(two_domains(), VOXEL_SIZE), LEVEL)
    density = np.zeros(SHAPE)
    density[5, 5, 5:12] = 1
    with pytest.raises(InputError, match=r"^Level 0\.9 keeps 7 voxels of a\.mrc, too few to train on\. Lower it\.$"):
        check_points(DensityMap(density, VOXEL_SIZE, name="a.mrc"), 0.9)
    density[5, 5, 6:] = 0
    with pytest.raises(InputError, match="keeps 1 voxel of"):
        check_points(DensityMap(density, VOXEL_SIZE), 0.9)
