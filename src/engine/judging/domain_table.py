"""The rigid domains of a run as a table, in domains.json, and which residues of an atomic model lie in which.

Numbers of domains begin with 1, the largest; domains.mrc has them as values, and 0 outside.  Places and axes are x, y,
z in Å in the frame of the initial map's file; a turn is counter-clockwise to who looks against the axis.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, first_line
from ..files.patterns import count, read_json, vector
from ..files.writing import write_atomically
from .rigid_domains import RigidDomains

DOMAINS_FILE, LABELS_FILE = "domains.json", "domains.mrc"
WATERS = ("HOH", "WAT", "DOD")  # residues that belong to no domain: each would be a range of its own
COLORS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#eeca3b", "#9d755d", "#ff9da6", "#7f7f7f")
_SHORTEST_RUN = 4  # residues; fewer between two of one domain are taken for noise at its border
_NEXT = 2  # residues whose numbers differ by more do not follow each other in the chain
_ROW = {
    "domain": count,
    "relative_to": (count, None),
    "hinge": (vector, None),
    **dict.fromkeys(("share", "misfit", "angle", "shift"), float),
    **dict.fromkeys(("centre", "axis", "point"), vector),
}
_LITTLE = 0.05  # Å; what is less is written as 0

Vector = tuple[float, float, float]


class DomainRow(NamedTuple):
    """One domain.

    Attributes:
        domain: its number.
        share: of the mass.
        centre: (x, y, z), Å, before it moves.
        misfit: Å, root mean square distance of the flow from the rigid motion.
        relative_to: number of the domain that its motion is seen from; None for the largest, seen from the map.
        angle: degrees, 0 to 180.
        axis, point: unit vector of the axis and a point on it, (x, y, z), Å.
        shift: Å, along the axis; without a turn, all of the motion.
        hinge: where the axis passes the border between the two, (x, y, z), Å; None where it passes elsewhere.
    """

    domain: int
    share: float
    centre: Vector
    misfit: float
    relative_to: Optional[int]
    angle: float
    axis: Vector
    point: Vector
    shift: float
    hinge: Optional[Vector]

    def turn_text(self) -> str:
        return f"{self.angle:.0f}°" if self.angle >= 10 else f"{self.angle:.1f}°"

    def shift_text(self) -> str:
        return f"{self.shift if abs(self.shift) >= _LITTLE else 0.0:.1f} Å".replace("-", "−")

    def axis_text(self) -> str:
        return ", ".join(f"{value:.2f}" for value in self.axis).replace("-0.00", "0.00").replace("-", "−")

    def hinge_text(self) -> str:
        return "–" if self.hinge is None else ", ".join(f"{value:.0f}" for value in self.hinge).replace("-", "−")


def rows_of(found: RigidDomains) -> list[DomainRow]:
    """The table of what was found."""
    rows = []
    for k, domain in enumerate(found.domains):
        screw = domain.screw
        rows.append(
            DomainRow(
                domain=k + 1,
                share=float(domain.share),
                centre=_vector(domain.centre),
                misfit=float(domain.misfit),
                relative_to=1 if k else None,
                angle=float(screw.angle),
                axis=_vector(screw.axis),
                point=_vector(screw.point),
                shift=float(screw.shift),
                hinge=None if domain.hinge is None else _vector(domain.hinge),
            )
        )
    return rows


def write_rows(path: Path, rows: Sequence[DomainRow]) -> None:
    """Write domains.json.

    Raises:
        OSError: it cannot be written.
    """
    content = {"unit": "Å; x, y, z in the frame of the initial map", "domains": [row._asdict() for row in rows]}
    write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read_rows(path: Path) -> list[DomainRow]:
    """Read domains.json.

    Raises:
        InputError: it is missing, damaged or of another kind.
    """
    try:
        content = read_json(path, {"domains": [_ROW]})
        rows = [DomainRow(**{key: _read(found[key]) for key in DomainRow._fields}) for found in content["domains"]]
        if not rows or [row.domain for row in rows] != list(range(1, len(rows) + 1)):
            raise ValueError("its domains are not numbered from 1")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({first_line(error)}). Train again, or resume the run by some steps."
        ) from error
    return rows


def fixed_text(rows: Sequence[DomainRow]) -> str:
    """What the motions are seen from, in a sentence."""
    first = rows[0]
    own = f"in the map it turns by {first.turn_text()} itself and shifts by {first.shift_text()} along that axis"
    if len(rows) == 1:
        return f"All of it moves as one rigid body: {own}."
    return f"Domain 1, the largest, is taken as fixed, and the others move against it; {own}."


def color_of(number: int) -> str:
    """The colour of a domain, #rrggbb."""
    return COLORS[(number - 1) % len(COLORS)]


