"""Density maps and their files: MRC2014 and CCP4, plain or compressed by gzip or bzip2.

Arrays, sizes and positions run z, y, x; only texts for the user say x, y, z.  Lengths are in Å.  Where headers are
doubtful the reading follows ChimeraX, so that a map lies at the same place and has the same values in both: the origin
words win over nstart unless they are zero or absurd, a voxel size that is not positive in each axis means 1 Å, the
byte order is the one that makes the sides of the box small, and bytes are unsigned where the old MRC format or IMOD
wrote them.  Format: Cheng et al., MRC2014, J. Struct. Biol. 192 (2015) 146.

mrcfile knows the format: its header and its types are read here, and it writes.  Its readers would trust the sizes that
a header claims, and the machine stamp.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Union, cast

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .run_directory import write_atomically

_LARGEST_SIDE = 65535  # a side above this one means the other byte order, or no map
_ANGLE_TOLERANCE = 0.01  # degrees; shears a box of 300 voxels by 0.05 voxel
_PLACE_TOLERANCE = 0.05  # voxels; two places closer than this are one
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
_COPY_AGAIN = "Copy or download it again."

_Path = Union[str, "os.PathLike[str]"]
_Triple = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class DensityMap:
    """A density on a grid whose axes are those of space.

    Attributes:
        density: (nz, ny, nx) float32, C-contiguous and writable, in map units; an array that is not so is copied.
        voxel_size: (z, y, x), Å.
        nstart: (z, y, x), voxels; position of voxel (0, 0, 0) as the header's nstart says it.
        header_origin: (z, y, x), Å; the same as the header's origin words say it, zeros where they say nothing.
        name: what messages call the map, a file name.
        voxel_size_known: False where the file gave none and 1 Å is taken.
        notes: sentences for the user, doubts met while the map was read.
    """

    density: np.ndarray
    voxel_size: _Triple
    nstart: tuple[int, int, int] = (0, 0, 0)
    header_origin: _Triple = (0.0, 0.0, 0.0)
    name: str = "map"
    voxel_size_known: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert np.ndim(self.density) == 3, np.shape(self.density)
        object.__setattr__(self, "density", np.require(self.density, np.float32, ["C", "ALIGNED", "WRITEABLE"]))

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx), voxels."""
        return cast("tuple[int, int, int]", self.density.shape)

    @property
    def origin(self) -> _Triple:
        """(z, y, x), Å: centre of voxel (0, 0, 0), from the origin words unless they are zero, else from nstart."""
        if any(self.header_origin):
            return self.header_origin
        z, y, x = (start * size for start, size in zip(self.nstart, self.voxel_size))
        return z, y, x

    def with_density(self, density: npt.ArrayLike) -> DensityMap:
        """Another density, (nz, ny, nx) in map units, on the same grid."""
        other = np.asarray(density)
        assert other.shape == self.grid_shape, (other.shape, self.grid_shape)
        return dataclasses.replace(self, density=cast("np.ndarray", other))


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
        stored = _read_values(stream, header, name)  # (sections, rows, columns)
    _check_is_finite(stored, name)
    notes: list[str] = []
    axes = _axis_order(header, notes, name)  # where z, y, x are among sections, rows, columns
    density = stored.transpose(axes).astype(np.float32, copy=False)  # (nz, ny, nx)
    voxel_size = _voxel_size(header)
    if voxel_size is None:
        notes.append(_no_voxel_size_note(name))
    taken_size = voxel_size or (1.0, 1.0, 1.0)
    header_origin = _header_origin(header, taken_size, notes, name)
    nstart = _nstart(header, axes, header_origin, notes, name)
    if any(label.startswith(b"Chimera rotation:") for label in header.label):
        notes.append(f"{name} holds a rotation that ChimeraX applies; it is left out here, the map lies unrotated.")
    return _with_note_on_suffix(
        DensityMap(density, taken_size, nstart, header_origin, name, voxel_size is not None, tuple(notes))
    )


def write_map(path: _Path, density_map: DensityMap) -> None:
    """Write a map as MRC2014, mode 2, axes in the order 1, 2, 3; equal maps give equal bytes.

    The file is written beside its place and then renamed, so that it is there whole or not at all.  A suffix .gz or
    .bz2 compresses it.  Where the voxel size is not known the file says none.

    Args:
        path: the file; one of this name is replaced.
        density_map: what to write; grid, nstart and origin words are kept.
    Raises:
        OSError: the disk is full, the folder is missing or may not be written to; nothing is left behind.
    """
    path = Path(path)
    content = _mrc_bytes(density_map)
    if path.suffix.lower() == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix.lower() == ".bz2":
        content = bz2.compress(content)
    write_atomically(path, content)


