"""Maps and their files, against headers made here byte by byte, mrcfile, gemmi and scipy."""

from __future__ import annotations

import bz2
import dataclasses
import errno
import gzip
import io
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.maps.density_map import DensityMap, grid_text, same_grid
from chimerax.cryotrans.engine.maps.grids import assume_grid_of, resample
from chimerax.cryotrans.engine.maps.mrc_file import read_map, write_map

pytestmark = pytest.mark.filterwarnings("error")  # nothing that the libraries mutter may reach the user

SHAPE = (5, 4, 3)
DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
VALUES = np.arange(60).reshape(SHAPE)  # whole numbers that every mode can hold


def mrc_bytes(
    values=VALUES,
    mode=2,
    order="<",
    *,
    sides=None,
    start=(0, 0, 0),
    intervals=None,
    cell=None,
    angles=(90, 90, 90),
    axes=(1, 2, 3),
    space_group=1,
    extended=b"",
    n_extended=None,
    imod=(0, 0),
    origin=(0, 0, 0),
    stamp=b"MAP ",
    machine=None,
    label=b"",
):
    """A file as MRC2014 says it, threes in the header's own order; `values` are (sections, rows, columns)."""
    sides = sides or values.shape[::-1]
    intervals = intervals or sides
    cell = cell or [2.0 * n for n in intervals]
    machine = machine or (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    n_extended = len(extended) if n_extended is None else n_extended
    header = struct.pack(
        f"{order}10i6f3i3f2i 56x2i36x 3f4s4sfi 80s720x",
        *(*sides, mode, *start, *intervals, *cell, *angles, *axes, 0, 0, 0, space_group, n_extended),
        *(*imod, *origin, stamp, machine, 0, 1, label),
    )
    assert len(header) == 1024
    return header + extended + values.astype(order + DTYPES.get(mode, "f4")).tobytes()


def file_of(folder: Path, content: bytes, name: str = "a.mrc") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def random_map(shape=SHAPE, voxel_size=(1.2, 1.1, 1.0), seed=0, **fields) -> DensityMap:
    return DensityMap(np.random.default_rng(seed).normal(size=shape), voxel_size, **fields)


# ---- reading: values


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("mode", DTYPES)
def test_every_mode_and_byte_order_is_read(tmp_path, mode, order):
    values = VALUES - 30 if mode in (0, 1, 2, 12) else VALUES + 40000
    read = read_map(file_of(tmp_path, mrc_bytes(values, mode, order)))
    assert read.density.dtype == np.float32
    assert read.density.flags.c_contiguous and read.density.flags.writeable
    np.testing.assert_array_equal(read.density, values)
    assert (read.name, read.notes, read.grid_shape) == ("a.mrc", (), SHAPE)


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_every_axis_order_is_put_in_the_order_z_y_x(tmp_path, axes):
    value_at = {}  # by (x, y, z)
    stored = np.zeros((5, 4, 3))
    for section, row, column in np.ndindex(stored.shape):
        stored[section, row, column] = value = 100 * section + 10 * row + column
        place = dict(zip(axes, (column, row, section)))
        value_at[place[1], place[2], place[3]] = value
    start_of_axis = {1: 7, 2: 8, 3: 9}
    content = mrc_bytes(
        stored, start=[start_of_axis[axis] for axis in axes], intervals=(20, 30, 40), cell=(20, 45, 80), axes=axes
    )
    read = read_map(file_of(tmp_path, content))
    assert read.nstart == (9, 8, 7)
    assert read.voxel_size == (2.0, 1.5, 1.0)  # the cell runs x, y, z whatever the axis order
    assert read.origin == (18.0, 12.0, 7.0)
    assert read.density.flags.c_contiguous
    assert {(x, y, z): read.density[z, y, x] for z, y, x in np.ndindex(read.grid_shape)} == value_at


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_gemmi_reads_the_same_values_in_every_axis_order(tmp_path, axes):
    gemmi = pytest.importorskip("gemmi")
    sides = dict(zip(axes, SHAPE[::-1]))
    cell = [2.0 * sides[axis] for axis in (1, 2, 3)]
    path = file_of(tmp_path, mrc_bytes(axes=axes, intervals=[sides[axis] for axis in (1, 2, 3)], cell=cell))
    theirs = gemmi.read_ccp4_map(str(path), setup=True).grid  # x, y, z
    np.testing.assert_array_equal(read_map(path).density, np.asarray(theirs.array).transpose(2, 1, 0))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
@pytest.mark.parametrize("name", ["a.map", "a.map.gz", "a.map.bz2"])
def test_compression_is_told_by_content(tmp_path, pack, name):
    read = read_map(file_of(tmp_path, pack(mrc_bytes()), name))
    np.testing.assert_array_equal(read.density, VALUES)
    assert read.name == name


@pytest.mark.parametrize("n_extended", [80, 5000, 3])  # of 3, the values lie between the words of the machine
def test_extended_headers_are_skipped(tmp_path, n_extended):
    read = read_map(file_of(tmp_path, mrc_bytes(extended=b"\x7f" * n_extended)))
    np.testing.assert_array_equal(read.density, VALUES)
    assert read.density.flags.aligned


@pytest.mark.parametrize("n_extended", [80, -1, 2**31 - 1])
def test_an_extended_header_that_is_not_there_does_no_harm(tmp_path, n_extended):
    np.testing.assert_array_equal(read_map(file_of(tmp_path, mrc_bytes(n_extended=n_extended))).density, VALUES)


@pytest.mark.parametrize("machine", [b"\0\0\0\0", b"\x11\x11\0\0", b"\x44\x41\0\0"])
def test_a_wrong_machine_stamp_does_no_harm(tmp_path, machine):
    np.testing.assert_array_equal(read_map(file_of(tmp_path, mrc_bytes(machine=machine))).density, VALUES)


@pytest.mark.parametrize(
    ("fields", "unsigned"),
    [
        ({}, False),
        ({"stamp": b"\0\0\0\0"}, True),  # the old format
        ({"stamp": b"MAP\0"}, True),  # is to ChimeraX too
        ({"imod": (1146047817, 0)}, True),
        ({"imod": (1146047817, 1)}, False),
        ({"imod": (1146047817, 1), "stamp": b"\0\0\0\0"}, True),  # IMOD writes both stamps
    ],
)
def test_bytes_have_the_sign_that_chimerax_gives_them(tmp_path, fields, unsigned):
    values = np.full(SHAPE, -1)
    read = read_map(file_of(tmp_path, mrc_bytes(values, mode=0, **fields)))
    assert np.all(read.density == (255 if unsigned else -1))


def test_bytes_after_the_values_are_left_alone(tmp_path):
    np.testing.assert_array_equal(read_map(file_of(tmp_path, mrc_bytes() + b"more")).density, VALUES)


@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"MAP\0"])
def test_a_file_without_the_map_stamp_is_read_and_its_origin_words_are_not(tmp_path, stamp):
    read = read_map(file_of(tmp_path, mrc_bytes(stamp=stamp, origin=(1, 2, 3), start=(1, 2, 3))))
    np.testing.assert_array_equal(read.density, VALUES)
    assert read.header_origin == (0, 0, 0)
    assert read.origin == (6, 4, 2)


