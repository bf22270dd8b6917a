"""Headers that programs read differently, against ChimeraX's own reader of MRC files: values, voxels and places."""

from __future__ import annotations

import numpy as np
import pytest
from chimerax.map_data.mrc.mrc_grid import MRCGrid
from headers import HEADERS

from chimerax.cryotrans.engine.maps.mrc_file import read_map


@pytest.mark.parametrize("name", HEADERS)
def test_chimerax_reads_the_same(tmp_path, name):
    path = tmp_path / "a.mrc"
    path.write_bytes(HEADERS[name])
    ours, theirs = read_map(path), MRCGrid(str(path))
    np.testing.assert_array_equal(ours.density, theirs.full_matrix())
    np.testing.assert_allclose(ours.voxel_size[::-1], theirs.step, rtol=1e-6)
    np.testing.assert_allclose(ours.origin[::-1], theirs.origin, atol=1e-5)
