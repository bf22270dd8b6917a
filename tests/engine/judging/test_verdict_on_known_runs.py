"""The verdict on trainings whose truth is known: what benchmarks/verdicts.py measured, judged by the rules of now."""

import json
import math
from pathlib import Path

import pytest

from chimerax.cryotrans.engine.judging.measures import Measures
from chimerax.cryotrans.engine.judging.verdict import verdict_on

_RESULTS = Path(__file__).parents[3] / "benchmarks" / "verdicts.jsonl"
_ROWS = [json.loads(line) for line in _RESULTS.read_text(encoding="utf-8").splitlines()]
_MISSED = {("b0f0c5", "both noisy")}  # loops that are wrong in noise, see docs/verdict.md
_TESTED = {"b0f0c5", "cysbp", "oppa", "ppase"}  # the half of the proteins on which no limit was chosen


def _word(row):
    rows = [
        Measures(**{name: math.nan if value is None else value for name, value in kept.items()})
        for kept in row["measures"]
    ]
    names = ("without_partner", "witness", "confidence", "ceiling", "ended_early", "has_settled")
    heard = {name: row[name] for name in names}
    return verdict_on(rows, row["best"], (2.5, 2.5, 2.5), **heard).word


def _is_right(row):
    return row["rmsd"] is not None and row["rmsd"] <= min(3.0, max(1.5, row["before"] / 5))


@pytest.mark.parametrize("row", [row for row in _ROWS if row["said"] != "refused"], ids=lambda row: str(row["case"]))
def test_nothing_that_is_far_off_is_called_good_and_nothing_that_can_not_be_right_is_more_than_poor(row):
    word = _word(row)
    if row["rmsd"] is None or (row["rmsd"] > 3 and (row["protein"], row["case"]) not in _MISSED):
        assert word != "good", (row["protein"], row["case"])
    if row["case"] in ("mirror", "noise alone", "another molecule"):
        assert word == "poor", (row["protein"], row["case"])


@pytest.mark.parametrize(
    ("proteins", "least_right", "least_good"),
    [(_TESTED, 0.97, 0.92), ({row["protein"] for row in _ROWS} - _TESTED, 0.99, 0.83)],
    ids=["tested", "chosen"],
)
def test_most_of_what_is_right_is_called_good_and_what_is_called_good_is_right(proteins, least_right, least_good):
    judged = [(_word(row), _is_right(row)) for row in _ROWS if row["said"] != "refused" and row["protein"] in proteins]
    right = [word for word, is_right in judged if is_right]
    good = [is_right for word, is_right in judged if word == "good"]
    assert len(judged) > 50
    assert right.count("good") >= least_good * len(right)
    assert sum(good) >= least_right * len(good)
