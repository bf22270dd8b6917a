"""Arrays in files that numpy has written: .npz, or .npy with one alone.

numpy's own reader takes as much memory as a header asks for, and what it raises depends on where a file is broken.
Here an array is made only where the file holds so many bytes, and objects, which are pickles, are none.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_MOST_ARRAYS = 100
_PIECE = 1 << 24  # bytes
ALONE = "array"  # the name of one that is not in an archive


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by their names; that of a .npy is called ALONE.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, of another kind, or holds objects.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 has written
        try:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return {ALONE: _array(file)}
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()[:_MOST_ARRAYS]
                arrays = {}
                for member in members:
                    name = member.filename.removesuffix(".npy")
                    if not name.isidentifier():
                        raise ValueError("no name of an array")
                    with archive.open(member) as stream:
                        arrays[name] = _array(stream)
                return arrays
        except OSError:
            raise
        except Exception as error:  # zipfile, zlib and the parser of headers raise whatever they meet
            raise ValueError("it is damaged, or no file of numpy's") from error


def _array(stream: Any) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    shape, is_fortran, dtype = _HEADERS[version](stream)
    n_bytes = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or dtype.fields or dtype.subdtype or dtype.itemsize == 0 or min(shape, default=0) < 0:
        raise ValueError("no numbers")
    content = _read_at_most(stream, n_bytes)
    if len(content) < n_bytes:
        raise ValueError("truncated")
    array: np.ndarray = np.frombuffer(content, dtype, count=math.prod(shape))
    return array.reshape(shape, order="F" if is_fortran else "C")


def _read_at_most(stream: BinaryIO, n_bytes: int) -> bytearray:
    content = bytearray()
    while piece := stream.read(min(_PIECE, n_bytes - len(content))):
        content += piece
    return content
