"""The tutorial, run as a user opens it."""

from __future__ import annotations

from pathlib import Path

import pytest
from chimerax.map_series import MapSeries

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.cxc"


def test_the_tutorial_runs_and_opens_what_it_says(session, run, home):
    run(f'open "{TUTORIAL}"')
    forward, backward = session.models.list(type=MapSeries)
    assert (forward.id_string, len(forward.maps)) == ("3", 11)
    assert (backward.id_string, len(backward.maps)) == ("4", 21)
    ends = [
        run(f"measure correlation #{a} inMap #{b} envelope false")
        for a, b in (("3.1", "2"), ("3.11", "2"), ("4.1", "2"))
    ]
    before, after, reversed_start = [float(value[0] if isinstance(value, tuple) else value) for value in ends]
    assert after > 0.85 > 0.75 > before
    assert reversed_start == pytest.approx(after, abs=1e-3)
    assert not session.test_log.texts("error", "bug")