def test_space_group_0_is_a_volume_when_mz_says_so(tmp_path):
    assert read_map(file_of(tmp_path, mrc_bytes(space_group=0))).grid_shape == SHAPE


@pytest.mark.parametrize("n_intervals", [5, 0])
def test_a_volume_stack_of_one_is_a_volume(tmp_path, n_intervals):
    content = mrc_bytes(space_group=401, intervals=(3, 4, n_intervals))
    assert read_map(file_of(tmp_path, content)).grid_shape == SHAPE


# ---- reading: the grid


@pytest.mark.parametrize(
    ("start", "origin", "expected"),  # x, y, z; z, y, x
    [
        ((0, 0, 0), (0, 0, 0), (0, 0, 0)),
        ((1, -2, 3), (0, 0, 0), (6, -4, 2)),
        ((1, -2, 3), (0, 0.5, 0), (0, 0.5, 0)),
        ((0, 0, 0), (10, 20, -30), (-30, 20, 10)),
    ],
)
def test_origin_words_win_over_nstart_unless_they_are_zero(tmp_path, start, origin, expected):
    read = read_map(file_of(tmp_path, mrc_bytes(start=start, origin=origin)))
    assert read.origin == expected
    assert read.nstart == start[::-1]
    assert read.header_origin == origin[::-1]
    assert read.notes == ()


@pytest.mark.parametrize("origin", [(float("nan"), 0, 0), (0, float("inf"), 0), (0, 0, 1e30)])
def test_an_absurd_origin_gives_way_to_nstart_with_a_note(tmp_path, origin):
    read = read_map(file_of(tmp_path, mrc_bytes(start=(1, 2, 3), origin=origin)))
    assert read.origin == (6, 4, 2)
    assert "absurd origin" in " ".join(read.notes)


def test_an_absurd_nstart_is_left_out_with_a_note(tmp_path):
    read = read_map(file_of(tmp_path, mrc_bytes(start=(1, 2, 51))))  # more than ten times the longest side, 5
    assert read.nstart == (0, 0, 0)
    assert "absurd start, voxel 1, 2, 51" in " ".join(read.notes)
    assert read_map(file_of(tmp_path, mrc_bytes(start=(1, 2, 50)))).nstart == (50, 2, 1)
    placed = read_map(file_of(tmp_path, mrc_bytes(start=(1, 2, 51), origin=(1, 2, 3))))
    assert (placed.origin, placed.notes) == ((3, 2, 1), ())


