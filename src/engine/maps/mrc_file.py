"""Files of density maps: MRC2014 and CCP4, plain or compressed by gzip or bzip2.

Where headers are doubtful the reading follows ChimeraX, so that a map lies at the same place and has the same values in
both: the origin words win over nstart unless they are zero or absurd, a voxel size that is not positive in each axis
means 1 Å, the byte order is the one that makes the sides of the box small, and bytes are unsigned where the old MRC
format or IMOD wrote them.  Format: Cheng et al., MRC2014, J. Struct. Biol. 192 (2015) 146.

mrcfile knows the format: its header and its types are read here, and it writes.  Its readers would trust the sizes that
a header claims, and the machine stamp.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import math
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np

from ..errors import InputError
from ..files.writing import write_atomically
from ..free_memory import room_for_process
from ..outlook import gigabytes
from .density_map import DensityMap, Triple, no_voxel_size_note, place_text, same_grid

_LARGEST_SIDE = 65535  # a side above this one means the other byte order, or no map
_ANGLE_TOLERANCE = 0.01  # degrees; shears a box of 300 voxels by 0.05 voxel
_SMALLEST_VOXEL, _LARGEST_VOXEL = 1e-3, 1e6  # Å; beyond, the header was never filled in
_ABSURD_START = 10  # longest sides; nstart beyond was never filled in
_IMOD_STAMP = 1146047817  # "IMOD" as an integer; bit 0 of the word after it says that bytes have a sign
_SIDES = ["nz", "ny", "nx"]  # sections, rows, columns; names of mrcfile, as all words of a header here
_STARTS = ["nzstart", "nystart", "nxstart"]
_INTERVALS = ["mz", "my", "mx"]
_AXES = ["maps", "mapr", "mapc"]
_MODES = (0, 1, 2, 6, 12)
_REFUSED_MODES = {3: "complex 16-bit integers", 4: "complex numbers, a Fourier transform", 101: "4-bit integers"}
_PACKINGS: dict[bytes, tuple[str, Any]] = {b"\x1f\x8b\x08": ("gzip", gzip.open), b"BZh": ("bzip2", bz2.open)}
_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\x89HDF": "an HDF5 file",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"PK\3\4": "a ZIP archive",
    b"\xfd7zX": "an xz file",
    b"(\xb5/\xfd": "a zstd file",
    b"\x93NUM": "a numpy array",
}
_PIECE = 1 << 24  # bytes
_NEVER_TOO_MUCH = 1 << 28  # bytes; for less the system is not asked, and what a header claims may not be there
_MOST_UNPACKED, _TIMES_PACKED = 1 << 26, 10_000  # bytes, and of the file's own; no map of a molecule packs so well
_COPY_AGAIN = "Copy or download it again."
_Path = Union[str, "os.PathLike[str]"]


def read_map(path: _Path) -> DensityMap:
    """Read a map in MRC or CCP4 format, plain or compressed, of mode 0, 1, 2, 6 or 12, in any axis and byte order.

    Args:
        path: the file; compression is told by content, not by suffix.
    Returns:
        The map, its axes put in the order z, y, x; `notes` says what had to be guessed.
    Raises:
        InputError: there is no such file, or it is a folder, unreadable, empty, truncated, broken, not a map, an image,
            a stack of images or of volumes, one voxel thin, complex, on skewed axes, or not finite everywhere.
    """
    name = Path(path).name
    with _opened(path) as stream:
        header = _read_header(stream, name)
        _check_is_one_volume(header, name)
        stored = _read_values(stream, header, name, _most_unpacked(path))  # (sections, rows, columns)
    _check_is_finite(stored, name)
    notes: list[str] = []
    axes = _axis_order(header, notes, name)  # where z, y, x are among sections, rows, columns
    density = stored.transpose(axes).astype(np.float32, copy=False)  # (nz, ny, nx)
    voxel_size = _voxel_size(header)
    if voxel_size is None:
        notes.append(no_voxel_size_note(name))
    elif header.mz == 1 and density.shape[0] > 1:
        z, y, x = voxel_size
        notes.append(
            f"{name} says mz 1, which makes voxels of {x:.4g}x{y:.4g}x{z:.4g} Å: probably a stack's header, and "
            f"{z / density.shape[0]:.4g} Å is meant along z. Set mz to {density.shape[0]} in its header."
        )
    taken_size = voxel_size or (1.0, 1.0, 1.0)
    header_origin = _header_origin(header, taken_size, notes, name)
    nstart = _nstart(header, axes, header_origin, notes, name)
    if any(label.startswith(b"Chimera rotation:") for label in header.label):
        notes.append(f"{name} holds a rotation that ChimeraX applies; it is left out here, the map lies unrotated.")
    return _with_note_on_suffix(
        DensityMap(density, taken_size, nstart, header_origin, name, voxel_size is not None, tuple(notes))
    )


def write_map(path: _Path, density_map: DensityMap, durable: bool = True) -> None:
    """Write a map as MRC2014, mode 2, axes in the order 1, 2, 3; equal maps give equal bytes.

    The file is written beside its place and then renamed, so that it is there whole or not at all.  A suffix .gz or
    .bz2 compresses it.  Where the voxel size is not known the file says none.

    Args:
        path: the file; one of this name is replaced.
        density_map: what to write; grid, nstart and origin words are kept.
        durable: as for `write_atomically`; what is soon computed again need not be.
    Raises:
        OSError: the disk is full, the folder is missing or may not be written to; nothing is left behind.
    """
    path = Path(path)
    content = _mrc_parts(density_map)
    if path.suffix.lower() == ".gz":
        content = [gzip.compress(b"".join(content), mtime=0)]
    elif path.suffix.lower() == ".bz2":
        content = [bz2.compress(b"".join(content))]
    write_atomically(path, content, durable)


@contextlib.contextmanager
def _opened(path: _Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed; failures of the file while it is read become InputErrors."""
    packing = ""
    try:
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder: name the map file in it.")
        with Path(path).open("rb") as plain:
            start = plain.peek(3)[:3]  # not read and taken back, which a pipe does not allow
            packing, unpacked = _PACKINGS.get(start, ("", contextlib.nullcontext))
            with unpacked(plain) as stream:
                yield stream
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"There is no file {path}: check its name and folder.") from error
    except (OSError, EOFError, zlib.error) as error:
        if packing:
            raise InputError(f"{path} is a broken {packing} file ({error}). {_COPY_AGAIN}") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read ({reason}): check its permissions and the disk it is on.") from error


