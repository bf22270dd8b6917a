"""From the fuzzer's bytes to files that are nearly right.

The first byte of an input says how the rest becomes a file: as it is, packed as such files are, or as edits of a good
document, which get further in than bytes do.  All that is drawn comes from the input, so that an input is one file.
"""

from __future__ import annotations

import bz2
import copy
import functools
import gzip
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import mrcfile
import numpy as np
import readers
import torch

from chimerax.cryotrans.engine.flow.checkpoint import state_of_field
from chimerax.cryotrans.engine.flow.domains import CombinedField, DomainField, LayeredField, SymmetricField
from chimerax.cryotrans.engine.flow.symmetry import point_group
from chimerax.cryotrans.engine.flow.velocity import VelocityField

_MOST_EDITS = 4
_ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 255, 2**31 - 1, 2**40, 2**63, 10**30, -(2**31), 0.5, 1e-320, 1e300, -1e308),
    *(math.nan, math.inf, -math.inf, "", "0", "\0", "..", "../../x", "/etc/passwd", "\ud800", "a" * 300, "\ue000seed"),
    *([], {}, [[]], [None], {"": None}, [1.5, "a"], {"weights": "../x"}, "leg_1", "<b>&", "#1", "running", "finished"),
)


def edited(document: Any, data: Any, odd: Callable[[Any], Any]) -> Any:
    """A copy of a document of dicts and lists in which some places have other values, or none, or another's."""
    document = copy.deepcopy(document)
    for _ in range(data.ConsumeIntInRange(0, _MOST_EDITS)):
        places = list(_places(document))
        if not places:
            return document
        container, key = places[data.ConsumeIntInRange(0, len(places) - 1)]
        act = data.ConsumeIntInRange(0, 6)
        if act == 0:
            del container[key]
        elif act == 1:
            other, its = places[data.ConsumeIntInRange(0, len(places) - 1)]
            container[key] = copy.deepcopy(other[its])
        elif act == 2 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif act == 2:
            container[data.ConsumeUnicode(4)] = container.pop(key)
        else:
            container[key] = odd(data)
    return document


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(document) if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])


def odd_json(data: Any) -> Any:
    chosen = data.ConsumeIntInRange(0, len(_ODD) + 3)
    if chosen < len(_ODD):
        return copy.deepcopy(_ODD[chosen])
    return (data.ConsumeUnicode(12), data.ConsumeInt(8), data.ConsumeFloat(), [data.ConsumeFloat()] * 3)[
        chosen - len(_ODD)
    ]


def json_file(good: Callable[[], Any]) -> Callable[[int, bytes, Any], bytes]:
    """Files of a JSON document: edited, or the bytes as they are."""

    def make(how: int, rest: bytes, data: Any) -> bytes:
        if how % 4 == 0:
            return rest
        if how % 64 == 1:
            return rest + b"[" * (how * 100)
        return json.dumps(edited(good(), data, odd_json)).encode(errors="surrogatepass")

    return make


# Maps