@pytest.mark.parametrize(
    "fields",
    [
        {"cell": (0, 0, 0)},
        {"cell": (3, 4, 0)},
        {"cell": (3, -4, 5)},
        {"cell": (3, float("nan"), 5)},
        {"cell": (3, 4, float("inf"))},
        {"cell": (3, 4, 1e-20)},
        {"intervals": (0, 0, 0), "cell": (3, 4, 5)},
        {"intervals": (3, 4, -5), "cell": (3, 4, 5)},
        {"intervals": (3, 4, -5), "cell": (3, 4, -5)},
    ],
)
def test_a_voxel_size_that_is_none_is_taken_as_1_with_a_note(tmp_path, fields):
    read = read_map(file_of(tmp_path, mrc_bytes(**fields, start=(1, 2, 3))))
    assert (read.voxel_size, read.voxel_size_known) == ((1, 1, 1), False)
    assert read.notes == ("a.mrc says no voxel size; 1 Å is taken.",)
    assert read.origin == (3, 2, 1)


@pytest.mark.parametrize("angles", [(0, 0, 0), (90, 0, 90.001)])
def test_cell_angles_of_0_count_as_90(tmp_path, angles):
    assert read_map(file_of(tmp_path, mrc_bytes(angles=angles))).notes == ()


@pytest.mark.parametrize(("axes", "n_notes"), [((0, 0, 0), 0), ((1, 1, 3), 1), ((7, 8, 9), 1)])
def test_no_axis_order_counts_as_1_2_3(tmp_path, axes, n_notes):
    read = read_map(file_of(tmp_path, mrc_bytes(axes=axes)))
    np.testing.assert_array_equal(read.density, VALUES)
    assert len(read.notes) == n_notes


def test_a_rotation_that_only_chimerax_knows_is_noted(tmp_path):
    read = read_map(file_of(tmp_path, mrc_bytes(label=b"Chimera rotation:   0.0  0.0  1.0  30.0")))
    assert "rotation" in " ".join(read.notes)


@pytest.mark.parametrize(
    ("name", "origin", "start", "noted"),
    [
        ("a.map", (1, 2, 3), (0, 0, 0), True),
        ("a.CCP4", (1, 2, 3), (0, 0, 0), True),
        ("a.map.gz", (1, 2, 3), (0, 0, 0), True),
        ("a.mrc", (1, 2, 3), (0, 0, 0), False),
        ("a.map", (0, 0, 0), (1, 2, 3), False),
        ("a.map", (2, 4, 6), (1, 2, 3), False),  # both say the same
    ],
)
def test_an_origin_that_chimerax_would_not_read_is_noted(tmp_path, name, origin, start, noted):
    read = read_map(file_of(tmp_path, mrc_bytes(origin=origin, start=start), name))
    assert ("rename it to .mrc" in " ".join(read.notes)) == noted


# ---- reading: what cannot be read


def with_values(*bad):
    values = VALUES.astype(float)
    values.flat[: len(bad)] = bad
    return values


