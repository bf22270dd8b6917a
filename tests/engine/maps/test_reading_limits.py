"""A file is read no further than its header says, however much comes after."""

from __future__ import annotations

import bz2
import gzip
import io
import tracemalloc

import numpy as np
import pytest
from phantoms import SHAPE, two_domains, write_mrc

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.mrc_file import read_map

MEBIBYTE = 1 << 20


@pytest.fixture
def whole(tmp_path):
    write_mrc(tmp_path / "plain.mrc", two_domains())
    return (tmp_path / "plain.mrc").read_bytes()


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), ("", bytes)])
def test_what_comes_after_the_values_takes_no_memory(tmp_path, whole, suffix, pack):
    path = tmp_path / f"map.mrc{suffix}"
    path.write_bytes(pack(whole + bytes(96 * MEBIBYTE)))
    tracemalloc.start()
    density_map = read_map(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert density_map.grid_shape == SHAPE and most < 8 * MEBIBYTE
    np.testing.assert_array_equal(density_map.density, two_domains())


def test_a_header_that_claims_too_much_takes_no_memory_either(tmp_path, whole):
    header = np.frombuffer(whole[:1024], "<i4").copy()
    header[:3] = 2000, 2000, 2000  # 32 GB
    path = tmp_path / "map.mrc.gz"
    path.write_bytes(gzip.compress(header.tobytes() + whole[1024:]))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"need 32,000,000,000 bytes, 53,760 are there"):
        read_map(path)
    assert tracemalloc.get_traced_memory()[1] < 40 * MEBIBYTE
    tracemalloc.stop()


def test_a_checksum_that_is_wrong_is_still_seen(tmp_path, whole):
    packed = bytearray(gzip.compress(whole))
    packed[-8] ^= 1
    (tmp_path / "map.mrc.gz").write_bytes(packed)
    with pytest.raises(InputError, match="broken gzip file"):
        read_map(tmp_path / "map.mrc.gz")


def test_symmetry_operators_that_are_promised_and_missing(tmp_path, whole):
    header = np.frombuffer(whole[:1024], "<i4").copy()
    header[23] = 800  # nsymbt
    (tmp_path / "without.mrc").write_bytes(header.tobytes() + whole[1024:])
    (tmp_path / "with.mrc").write_bytes(header.tobytes() + bytes(800) + whole[1024:])
    for name in ("without.mrc", "with.mrc"):
        np.testing.assert_array_equal(read_map(tmp_path / name).density, two_domains())


def test_values_are_read_in_pieces(tmp_path, monkeypatch, whole):
    from chimerax.cryotrans.engine.maps import mrc_file

    asked = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    monkeypatch.setattr(mrc_file, "_PIECE", 1000)
    content = mrc_file._read_at_most(Watched(whole), 2500, lambda: None)
    assert bytes(content) == whole[:2500]
    assert max(asked) <= 1000 and min(asked) >= 0


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), ("", bytes)])
def test_a_large_map_is_read_into_room_that_is_taken_once(tmp_path, monkeypatch, whole, suffix, pack):
    from chimerax.cryotrans.engine.maps import mrc_file

    monkeypatch.setattr(mrc_file, "_NEVER_TOO_MUCH", 2000)
    monkeypatch.setattr(mrc_file, "_PIECE", 1000)
    path = tmp_path / f"map.mrc{suffix}"
    path.write_bytes(pack(whole + bytes(5000)))
    np.testing.assert_array_equal(read_map(path).density, two_domains())
    path.write_bytes(pack(whole[:-10]))
    with pytest.raises(InputError, match=f"{len(whole) - 1034:,} are there"):
        read_map(path)