def _read_header(stream: BinaryIO, name: str) -> Any:
    """The header as mrcfile has it, a record array without axes, in the byte order of the file."""
    from mrcfile.dtypes import HEADER_DTYPE

    size = HEADER_DTYPE.itemsize
    raw = stream.read(size)
    if not raw:
        raise InputError(f"{name} is empty (0 bytes). {_COPY_AGAIN}")
    byte_order = _byte_order(raw)
    if byte_order and len(raw) < size:
        raise InputError(f"{name} is truncated: {len(raw):,} of the {size:,} bytes of a header. {_COPY_AGAIN}")
    if byte_order:
        header: Any = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(byte_order)).reshape(()).view(np.recarray)
        if _is_stamped(header) or header.mode in _MODES:
            return header
    raise InputError(
        f"{name} is not an MRC or CCP4 map{_kind_text(raw)}. "
        "Give a file in MRC or CCP4 format, or open this one in ChimeraX and save it as .mrc."
    )


def _byte_order(raw: bytes) -> str:
    """The one byte order, "<" or ">", in which the sides of the box are small; "" where there is none, and no map."""
    for byte_order in "<>" if len(raw) >= 12 else "":
        if all(0 < side <= _LARGEST_SIDE for side in struct.unpack(f"{byte_order}3i", raw[:12])):
            return byte_order
    return ""