def map_file(how: int, rest: bytes, data: Any) -> bytes:
    kind = how % 8
    if kind == 0:
        return rest
    if kind == 1:
        return gzip.compress(rest, 1, mtime=0)
    if kind == 2:
        return bz2.compress(rest, 1)
    if kind == 3:  # packed, then broken
        packed = bytearray((gzip.compress if how & 8 else bz2.compress)(good_map(), 1))
        for _ in range(data.ConsumeIntInRange(1, 3)):
            packed[data.ConsumeIntInRange(0, len(packed) - 1)] = data.ConsumeIntInRange(0, 255)
        return bytes(packed[: data.ConsumeIntInRange(0, len(packed))] if how & 16 else packed)
    words = bytearray(good_map())
    for _ in range(data.ConsumeIntInRange(1, 5)):
        place = 4 * (data.ConsumeIntInRange(0, 56) if how & 8 else data.ConsumeIntInRange(0, len(words) // 4 - 1))
        words[place : place + 4] = _word(data)
    if how == 68:  # a small file that unpacks to much
        words += bytes(data.ConsumeIntInRange(0, 1 << 25))
        return bz2.compress(bytes(words), 9)
    if how & 32:
        words[:1024] = np.frombuffer(bytes(words[:1024]), "<i4").byteswap().tobytes()
    return bytes(words) if kind < 7 else gzip.compress(bytes(words), 1, mtime=0)


def _word(data: Any) -> bytes:
    kind = data.ConsumeIntInRange(0, 3)
    if kind == 0:
        return np.array(data.ConsumeIntInRange(-2, 70000), "<i4").tobytes()
    if kind == 1:
        return np.array([0, 1e30, np.nan, np.inf, -1, 90, 1e-30, 3e38][data.ConsumeIntInRange(0, 7)], "<f4").tobytes()
    if kind == 2:
        return [b"MAP ", b"MAP\0", b"DD\0\0", b"\x11\x11\0\0", b"DA\0\0", b"IMOD", bytes(4)][
            data.ConsumeIntInRange(0, 6)
        ]
    return data.ConsumeBytes(4).ljust(4, b"\0")


@functools.cache
def good_map() -> bytes:
    path = readers.scratch() / "good.mrc"
    mrcfile.write(path, (np.arange(24).reshape(2, 3, 4) % 3).astype(np.float32), voxel_size=2.0)
    return path.read_bytes()


# What PyTorch and numpy write


def torch_file(good: Callable[[], list[Any]]) -> Callable[[int, bytes, Any], bytes]:
    """Files of tensors: edited, or the bytes as they are, or as the pickle in the archive."""

    def make(how: int, rest: bytes, data: Any) -> bytes:
        if how % 4 == 0:
            return rest
        document = good()[data.ConsumeIntInRange(0, len(good()) - 1)]
        if how % 4 == 1:
            return _with_pickle(_torch_bytes(document), rest)
        if how % 4 == 2:
            content = _torch_bytes(document)
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                changed = bytearray(archive.read(name))
            for _ in range(data.ConsumeIntInRange(1, 4)):
                changed[data.ConsumeIntInRange(0, len(changed) - 1)] = data.ConsumeIntInRange(0, 255)
            return _with_pickle(content, bytes(changed))
        return _torch_bytes(edited(document, data, _odd_tensor))

    return make


def _odd_tensor(data: Any) -> Any:
    kind = data.ConsumeIntInRange(0, 9)
    if kind > 5:
        return odd_json(data)
    shape = [data.ConsumeIntInRange(0, 4) for _ in range(data.ConsumeIntInRange(0, 3))]
    types = (torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.float16, torch.bfloat16)
    made = torch.ones(shape).to(types[data.ConsumeIntInRange(0, len(types) - 1)])
    if kind == 1:
        return torch.ones(1).expand(1 << data.ConsumeIntInRange(0, 40), 3)  # much of little
    if kind == 2:
        return made.to_sparse() if made.ndim and made.dtype.is_floating_point else made
    if kind == 3:
        return made * math.nan if made.is_floating_point() else made
    return made.to("meta") if kind == 4 else made


def _torch_bytes(document: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return buffer.getvalue()


def _with_pickle(content: bytes, pickled: bytes) -> bytes:
    """The same archive with another pickle in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return made.getvalue()


@functools.cache
def good_weights() -> list[Any]:
    points = torch.rand((20, 3), generator=torch.Generator().manual_seed(0))
    symmetry = point_group("C2", torch.tensor([0.5, 0.5, 0.5]))
    plain, kept = DomainField.spread_over(points, 3), DomainField.spread_over(points, 2, symmetry=symmetry)
    network = VelocityField(2, 3, 0)
    fields = [
        *(network, VelocityField(1, 1, 0), plain, kept, LayeredField.upon(plain, points, 2, 0)),
        *(CombinedField(plain, network), SymmetricField(network, symmetry)),
    ]
    return [state_of_field(field) for field in fields]


@functools.cache
def good_states() -> list[Any]:
    states = []
    for recipe in ("cryotrans", "auto"):
        training = readers.small_training(recipe)
        for _ in range(2):
            training.evaluate()
            training.update()
        training.evaluate()
        states.append(copy.deepcopy(training.state()))
    return states


def npz_file(good: Callable[[], dict[str, Any]]) -> Callable[[int, bytes, Any], bytes]:
    """Files of arrays: an archive of them, one alone, or the bytes as they are; headers may lie."""

    def make(how: int, rest: bytes, data: Any) -> bytes:
        if how % 4 == 0:
            return rest
        arrays = edited(good(), data, _odd_array) if how & 4 else good()
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if how & 8 else zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                content = bytearray(_npy_bytes(array))
                if how % 4 == 1:
                    for _ in range(data.ConsumeIntInRange(1, 4)):
                        content[data.ConsumeIntInRange(0, min(len(content), 128) - 1)] = data.ConsumeIntInRange(0, 255)
                if how % 4 == 2:
                    content[10:128] = rest.ljust(118, b" ")[:118]
                archive.writestr(f"{name}.npy", bytes(content))
        if how & 16 and arrays:
            return _npy_bytes(next(iter(arrays.values())))
        whole = bytearray(made.getvalue())
        if how & 32:
            for _ in range(data.ConsumeIntInRange(1, 4)):
                whole[data.ConsumeIntInRange(0, len(whole) - 1)] = data.ConsumeIntInRange(0, 255)
        return bytes(whole)

    return make


def _odd_array(data: Any) -> Any:
    shape = [data.ConsumeIntInRange(0, 4) for _ in range(data.ConsumeIntInRange(0, 3))]
    kinds = ("f8", "f4", "i4", "u8", "b1", "c8", "U3", "S2", "f2", "O", "M8[s]", "V3")
    return np.ones(shape).astype(kinds[data.ConsumeIntInRange(0, len(kinds) - 1)])


def _npy_bytes(array: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, array, allow_pickle=True)
    return made.getvalue()


def as_it_is(how: int, rest: bytes, data: Any) -> bytes:
    """Of texts, whose every byte counts alike."""
    return rest


def packed_text(how: int, rest: bytes, data: Any) -> bytes:
    """Of texts that may be packed."""
    return rest if how % 8 else gzip.compress(rest, 1, mtime=0)
