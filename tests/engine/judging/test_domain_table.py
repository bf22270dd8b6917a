"""The table of domains there and back, and residues whose domains are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chimerax.cryotrans.engine.errors import InputError
from chimerax.cryotrans.engine.judging.domain_table import (
    DomainRow,
    fixed_text,
    labels_at,
    ranges_text,
    read_rows,
    residues_in,
    write_rows,
)

FIRST = DomainRow(1, 0.7, (1, 2, 3), 0.5, None, 2.0, (0, 0, 1), (1, 2, 3), 0.01, None)
SECOND = DomainRow(2, 0.3, (9, 2, 3), 0.8, 1, 40.2, (0, 1, 0), (5, 2, 3), -1.5, (5, 2, 4))


def test_there_and_back(tmp_path):
    write_rows(tmp_path / "domains.json", [FIRST, SECOND])
    assert read_rows(tmp_path / "domains.json") == [FIRST, SECOND]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows.clear(),
        lambda rows: rows[0].pop("axis"),
        lambda rows: rows[1].update(angle="much"),
        lambda rows: rows[1].update(angle=float("nan")),
        lambda rows: rows[1].update(axis=[0, 1]),
        lambda rows: rows[1].update(domain=7),
        lambda rows: rows[1].update(point=None),
    ],
)
def test_a_damaged_table_is_named(tmp_path, spoil):
    path = tmp_path / "domains.json"
    write_rows(path, [FIRST, SECOND])
    content = json.loads(path.read_text())
    spoil(content["domains"])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"domains\.json cannot be read .*Train again"):
        read_rows(path)


def test_what_is_fixed_is_said():
    assert fixed_text([FIRST]).startswith("All of it moves as one rigid body: in the map it turns by 2.0°")
    assert "Domain 1, the largest, is taken as fixed" in fixed_text([FIRST, SECOND])


def test_labels_of_places():
    labels = np.zeros((3, 4, 5))
    labels[1, 2, 3] = 2
    places = np.array([[1.4, 2.0, 2.6], [1.6, 2, 3], [-1, 2, 3], [1, 2, 9]])
    assert labels_at(places, labels).tolist() == [2, 0, 0, 0]


def _residues(text, chains=None, numbers=None):
    """Of one atom a residue: "1122" is two residues of domain 1, then two of 2."""
    labels = np.array([int(letter) for letter in text])
    n = len(labels)
    return residues_in(labels, np.arange(n), chains or ["A"] * n, numbers or list(range(1, n + 1)))


def test_ranges_and_hinges_along_a_chain():
    found = _residues("1111111222222011111")
    assert found.ranges(1) == {"A": [(1, 7), (15, 19)]} and found.ranges(2) == {"A": [(8, 13)]}
    assert found.hinges(2) == {"A": [(7, 8)]}  # residue 14 is in none, so that it is not known where it goes back
    assert ranges_text(found.ranges(1)) == "/A:1-7,15-19"


def test_odd_residues_at_a_border_are_not_domains():
    found = _residues("11111211112222221222222")
    assert found.ranges(1) == {"A": [(1, 10)]} and found.ranges(2) == {"A": [(11, 23)]}


def test_a_residue_goes_with_most_of_its_atoms():
    labels, residue_of = np.array([1, 2, 2, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1, 1, 1])
    assert residues_in(labels, residue_of, ["A", "A"], [1, 2]).domains.tolist() == [2, 1]


def test_chains_and_gaps_make_no_hinges():
    found = _residues("1111122222", chains=["A"] * 5 + ["B"] * 5)
    assert found.hinges(2) == {} and ranges_text(found.ranges(2)) == "/B:6-10"
    assert _residues("1111122222", numbers=[1, 2, 3, 4, 5, 60, 61, 62, 63, 64]).hinges(2) == {}