MESSAGES = {
    "empty": (b"", "is empty (0 bytes)", "again"),
    "empty gzip": (gzip.compress(b""), "is empty", "again"),
    "a few bytes": (b"MAP", "not an MRC or CCP4 map", "text", "save it as .mrc"),
    "part of a header": (mrc_bytes()[:700], "truncated", "700 of the 1,024 bytes of a header", "again"),
    "header only": (mrc_bytes()[:1024], "truncated", "3x4x5 voxels need 240 bytes, 0 are there", "again"),
    "one byte short": (mrc_bytes()[:-1], "truncated", "240 bytes, 239", "again"),
    "short after extended": (mrc_bytes(extended=b"\0" * 80)[:-4], "truncated", "240 bytes, 236"),
    "terabytes": (mrc_bytes(sides=(65535, 65535, 65535)), "truncated", "65535x65535x65535", "240 are there"),
    "short gzip": (gzip.compress(mrc_bytes(), mtime=0)[:-20], "broken gzip file", "again"),
    "gzip of a short map": (gzip.compress(mrc_bytes()[:-1]), "truncated", "239"),
    "short bzip2": (bz2.compress(mrc_bytes())[:-20], "broken bzip2 file", "again"),
    "bad gzip check sum": (gzip.compress(mrc_bytes())[:-8] + b"\1\2\3\4\xf0\4\0\0", "broken gzip file", "CRC"),
    "bad gzip content": (gzip.compress(mrc_bytes())[:10] + b"\xff" * 90, "broken gzip file", "again"),
    "bad bzip2 content": (b"BZh9" + b"\xff" * 90, "broken bzip2 file", "again"),
    "text": (b"HEADER    TRANSFERASE\nATOM      1  N   MET A   1\n" * 40, "not an MRC or CCP4 map but text", ".mrc"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(2000), "but a PNG image"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(2000), "but an HDF5 file", "open this one in ChimeraX"),
    "zeros": (bytes(5000), "not an MRC or CCP4 map. "),
    "noise": (np.random.default_rng(0).bytes(5000), "not an MRC or CCP4 map"),
    "no stamp, odd mode": (mrc_bytes(mode=77, stamp=b"\0\0\0\0"), "not an MRC or CCP4 map"),
    "mode 3": (mrc_bytes(mode=3), "complex 16-bit integers (mode 3)", "mode 0, 1, 2, 6 or 12 is wanted", "mode 2"),
    "mode 4": (mrc_bytes(mode=4), "Fourier transform (mode 4)", "real space"),
    "mode 101": (mrc_bytes(mode=101), "4-bit integers (mode 101)"),
    "mode 77": (mrc_bytes(mode=77), "unknown kind (mode 77)"),
    "image": (mrc_bytes(VALUES[:1], space_group=0), "a single 2-D image", "volume is wanted", "3-D map"),
    "image as volume": (mrc_bytes(VALUES[:1]), "a single 2-D image"),
    "stack": (mrc_bytes(space_group=0, intervals=(3, 4, 1)), "a stack of 5 2-D images", "space group 1"),
    "volume stack": (mrc_bytes(VALUES[:4], space_group=401, intervals=(3, 4, 2)), "a stack of 2 volumes", "Save one"),
    "one column": (mrc_bytes(VALUES[:, :, :1]), "one voxel thin, 1x4x5 voxels", "3-D map"),
    "one row": (mrc_bytes(VALUES[:, :1]), "one voxel thin, 3x1x5 voxels"),
    "skewed": (mrc_bytes(angles=(90, 90, 120)), "cell angles of 90, 90, 120 degrees", "volume resample"),
    "no angles": (mrc_bytes(angles=(float("nan"), 90, 90)), "cell angles of nan, 90, 90"),
    "nan": (mrc_bytes(with_values(np.nan, 1, np.inf, -np.inf)), "3 of 60 voxels are NaN or infinite", "zero"),
    "half nan": (mrc_bytes(with_values(np.nan), mode=12), "1 of 60 voxels"),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_what_is_no_map_is_said_with_the_way_out(tmp_path, case):
    content, *wanted = MESSAGES[case]
    with pytest.raises(InputError) as raised:
        read_map(file_of(tmp_path, content, "odd name.mrc"))
    message = str(raised.value)
    assert "odd name.mrc" in message
    assert [words for words in wanted if words not in message] == []
    assert "\n" not in message


def test_a_missing_file_is_said(tmp_path):
    for path in (tmp_path / "none.mrc", file_of(tmp_path, b"") / "below_a_file.mrc"):
        with pytest.raises(InputError, match=f"There is no file .*{path.name}: check its name"):
            read_map(path)


def test_a_folder_is_said(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path.name} is a folder: name the map file in it"):
        read_map(tmp_path)


def test_an_unreadable_file_is_said(tmp_path, monkeypatch):
    path = file_of(tmp_path, mrc_bytes())

    def refuse(self, mode):  # file modes do not stop root, who runs tests in containers
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a\.mrc cannot be read \(Permission denied\): check its permissions"):
        read_map(path)


def test_what_the_header_refuses_is_not_read(tmp_path, monkeypatch):
    class Endless(io.BytesIO):
        def readinto(self, buffer):
            if self.tell() >= 1024:
                raise MemoryError("a stack of images may be larger than the memory")
            return super().readinto(memoryview(buffer)[:1024])

    stack = mrc_bytes(space_group=0, intervals=(3, 4, 1))
    monkeypatch.setattr(Path, "open", lambda self, mode: io.BufferedReader(Endless(stack)))
    with pytest.raises(InputError, match="a stack of 5 2-D images"):
        read_map(tmp_path / "a.mrcs")
    with pytest.raises(MemoryError):  # this test does notice
        monkeypatch.setattr(Path, "open", lambda self, mode: io.BufferedReader(Endless(mrc_bytes())))
        read_map(tmp_path / "a.mrc")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_no_bytes_bring_another_error_than_input_error(tmp_path_factory, data):
    content = bytearray(mrc_bytes(mode=data.draw(st.sampled_from(sorted(DTYPES))), extended=bytes(80)))
    for _ in range(data.draw(st.integers(0, 4))):  # words of the header; 55 of them mean something
        word = st.one_of(
            st.binary(min_size=4, max_size=4),
            st.integers(-2, 70000).map(lambda n: struct.pack("<i", n)),
            st.floats(width=32).map(lambda x: struct.pack("<f", x)),
        )
        place = 4 * data.draw(st.integers(0, 55))
        content[place : place + 4] = data.draw(word)
    pack = data.draw(st.sampled_from([bytes, bytes, gzip.compress, bz2.compress]))
    packed = bytearray(pack(bytes(content)))
    if data.draw(st.booleans()):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del packed[data.draw(st.integers(0, len(packed))) :]
    path = file_of(tmp_path_factory.getbasetemp(), packed, "fuzz.map")
    try:
        read = read_map(path)
    except InputError as error:
        assert "fuzz.map" in str(error)
    else:
        assert np.isfinite(read.density).all() and min(read.grid_shape) > 1 and min(read.voxel_size) > 0
        assert np.isfinite(read.origin).all() and grid_text(read) and isinstance(read.notes, tuple)
        write_map(path, read)  # what was read can be written, and is the same again
        again = read_map(path)
        assert again.voxel_size_known == read.voxel_size_known
        assert same_grid(again, read) or max(map(abs, read.nstart)) > 1e5  # times what float32 leaves of a voxel size
        np.testing.assert_array_equal(again.density, read.density)


# ---- writing


@pytest.fixture
def map_with_everything() -> DensityMap:
    return random_map(nstart=(-3, 4, 5), header_origin=(10.5, -20.25, 30.0), name="in.mrc")


@pytest.mark.parametrize("name", ["out.mrc", "out.map.gz", "out.mrc.bz2"])
def test_mrcfile_reads_what_is_written(tmp_path, map_with_everything, name):
    mrcfile = pytest.importorskip("mrcfile")
    path = tmp_path / name
    write_map(path, map_with_everything)
    assert mrcfile.validate(path, print_file=io.StringIO())  # format, sizes and statistics
    compressed = {".gz": mrcfile.gzipmrcfile.GzipMrcFile, ".bz2": mrcfile.bzip2mrcfile.Bzip2MrcFile}
    with mrcfile.open(path) as theirs:
        assert type(theirs) is compressed.get(path.suffix, mrcfile.mrcfile.MrcFile)
        np.testing.assert_array_equal(theirs.data, map_with_everything.density)
        np.testing.assert_allclose(theirs.voxel_size.item(), (1.0, 1.1, 1.2), rtol=1e-6)
        assert theirs.nstart.item() == (5, 4, -3)
        assert theirs.header.origin.item() == (30.0, -20.25, 10.5)
        assert (theirs.header.mode, theirs.header.ispg) == (2, 1)
        assert (theirs.header.mapc, theirs.header.mapr, theirs.header.maps) == (1, 2, 3)
        assert "CryoTRANS" in " ".join(theirs.get_labels())
        assert theirs.is_volume()


def test_gemmi_reads_what_is_written(tmp_path, map_with_everything):
    gemmi = pytest.importorskip("gemmi")
    write_map(tmp_path / "out.mrc", map_with_everything)
    theirs = gemmi.read_ccp4_map(str(tmp_path / "out.mrc"))
    np.testing.assert_array_equal(np.asarray(theirs.grid.array).transpose(2, 1, 0), map_with_everything.density)
    assert [theirs.header_i32(word) for word in (5, 6, 7)] == [5, 4, -3]
    assert [theirs.header_float(word) for word in (50, 51, 52)] == [30.0, -20.25, 10.5]
    cell = theirs.grid.unit_cell
    np.testing.assert_allclose((cell.a, cell.b, cell.c), (3 * 1.0, 4 * 1.1, 5 * 1.2), rtol=1e-6)
    assert (cell.alpha, cell.beta, cell.gamma) == (90, 90, 90)


def test_reading_gives_back_what_was_written(tmp_path, map_with_everything):
    write_map(tmp_path / "out.mrc", map_with_everything)
    read = read_map(tmp_path / "out.mrc")
    np.testing.assert_array_equal(read.density, map_with_everything.density)
    np.testing.assert_allclose(read.voxel_size, map_with_everything.voxel_size, rtol=1e-6)
    assert (read.nstart, read.header_origin) == (map_with_everything.nstart, map_with_everything.header_origin)
    assert (read.voxel_size_known, read.name, read.notes) == (True, "out.mrc", ())


def test_a_small_part_of_a_large_cell_stays_where_it_is(tmp_path):
    far = mrc_bytes(start=(390, -1, 2), intervals=(400, 300, 200))
    read = read_map(file_of(tmp_path, far))
    assert read.nstart == (2, -1, 390)
    write_map(tmp_path / "out.mrc", read)
    assert same_grid(read_map(tmp_path / "out.mrc"), read)


def test_a_voxel_size_that_is_not_known_stays_unknown(tmp_path):
    mrcfile = pytest.importorskip("mrcfile")
    write_map(tmp_path / "out.mrc", random_map(voxel_size=(1.0, 1.0, 1.0), voxel_size_known=False))
    with mrcfile.open(tmp_path / "out.mrc") as theirs:
        assert theirs.voxel_size.item() == (0, 0, 0)
    assert not read_map(tmp_path / "out.mrc").voxel_size_known


@pytest.mark.parametrize("suffix", ["mrc", "mrc.gz", "mrc.bz2"])
def test_equal_maps_give_equal_bytes(tmp_path, map_with_everything, suffix):
    for name in ("a", "b"):
        write_map(tmp_path / f"{name}.{suffix}", map_with_everything)
    written = (tmp_path / f"a.{suffix}").read_bytes()
    assert written == (tmp_path / f"b.{suffix}").read_bytes()
    if suffix.endswith("gz"):
        assert written[4:8] == bytes(4)  # the time of day


@pytest.mark.parametrize("values", [[3e38, -3e38], [1.0, np.inf], [1.0, np.nan]])
def test_huge_values_are_written_without_warnings(tmp_path, values):
    huge = DensityMap(np.resize(values, SHAPE), (1.0, 1.0, 1.0))
    write_map(tmp_path / "out.mrc", huge)
    assert (tmp_path / "out.mrc").read_bytes()[1024:] == huge.density.astype("<f4").tobytes()


class FullDisk(io.FileIO):
    """A file on a disk with room for one write."""

    n_writes = 0

    def write(self, data):
        self.n_writes += 1
        if self.n_writes > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data)[:10])


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["out.mrc", "out.mrc.gz", "out.mrc.bz2"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, name):
    path = file_of(tmp_path, b"before", name)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda self, mode: io.BufferedWriter(FullDisk(self, mode)))
        with pytest.raises(OSError, match=r"No space left on device: .*out\.mrc"):
            write_map(path, random_map())
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(name, b"before")]


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path):
    (tmp_path / "out.mrc").mkdir()
    with pytest.raises(OSError, match=r"out\.mrc"):
        write_map(tmp_path / "out.mrc", random_map())
    assert [file.name for file in tmp_path.iterdir()] == ["out.mrc"]


