"""Maps whose headers programs read differently, byte by byte: Cheng et al., J. Struct. Biol. 192 (2015) 146."""

from __future__ import annotations

import struct

import numpy as np

SIDES = (4, 3, 2)  # columns, rows, sections
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_IMOD = 1146047817
LITTLE, BIG = b"\x44\x44\0\0", b"\x11\x11\0\0"


def mrc(
    mode: int = 2,
    order: str = "<",
    *,
    start: tuple[int, int, int] = (0, 0, 0),
    intervals: tuple[int, int, int] = SIDES,
    space_group: int = 1,
    extended: int = 0,
    imod: tuple[int, int] = (0, 0),
    origin: tuple[float, float, float] = (0, 0, 0),
    stamp: bytes = b"MAP ",
    machine: bytes | None = None,
) -> bytes:
    """A map of 2 sections of 3 rows of 4 columns, cell 8 x 6 x 4 Å; threes in the header's own order."""
    values = np.arange(24) * 5 + (5 if mode != 0 else 60)  # bytes beyond 127 among them, and none of them zero
    header = struct.pack(
        f"{order}10i6f3i3f2i 56x2i36x 3f4s4sfi 800x",
        *(*SIDES, mode, *start, *intervals, 8, 6, 4, 90, 90, 90, 1, 2, 3, 0, 0, 0, space_group, extended),
        *(*imod, *origin, stamp, machine if machine is not None else (LITTLE if order == "<" else BIG), 0, 0),
    )
    stored = values.astype(np.uint8).tobytes() if mode == 0 else values.astype(order + _TYPES[mode]).tobytes()
    return header + bytes(extended) + stored


HEADERS = {
    **{f"mode {mode}, {order}": mrc(mode, order) for mode in _TYPES for order in "<>"},
    **{
        f"machine stamp {machine.hex()}, {order}": mrc(2, order, machine=machine)
        for machine in (LITTLE, BIG, b"\x44\x41\0\0", b"\x11\x22\0\0", bytes(4), b"\xff\xff\xff\xff")
        for order in "<>"
    },
    "MAP and a zero": mrc(stamp=b"MAP\0", start=(1, 2, 3)),
    "MAP and a zero, bytes": mrc(0, stamp=b"MAP\0"),
    "no MAP": mrc(stamp=bytes(4), start=(1, 2, 3)),
    "IMOD, unsigned bytes": mrc(0, imod=(_IMOD, 0)),
    "IMOD, signed bytes": mrc(0, imod=(_IMOD, 1)),
    "mz 1": mrc(intervals=(4, 3, 1)),
    "no intervals": mrc(intervals=(0, 0, 0)),
    "a part of a cell": mrc(intervals=(8, 6, 4), start=(-2, 1, 5)),
    "nstart": mrc(start=(3, -2, 1)),
    "origin": mrc(origin=(1.5, -2.5, 3.5)),
    "nstart and origin": mrc(start=(3, -2, 1), origin=(1.5, -2.5, 3.5)),
    "an extended header": mrc(extended=160),
    "space group 0": mrc(space_group=0),
}