def _is_stamped(header: Any) -> bool:
    """Whether "MAP " is where it should be: else the old format, which has no z origin.

    To the letter, as ChimeraX takes it: "MAP" and a zero byte is the old format too.
    """
    return bool(header.map.tobytes() == b"MAP ")


def _kind_text(raw: bytes) -> str:
    if raw[:4] in _SIGNATURES:
        return f" but {_SIGNATURES[raw[:4]]}"
    return " but text" if all(byte >= 32 or byte in b"\t\n\r" for byte in raw) else ""


def _check_is_one_volume(header: Any, name: str) -> None:
    """Refuse what is no density of one box with right angles."""
    mode, space_group, n_sections, n_intervals = header[["mode", "ispg", "nz", "mz"]].item()
    if mode not in _MODES:
        held = _REFUSED_MODES.get(mode, "values of an unknown kind")
        raise InputError(
            f"{name} holds {held} (mode {mode}); a density of mode 0, 1, 2, 6 or 12 is wanted. "
            "Make the map in real space and save it as 32-bit floats (mode 2)."
        )
    if n_sections == 1:
        raise InputError(f"{name} is a single 2-D image; a volume is wanted. Give a 3-D map.")
    if space_group == 0 and n_intervals == 1:
        raise InputError(
            f"{name} is a stack of {n_sections} 2-D images (space group 0, mz 1); a volume is wanted. "
            "Give a 3-D map, or set space group 1 in its header if it is one."
        )
    if 401 <= space_group <= 630 and 0 < n_intervals <= n_sections // 2:
        raise InputError(
            f"{name} is a stack of {n_sections // n_intervals} volumes; one is wanted. Save one of them by itself."
        )
    if min(header[_SIDES].item()) == 1:
        raise InputError(f"{name} is one voxel thin, {_sides_text(header)} voxels; a volume is wanted. Give a 3-D map.")
    angles = header.cellb.item()
    if any(angle != 0 and not abs(angle - 90) <= _ANGLE_TOLERANCE for angle in angles):
        raise InputError(
            f"{name} has cell angles of {', '.join(f'{angle:.5g}' for angle in angles)} degrees; all must be 90. "
            "Resample it on a grid with right angles first (in ChimeraX: volume resample)."
        )


def _most_unpacked(path: _Path) -> int:
    """Bytes to which a file may unpack: a thousand can be made to stand for gigabytes."""
    size = 0  # of a pipe too, and what comes through it is not asked
    with contextlib.suppress(OSError):
        size = os.stat(path).st_size
    return max(_MOST_UNPACKED, _TIMES_PACKED * size) if size else sys.maxsize


def _read_values(stream: BinaryIO, header: Any, name: str, most: int) -> np.ndarray:
    """The values as they are stored: (sections, rows, columns)."""
    sides, dtype = header[_SIDES].item(), _value_dtype(header)
    n_bytes = math.prod(sides) * dtype.itemsize
    n_skipped = max(0, int(header.nsymbt))
    content = _read_at_most(stream, min(n_skipped + n_bytes, most), lambda: _check_room(header, name))
    if len(content) == most < n_skipped + n_bytes:
        raise InputError(
            f"{name} unpacks to more than {_TIMES_PACKED:,} times its size, as no map of a molecule does. "
            "If it is meant so, unpack it first (gunzip, bunzip2)."
        )
    # Headers of some old EMDB entries promise symmetry operators that are not there: then the values are all there is.
    n_skipped = 0 if len(content) == n_bytes else n_skipped
    if len(content) < n_skipped + n_bytes:
        n_there = max(0, len(content) - n_skipped)
        raise InputError(
            f"{name} is truncated: {_sides_text(header)} voxels need {n_bytes:,} bytes, {n_there:,} are there. "
            f"{_COPY_AGAIN}"
        )
    return np.frombuffer(content, dtype, count=math.prod(sides), offset=n_skipped).reshape(sides)