def test_a_missing_folder_is_said_by_the_name_of_the_map(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.out\.mrc"):
        write_map(tmp_path / "none" / "out.mrc", random_map())


def test_a_stopped_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_map(tmp_path / "out.mrc", random_map())
    assert list(tmp_path.iterdir()) == []


# ---- maps


@pytest.mark.parametrize("dtype", ["f8", "f4", ">f4", "i2"])
@pytest.mark.parametrize("order", "CF")
def test_a_density_becomes_float32_in_c_order_that_one_may_write_to(dtype, order):
    density = np.array(VALUES, dtype=dtype, order=order)
    density.flags.writeable = False  # torch warns of such arrays
    made = DensityMap(density, (1.0, 1.0, 1.0)).density
    assert made.dtype == np.float32 and made.flags.c_contiguous and made.flags.writeable
    np.testing.assert_array_equal(made, VALUES)


def test_a_density_that_is_right_is_not_copied():
    density = VALUES.astype(np.float32)
    assert DensityMap(density, (1.0, 1.0, 1.0)).density is density


def test_with_density_keeps_the_grid(map_with_everything):
    other = map_with_everything.with_density(VALUES)
    np.testing.assert_array_equal(other.density, VALUES)
    assert same_grid(other, map_with_everything)
    assert other.name == map_with_everything.name


@pytest.mark.parametrize(
    ("density_map", "text"),
    [
        (random_map((4, 4, 4), (1.06, 1.06, 1.06)), "4x4x4 voxels of 1.06 Å"),
        (random_map((4, 4, 4), (1.0600001, 1.06, 1.0599999)), "4x4x4 voxels of 1.06 Å"),
        (random_map((5, 4, 3), (1.2, 1.06, 1.06)), "3x4x5 voxels of 1.06x1.06x1.2 Å"),
        (random_map(header_origin=(30, 20, 10.5)), "3x4x5 voxels of 1x1.1x1.2 Å at 10.5, 20, 30 Å"),
        (random_map((4, 4, 4), (2, 2, 2), nstart=(0, 0, -5)), "4x4x4 voxels of 2 Å at -10, 0, 0 Å"),
        (random_map((4, 4, 4), (2, 2, 2), header_origin=(-0.0, 1, 0)), "4x4x4 voxels of 2 Å at 0, 1, 0 Å"),
        (random_map((4, 4, 4), (1, 1, 1), voxel_size_known=False), "4x4x4 voxels of unknown size"),
    ],
)
def test_grid_text(density_map, text):
    assert grid_text(density_map) == text


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        ({}, True),
        ({"voxel_size": (1.2000001, 1.1, 1.0)}, True),
        ({"voxel_size": (1.2, 1.1, 1.02)}, True),  # 2 voxels to the last corner: 0.04 voxel
        ({"voxel_size": (1.2, 1.1, 1.03)}, False),
        ({"header_origin": (0, 0, 0.04)}, True),
        ({"header_origin": (0, 0, 0.06)}, False),
        ({"header_origin": (0, -0.06 * 1.1, 0)}, False),
        ({"header_origin": (0.06 * 1.2, 0, 0)}, False),
        ({"nstart": (1, 0, 0)}, False),
        ({"nstart": (1, 0, 0), "header_origin": (0, 0, 0.01)}, True),
        ({"density": np.zeros((5, 4, 4))}, False),
        ({"density": np.zeros((5, 4, 5)), "voxel_size": (1.2, 1.1, 0.5)}, False),  # corners agree
        ({"name": "other", "notes": ("a note",)}, True),
    ],
)
def test_same_grid(fields, same):
    density_map = random_map()
    other = dataclasses.replace(density_map, **fields)
    assert same_grid(density_map, other) == same_grid(other, density_map) == same


