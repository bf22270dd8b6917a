"""Segments from maps of labels and from chains, and what is said where there are none."""

import numpy as np
import pytest

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.segments import label_map, segments_at, segments_of_map

INITIAL = DensityMap(np.zeros((10, 12, 14), np.float32), (2.0, 2.0, 2.0), header_origin=(4.0, 6.0, 8.0), name="a.mrc")


def _labels(**changes) -> DensityMap:
    """Voxels of 1 Å: two blocks, of the numbers 3 and 7."""
    density = np.zeros((20, 20, 20), np.float32)
    density[2:4, 2:4, 2:4], density[10:12, 2:4, 2:4] = 3, 7
    return DensityMap(density, (1.0, 1.0, 1.0), header_origin=(4.0, 6.0, 8.0), name="labels.mrc", **changes)


def test_labels_on_any_grid_come_to_their_places():
    segments = segments_of_map(_labels(), INITIAL)
    assert set(segments.labels) == {0, 1}
    np.testing.assert_allclose(segments.places[segments.labels == 0].mean(0), (1.25, 1.25, 1.25))
    np.testing.assert_allclose(segments.places[segments.labels == 1].mean(0), (5.25, 1.25, 1.25))
    on_grid = label_map(segments, INITIAL)
    assert on_grid.density[1, 1, 1] == 1 and on_grid.density[5, 1, 1] == 2
    again = segments_of_map(on_grid, INITIAL)
    assert set(again.labels) == {0, 1}


def test_chains_are_segments_where_they_lie_in_the_box():
    places = np.array([[1.0, 1, 1], [1, 1, 2], [8, 8, 8], [40, 1, 1]])
    segments = segments_at(places, np.array(["B", "B", "A", "C"]), INITIAL, "model.pdb")
    assert segments.labels.tolist() == [0, 1, 1]  # A, B; C lies outside
    with pytest.raises(InputError, match=r"model\.pdb has 1 segment in the box of a\.mrc"):
        segments_at(places[:2], np.array(["B", "B"]), INITIAL, "model.pdb")


def test_what_is_no_map_of_labels_is_said():
    blurred = _labels().with_density(_labels().density * 0.4)
    with pytest.raises(InputError, match="not whole numbers"):
        segments_of_map(blurred, INITIAL)
