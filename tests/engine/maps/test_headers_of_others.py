"""Headers that programs read differently, against mrcfile, which reads what it can and warns (permissive).

Where the two differ, the difference is named: ours follows ChimeraX, see tests/app/test_headers_in_chimerax.py.
"""

from __future__ import annotations

import warnings

import mrcfile
import numpy as np
import pytest
from headers import HEADERS

from chimerax.cryotrans.engine.maps.mrc_file import read_map

UNSIGNED = ("MAP and a zero, bytes", "IMOD, unsigned bytes")  # to mrcfile all bytes have a sign


def of_mrcfile(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True) as mrc:
            return mrc.data.copy(), mrc.voxel_size.copy(), mrc.nstart.copy(), mrc.header.origin.copy()


@pytest.mark.parametrize("name", HEADERS)
def test_mrcfile_reads_the_same_or_the_difference_is_known(tmp_path, name):
    path = tmp_path / "a.mrc"
    path.write_bytes(HEADERS[name])
    ours = read_map(path)
    data, voxel_size, nstart, origin = of_mrcfile(path)
    signed = ours.density.astype(np.uint8).view(np.int8) if name in UNSIGNED else ours.density
    np.testing.assert_array_equal(signed, data)
    assert ours.nstart == (nstart.z, nstart.y, nstart.x)
    assert ours.header_origin == (origin.z, origin.y, origin.x)
    if name == "no intervals":  # the cell divided by nothing, to mrcfile
        assert (ours.voxel_size_known, np.isinf(voxel_size.x)) == (False, True) and ours.notes
        return
    assert ours.voxel_size == pytest.approx((voxel_size.z, voxel_size.y, voxel_size.x))
    assert bool(ours.notes) == (name == "mz 1")


def test_the_values_are_those_that_were_written(tmp_path):
    for name, content in HEADERS.items():
        (tmp_path / "a.mrc").write_bytes(content)
        values = np.arange(24).reshape(2, 3, 4) * 5 + 5
        if name.startswith(("mode 0", "IMOD", "MAP and a zero, bytes")):
            values = values + 55
            values = values if name in UNSIGNED else np.where(values > 127, values - 256, values)
        np.testing.assert_array_equal(read_map(tmp_path / "a.mrc").density, values, err_msg=name)