@pytest.mark.parametrize(("size", "same"), [(0.5, False), (3.0, True)])
def test_grids_are_compared_in_voxels(size, same):
    a, b = (random_map(voxel_size=(size,) * 3, header_origin=(1.0, 1.0, place)) for place in (1.0, 1.1))
    assert same_grid(a, b) == same


# ---- resampling


def linear_map(shape, voxel_size, origin, **fields) -> DensityMap:
    """1 + 2 x - 3 y + 0.5 z, of Å."""
    z, y, x = (
        place + size * index
        for place, size, index in zip(origin, voxel_size, np.meshgrid(*map(np.arange, shape), indexing="ij"))
    )
    return DensityMap(1 + 2 * x - 3 * y + 0.5 * z, voxel_size, header_origin=origin, **fields)


@pytest.mark.parametrize("voxel_size", [(0.4, 0.5, 0.6), (1.3, 0.9, 1.1), (2.1, 3.0, 4.0)])  # of the new grid
def test_linear_functions_are_resampled_exactly(voxel_size):
    fine = linear_map((30, 32, 34), (1.0, 1.1, 0.9), (-10.0, 5.0, 2.0))
    onto = linear_map((3, 4, 5), voxel_size, (-5.0, 11.0, 7.5))  # well inside
    resampled = resample(fine, onto)
    np.testing.assert_allclose(resampled.density, onto.density, rtol=1e-5, atol=1e-4)  # float32, values up to 100