def grid_text(density_map: DensityMap) -> str:
    """The grid in words, x, y, z: "128x128x100 voxels of 1.06x1.06x1.2 Å at 10, 20, 30 Å", without the place if 0."""
    sides = "x".join(str(n) for n in density_map.grid_shape[::-1])
    sizes = [f"{size:.5g}" for size in density_map.voxel_size[::-1]]
    size = "x".join(sizes if len(set(sizes)) > 1 else sizes[:1]) + " Å"
    if not density_map.voxel_size_known:
        size = "unknown size"
    place = f" at {_place_text(density_map.origin)}" if any(density_map.origin) else ""
    return f"{sides} voxels of {size}{place}"


def same_grid(a: DensityMap, b: DensityMap) -> bool:
    """Whether voxels of the same index lie at the same place, up to 0.05 voxel: 1.0600001 Å is as good as 1.06."""
    if a.grid_shape != b.grid_shape:
        return False
    return bool(np.all(np.abs(_corners(a) - _corners(b)) <= np.multiply(_PLACE_TOLERANCE, a.voxel_size)))


def resample(density_map: DensityMap, onto: DensityMap) -> DensityMap:
    """Interpolate a map on another's grid: trilinear, zero outside.

    Outside is what lies more than 0.05 voxel beyond the centres of the outermost voxels.  Along an axis where the
    voxels of `onto` are k >= 1.5 times larger, the interpolating triangle is made round(k) voxels wide instead of one,
    which averages what the coarser grid cannot hold.  Away from the edges linear functions stay exact.

    Args:
        density_map: what to interpolate.
        onto: the grid; its density is not looked at.
    Returns:
        The density and name of `density_map` on the grid of `onto`.
    Raises:
        InputError: the two boxes do not overlap.
    """
    density = density_map.density
    for axis in range(3):
        ratio = onto.voxel_size[axis] / density_map.voxel_size[axis]
        start = (onto.origin[axis] - density_map.origin[axis]) / density_map.voxel_size[axis]
        positions = start + ratio * np.arange(onto.grid_shape[axis])  # voxels of density_map
        n = density_map.grid_shape[axis]
        inside = (positions >= -_PLACE_TOLERANCE) & (positions <= n - 1 + _PLACE_TOLERANCE)
        if not inside.any():
            raise InputError(
                f"The maps must overlap: {density_map.name} lies at {_extent_text(density_map)}, {onto.name} at "
                f"{_extent_text(onto)}. Move one onto the other first, or mend the origin in its header."
            )
        density = _interpolate(density, axis, np.clip(positions, 0, n - 1), inside, width=max(1, round(ratio)))
    return dataclasses.replace(onto, density=density, name=density_map.name, notes=density_map.notes)


def assume_grid_of(density_map: DensityMap, other: DensityMap) -> DensityMap:
    """Give a map whose voxel size is not known the other's.

    Where its nstart and origin words are all zero too, and the two have one shape, it gets the other's origin as well.
    A map whose voxel size is known comes back as it is.
    """
    if density_map.voxel_size_known or not other.voxel_size_known:
        return density_map
    notes = tuple(note for note in density_map.notes if note != _no_voxel_size_note(density_map.name))
    assumed = dataclasses.replace(
        density_map,
        voxel_size=other.voxel_size,
        voxel_size_known=True,
        notes=(*notes, f"{density_map.name} says no voxel size; that of {other.name} is taken."),
    )
    if any(density_map.nstart) or any(density_map.header_origin) or density_map.grid_shape != other.grid_shape:
        return assumed
    return dataclasses.replace(assumed, nstart=other.nstart, header_origin=other.header_origin)


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
    """Whether "MAP " is where it should be: else the old format, which has no z origin."""
    return bool(header.map.item()[:3] == b"MAP")


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


def _read_values(stream: BinaryIO, header: Any, name: str) -> np.ndarray:
    """The values as they are stored: (sections, rows, columns)."""
    sides, dtype = header[_SIDES].item(), _value_dtype(header)
    n_bytes = math.prod(sides) * dtype.itemsize
    content = stream.read()  # all there is: so many bytes as the header claims may not exist, nor fit into memory
    # Headers of some old EMDB entries promise symmetry operators that are not there: then the values are all there is.
    n_skipped = 0 if len(content) == n_bytes else max(0, int(header.nsymbt))
    if len(content) < n_skipped + n_bytes:
        n_there = max(0, len(content) - n_skipped)
        raise InputError(
            f"{name} is truncated: {_sides_text(header)} voxels need {n_bytes:,} bytes, {n_there:,} are there. "
            f"{_COPY_AGAIN}"
        )
    return np.frombuffer(content, dtype, count=math.prod(sides), offset=n_skipped).reshape(sides)


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