def _check_room(header: Any, name: str) -> None:
    """Refuse what would not fit into memory, before the system kills for it; the values as they are and as float32."""
    dtype, room = _value_dtype(header), room_for_process()
    n_bytes = math.prod(header[_SIDES].item()) * (dtype.itemsize + (4 if dtype != np.float32 else 0))
    if room is not None and n_bytes > room:
        raise InputError(
            f"{name} has {_sides_text(header)} voxels, which take {gigabytes(n_bytes)} of memory, and "
            f"{gigabytes(room)} are free. Bin it first, or cut it to a smaller box round the molecule."
        )


def _read_at_most(stream: BinaryIO, n_bytes: int, check: Callable[[], object]) -> bytearray | memoryview:
    """So many bytes if there are so many: piece by piece, for what a header claims may not exist, nor fit into memory.

    What comes after is left where it is: a small compressed file can hold gigabytes of it.

    Args:
        check: whether there is memory for all of it; called once, where it is much and so much of it is there.
    """
    start = bytearray()
    while len(start) <= _NEVER_TOO_MUCH and (piece := stream.read(min(_PIECE, n_bytes - len(start)))):
        start += piece
    content: bytearray | memoryview = start
    if len(start) > _NEVER_TOO_MUCH:
        check()
        content = _with_the_rest(start, stream, n_bytes)
    stream.read(1)  # at the end of a compressed file its checksum is compared
    return content  # which can be written to, so that a map of 32-bit floats is made of it without a copy


def _with_the_rest(start: bytearray, stream: BinaryIO, n_bytes: int) -> memoryview:
    """What has been read and what follows: room for all is taken once, as growing by pieces would copy it each time.

    Room into which nothing is put takes no memory.
    """
    content, there = np.empty(n_bytes, np.uint8).data, len(start)
    content[:there] = start
    while n_read := stream.readinto(content[there : there + _PIECE]):  # type: ignore[attr-defined]
        there += n_read
    return content[:there]


def _value_dtype(header: Any) -> np.dtype:
    """The type of the values; bytes have no sign in the old format and where IMOD says so."""
    from mrcfile.utils import data_dtype_from_header

    imod_stamp, imod_flags = np.frombuffer(header.extra2.tobytes(), header.mode.dtype)[10:12]
    has_sign = _is_stamped(header) and (imod_stamp != _IMOD_STAMP or imod_flags & 1)
    return np.dtype("u1") if header.mode == 0 and not has_sign else data_dtype_from_header(header)


def _check_is_finite(stored: np.ndarray, name: str) -> None:
    n_bad = stored.size - int(np.count_nonzero(np.isfinite(stored)))
    if n_bad:
        raise InputError(
            f"{name} must be finite everywhere: {n_bad:,} of {stored.size:,} voxels are NaN or infinite. "
            "Set them to zero, or make the map again."
        )


def _axis_order(header: Any, notes: list[str], name: str) -> tuple[int, int, int]:
    """Which of sections, rows, columns (0, 1, 2) run along z, y, x."""
    words = header[_AXES].item()  # 1, 2, 3 are x, y, z
    if sorted(words) == [1, 2, 3]:
        return words.index(3), words.index(2), words.index(1)
    if any(words):
        said = ", ".join(str(word) for word in words[::-1])
        notes.append(f"{name} says that its axes are {said}, which is no order of 1, 2, 3; columns are taken as x.")
    return 0, 1, 2


def _voxel_size(header: Any) -> Triple | None:
    """(z, y, x), Å; None unless it is positive and not absurd in each axis."""
    intervals = header[_INTERVALS].item()
    if min(intervals) <= 0:
        return None
    z, y, x = (length / n for length, n in zip(header.cella.item()[::-1], intervals))
    return (z, y, x) if all(_SMALLEST_VOXEL < size < _LARGEST_VOXEL for size in (z, y, x)) else None