def test_resampling_agrees_with_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    density_map = random_map((6, 7, 8), header_origin=(1.0, 2.0, 3.0))
    onto = random_map((9, 8, 7), (0.9, 1.3, 1.2), header_origin=(-0.7, 1.5, 3.3))
    index = np.meshgrid(*map(np.arange, onto.grid_shape), indexing="ij")
    places = [
        (to + i * to_size - start) / size
        for i, to, to_size, start, size in zip(
            index, onto.origin, onto.voxel_size, density_map.origin, density_map.voxel_size
        )
    ]
    expected = ndimage.map_coordinates(density_map.density.astype(float), places, order=1, mode="constant", cval=0)
    assert 0.2 < np.mean(expected == 0) < 0.8  # part of the new grid lies outside
    np.testing.assert_allclose(resample(density_map, onto).density, expected, atol=1e-5)


def test_resampling_on_its_own_grid_changes_nothing():
    density_map = random_map(nstart=(3, 4, 5))
    np.testing.assert_array_equal(
        resample(density_map, random_map(nstart=(3, 4, 5), seed=1)).density, density_map.density
    )


def test_resampling_on_the_same_grid_but_for_rounding_loses_no_edge():
    density_map = DensityMap(np.ones((40, 40, 40)), (1.06, 1.06, 1.06))
    onto = DensityMap(np.zeros((40, 40, 40)), (1.0600001, 1.0599999, 1.061), header_origin=(-1e-5, 1e-5, 0.0))
    assert same_grid(density_map, onto)
    np.testing.assert_allclose(resample(density_map, onto).density, 1, rtol=1e-6)


def test_a_shift_of_whole_voxels_moves_values_and_leaves_zeros():
    density_map = random_map(voxel_size=(1.0, 1.0, 1.0))
    shifted = resample(density_map, random_map(voxel_size=(1.0, 1.0, 1.0), nstart=(2, 0, -1)))
    np.testing.assert_array_equal(shifted.density[:3, :, 1:], density_map.density[2:, :, :-1])
    assert not shifted.density[3:].any() and not shifted.density[:, :, :1].any()


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_a_pattern_finer_than_the_new_grid_is_averaged_not_sampled(ratio):
    checks = (np.indices((24, 24, 24)).sum(axis=0) % 2 * 2 - 1).astype(float)  # +1, -1 in turn, mean 0
    onto = DensityMap(np.zeros((5, 5, 5)), (ratio, ratio, ratio), nstart=(1, 1, 1))
    assert np.abs(resample(DensityMap(checks, (1.0, 1.0, 1.0)), onto).density).max() < 0.15