# Residues


class Residues(NamedTuple):
    """Residues in the order of their chains: chain names, numbers, and domains (0 for none); all of one length."""

    chains: Sequence[str]
    numbers: Sequence[int]
    domains: NDArray[np.int64]

    def ranges(self, domain: int) -> dict[str, list[tuple[int, int]]]:
        """By chain, first and last number of each run of residues of this domain."""
        found: dict[str, list[tuple[int, int]]] = {}
        for start, end in _runs(self.chains, self.domains):
            if self.domains[start] == domain:
                found.setdefault(self.chains[start], []).append((self.numbers[start], self.numbers[end - 1]))
        return found

    def hinges(self, domain: int) -> dict[str, list[tuple[int, int]]]:
        """By chain, the two residues between which it crosses from this domain to another or comes from there."""
        found: dict[str, list[tuple[int, int]]] = {}
        for i in range(len(self.chains) - 1):
            one, other = (int(self.domains[k]) for k in (i, i + 1))
            follows = self.chains[i] == self.chains[i + 1] and 0 <= self.numbers[i + 1] - self.numbers[i] <= _NEXT
            if follows and one != other and domain in (one, other) and one and other:
                found.setdefault(self.chains[i], []).append((self.numbers[i], self.numbers[i + 1]))
        return found


def residues_in(
    labels_of_atoms: NDArray[np.int64], residue_of: NDArray[np.int64], chains: Sequence[str], numbers: Sequence[int]
) -> Residues:
    """The domain of each residue: that of most of its atoms, without odd ones at a border.

    Args:
        labels_of_atoms: (n,), see `labels_at`.
        residue_of: (n,), index of each atom's residue.
        chains, numbers: of the residues, in order.
    """
    n, highest = len(chains), int(labels_of_atoms.max(initial=0))
    votes = np.zeros((n, highest + 1), np.int64)
    np.add.at(votes, (residue_of, labels_of_atoms), 1)
    votes[:, 0] = 0
    domains = np.where(votes.any(axis=1), votes.argmax(axis=1), 0).astype(np.int64)
    changed = True
    while changed:
        changed = False
        runs = _runs(chains, domains)
        for before, run, after in zip(runs, runs[1:], runs[2:]):
            same_chain = chains[before[0]] == chains[run[0]] == chains[after[0]]
            short = run[1] - run[0] < _SHORTEST_RUN <= min(before[1] - before[0], after[1] - after[0])
            if same_chain and short and domains[before[0]] == domains[after[0]]:
                domains[run[0] : run[1]] = domains[before[0]]
                changed = True
                break
    return Residues(chains, numbers, domains)


def labels_at(places: NDArray[np.float64], labels: NDArray[np.floating]) -> NDArray[np.int64]:
    """The labels of the voxels where places (n, 3) lie, z, y, x in voxels; 0 outside the box."""
    nearest = np.rint(places).astype(np.int64)
    inside = ((nearest >= 0) & (nearest < labels.shape)).all(axis=1)
    found = np.zeros(len(places), np.int64)
    found[inside] = np.rint(labels[tuple(nearest[inside].T)])
    return found


def ranges_text(ranges: dict[str, list[tuple[int, int]]]) -> str:
    """As ChimeraX's commands take it: /A:1-29,68-117 /B:5."""

    def span(first: int, last: int) -> str:
        return f"{first}-{last}" if first != last else f"{first}"

    return " ".join(f"/{chain}:" + ",".join(span(*pair) for pair in pairs) for chain, pairs in ranges.items())


def _runs(chains: Sequence[str], domains: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First index, and that after the last, of each run of residues of one chain and one domain."""
    n = len(chains)
    starts = [i for i in range(n) if i == 0 or chains[i] != chains[i - 1] or domains[i] != domains[i - 1]]
    return list(zip(starts, [*starts[1:], n]))


def _read(value: Any) -> Any:
    """As the row has it: a place is a list in the file."""
    return tuple(float(each) for each in value) if isinstance(value, list) else value


def _vector(values: Any) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