def _voxel_size(header: Any) -> _Triple | None:
    """(z, y, x), Å; None unless it is positive and not absurd in each axis."""
    intervals = header[_INTERVALS].item()
    if min(intervals) <= 0:
        return None
    z, y, x = (length / n for length, n in zip(header.cella.item()[::-1], intervals))
    return (z, y, x) if all(_SMALLEST_VOXEL < size < _LARGEST_VOXEL for size in (z, y, x)) else None


def _header_origin(header: Any, voxel_size: _Triple, notes: list[str], name: str) -> _Triple:
    """(z, y, x), Å; zeros where the header has no such words, or what stands there cannot place voxels."""
    if not _is_stamped(header):
        return 0.0, 0.0, 0.0
    origin: _Triple = header.origin.item()[::-1]
    if not all(math.isfinite(place) and place + size != place for place, size in zip(origin, voxel_size)):
        notes.append(f"{name} has an absurd origin, {_place_text(origin)}, which is left out.")
        return 0.0, 0.0, 0.0
    return origin


def _nstart(
    header: Any, axes: tuple[int, int, int], header_origin: _Triple, notes: list[str], name: str
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
        f"{density_map.name} lies at {_place_text(density_map.origin)} by the origin in its header, which ChimeraX "
        f"does not read in a file {suffix}; rename it to .mrc to see it there."
    )
    return dataclasses.replace(density_map, notes=(*density_map.notes, note))


def _mrc_bytes(density_map: DensityMap) -> bytes:
    """The file, little-endian, in which nothing changes from day to day."""
    from mrcfile.mrcinterpreter import MrcInterpreter

    stream = io.BytesIO()
    with MrcInterpreter() as mrc, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are not finite, or whose squares are not
        mrc._create_default_attributes()  # this and the next line as its documentation says for a stream to write
        mrc._iostream = stream
        mrc.set_data(density_map.density.astype("<f4", copy=False))
        # As a rule the cell is the box; a part of a large one may start so far away that it would be held for absurd.
        for word, start in zip(_INTERVALS, density_map.nstart):
            mrc.header[word] = max(mrc.header[word], abs(start) // _ABSURD_START + 1)
        mrc.voxel_size = density_map.voxel_size[::-1] if density_map.voxel_size_known else 0
        mrc.nstart = density_map.nstart[::-1]
        mrc.header.origin = density_map.header_origin[::-1]
        mrc.header.label[0] = "Written by CryoTRANS"  # instead of the time of day
    return stream.getvalue()


def _corners(density_map: DensityMap) -> np.ndarray:
    """(2, 3): centres of the first voxel and of the last, (z, y, x), Å."""
    extent = np.multiply(np.subtract(density_map.grid_shape, 1), density_map.voxel_size)
    return np.add(density_map.origin, [np.zeros(3), extent])


def _interpolate(density: np.ndarray, axis: int, positions: np.ndarray, inside: np.ndarray, width: int) -> np.ndarray:
    """Weighted mean under a triangle round each position along one axis; 0 where it is not inside.

    Where a wide triangle hangs over an edge, the outermost values count for what is not there.

    Args:
        density: (…, n, …).
        axis: the axis of n.
        positions: (m,), voxels, in [0, n - 1].
        inside: (m,).
        width: of the triangle, voxels; 1 is linear interpolation.
    Returns:
        (…, m, …).
    """
    n = density.shape[axis]
    taps = np.floor(positions).astype(np.intp) + np.arange(1 - width, 1 + width)[:, np.newaxis]  # (2 width, m)
    weights = np.maximum(0, 1 - np.abs(taps - positions) / width) * inside / width  # of sum 1, or 0 outside
    across = tuple(other for other in range(3) if other != axis)
    result = np.zeros((*density.shape[:axis], len(positions), *density.shape[axis + 1 :]), np.float32)
    for tap, weight in zip(np.clip(taps, 0, n - 1), weights.astype(np.float32)):
        result += density.take(tap, axis=axis) * np.expand_dims(weight, across)
    return result


def _no_voxel_size_note(name: str) -> str:
    return f"{name} says no voxel size; 1 Å is taken."


def _sides_text(header: Any) -> str:
    return "x".join(str(n) for n in header[_SIDES].item()[::-1])


def _place_text(place: _Triple) -> str:
    """A place (z, y, x) as "x, y, z Å"."""
    return ", ".join(f"{length + 0.0:.5g}" for length in place[::-1]) + " Å"  # + 0.0 makes -0 0


def _extent_text(density_map: DensityMap) -> str:
    """From where to where the voxels of a map lie, "x 0 to 63, y 0 to 63, z 0 to 63 Å"."""
    z, y, x = (f"{first:.5g} to {last:.5g}" for first, last in _corners(density_map).T)
    return f"x {x}, y {y}, z {z} Å"