def test_averaging_neither_loses_nor_darkens_the_edge():
    density = np.ones((13, 14, 15))
    density[7:] = 5
    onto = DensityMap(np.zeros((7, 7, 7)), (3.0, 3.0, 3.0), header_origin=(-3.0, -3.0, -3.0))
    expected = np.zeros((7, 7, 7))
    expected[1:6, 1:6, 1:6] = np.array([1, 1, 1 + 4 * 3 / 9, 5, 5])[:, np.newaxis, np.newaxis]  # at 0, 3, 6, 9, 12
    np.testing.assert_allclose(resample(DensityMap(density, (1.0, 1.0, 1.0)), onto).density, expected, rtol=1e-6)


def test_a_resampled_map_has_the_grid_of_one_and_the_name_of_the_other():
    density_map = random_map((8, 8, 8), name="moved", notes=("said before",))
    onto = random_map(
        voxel_size=(1.0, 1.0, 1.0), nstart=(1, 1, 1), header_origin=(1.0, 2.0, 3.0), name="grid", voxel_size_known=False
    )
    before = density_map.density.copy()
    resampled = resample(density_map, onto)
    for field in ("grid_shape", "voxel_size", "nstart", "header_origin", "voxel_size_known"):
        assert getattr(resampled, field) == getattr(onto, field)
    assert (resampled.name, resampled.notes) == ("moved", ("said before",))
    assert resampled.density.dtype == np.float32
    np.testing.assert_array_equal(density_map.density, before)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_boxes_that_do_not_overlap_are_an_error(axis, side):
    origin = [1.0, 2.0, 3.0]
    origin[axis] += side * 100
    here = random_map((3, 3, 3), (2.0, 2.0, 2.0), header_origin=(1.0, 2.0, 3.0), name="here.mrc")
    there = random_map((3, 3, 3), (2.0, 2.0, 2.0), header_origin=tuple(origin), name="there.mrc")
    with pytest.raises(InputError) as raised:
        resample(there, here)
    message = str(raised.value)
    assert "here.mrc at x 3 to 7, y 2 to 6, z 1 to 5 Å" in message
    assert f"there.mrc lies at x {origin[2]:g} to " in message
    assert "Move one onto the other" in message


# ---- a map without a voxel size


@pytest.mark.parametrize(
    ("fields", "shape", "expected_origin"),
    [
        ({}, SHAPE, (10.0, 20.0, 30.0)),
        ({"nstart": (1, 0, 0)}, SHAPE, (1.5, 0.0, 0.0)),
        ({"header_origin": (0.0, 0.0, 4.0)}, SHAPE, (0.0, 0.0, 4.0)),
        ({}, (5, 4, 4), (0.0, 0.0, 0.0)),
    ],
)
def test_a_map_without_a_voxel_size_takes_the_others(fields, shape, expected_origin):
    notes = ("a.mrc says no voxel size; 1 Å is taken.", "and more")
    unknown = random_map(shape, (1.0, 1.0, 1.0), name="a.mrc", voxel_size_known=False, notes=notes, **fields)
    other = random_map(voxel_size=(1.5, 1.5, 1.5), header_origin=(10.0, 20.0, 30.0), name="b.mrc")
    assumed = assume_grid_of(unknown, other)
    assert (assumed.voxel_size, assumed.voxel_size_known, assumed.name) == ((1.5, 1.5, 1.5), True, "a.mrc")
    assert assumed.origin == expected_origin
    assert assumed.notes == ("and more", "a.mrc says no voxel size; that of b.mrc is taken.")
    np.testing.assert_array_equal(assumed.density, unknown.density)


def test_the_note_that_is_replaced_is_the_one_that_reading_gives(tmp_path):
    read = read_map(file_of(tmp_path, mrc_bytes(cell=(0, 0, 0))))
    assert assume_grid_of(read, random_map(name="b.mrc")).notes == (
        "a.mrc says no voxel size; that of b.mrc is taken.",
    )


def test_a_map_with_a_voxel_size_keeps_it():
    known = random_map()
    assert assume_grid_of(known, random_map(voxel_size=(2.0, 2.0, 2.0))) is known


def test_two_maps_without_a_voxel_size_stay_as_they_are():
    a, b = (random_map(voxel_size=(1.0, 1.0, 1.0), voxel_size_known=False, seed=seed) for seed in (0, 1))
    assert assume_grid_of(a, b) is a