def _header_origin(header: Any, voxel_size: Triple, notes: list[str], name: str) -> Triple:
    """(z, y, x), Å; zeros where the header has no such words, or what stands there cannot place voxels."""
    if not _is_stamped(header):
        return 0.0, 0.0, 0.0
    origin: Triple = header.origin.item()[::-1]
    if not all(math.isfinite(place) and place + size != place for place, size in zip(origin, voxel_size)):
        notes.append(f"{name} has an absurd origin, {place_text(origin)}, which is left out.")
        return 0.0, 0.0, 0.0
    return origin


def _nstart(
    header: Any, axes: tuple[int, int, int], header_origin: Triple, notes: list[str], name: str
) -> tuple[int, int, int]:
    """(z, y, x), voxels; zeros where they are over ten cells away, as when a program left the words unset."""
    starts = header[_STARTS].item()
    z, y, x = (starts[axis] for axis in axes)
    if max(abs(z), abs(y), abs(x)) <= _ABSURD_START * max(header[_INTERVALS + _SIDES].item()):
        return z, y, x
    if not any(header_origin):
        notes.append(f"{name} has an absurd start, voxel {x}, {y}, {z}, which is left out.")
    return 0, 0, 0


def _with_note_on_suffix(density_map: DensityMap) -> DensityMap:
    """ChimeraX reads files .map and .ccp4 as CCP4, where the origin words mean nothing: say so where it matters."""
    name = Path(density_map.name.lower())
    suffix = Path(name.stem).suffix if name.suffix in (".gz", ".bz2") else name.suffix
    by_nstart = dataclasses.replace(density_map, header_origin=(0.0, 0.0, 0.0))
    if suffix not in (".map", ".ccp4") or same_grid(density_map, by_nstart):
        return density_map
    note = (
        f"{density_map.name} lies at {place_text(density_map.origin)} by the origin in its header, which ChimeraX "
        f"does not read in a file {suffix}; rename it to .mrc to see it there."
    )
    return dataclasses.replace(density_map, notes=(*density_map.notes, note))


def _mrc_parts(density_map: DensityMap) -> list[bytes | memoryview]:
    """Header and values, little-endian, in which nothing changes from day to day; the values are no copy."""
    from mrcfile.mrcinterpreter import MrcInterpreter

    values = density_map.density.astype("<f4", copy=False)
    mrc = MrcInterpreter()
    mrc._create_default_attributes()  # this as its documentation says for a stream to write
    mrc._set_new_data(values)  # what follows is `set_data` without two copies of a map for its statistics
    mrc.update_header_from_data()
    header = mrc.header
    with np.errstate(all="ignore"):  # of values that are not finite, or whose squares are not
        header.dmin, header.dmax, header.dmean = values.min(), values.max(), values.mean(dtype=np.float64)
        squares = [np.square(section - np.float64(header.dmean)).sum() for section in values]
        header.rms = math.sqrt(sum(squares) / values.size)
    # As a rule the cell is the box; a part of a large one may start so far away that it would be held for absurd.
    for word, start in zip(_INTERVALS, density_map.nstart):
        header[word] = max(header[word], abs(start) // _ABSURD_START + 1)
    mrc.voxel_size = density_map.voxel_size[::-1] if density_map.voxel_size_known else 0
    mrc.nstart = density_map.nstart[::-1]
    header.origin = density_map.header_origin[::-1]
    header.label[0] = "Written by CryoTRANS"  # instead of the time of day
    content = header.tobytes()
    mrc._read_only = True  # there is no stream to write to when it goes
    return [content, values.data.cast("B")]


def _sides_text(header: Any) -> str:
    return "x".join(str(n) for n in header[_SIDES].item()[::-1])
