"""The tutorial, run as a user opens it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from chimerax.map_series import MapSeries

from chimerax.cryotrans.engine.maps.fsc import correlation

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.cxc"


def test_the_tutorial_runs_and_opens_what_it_says(session, run, home):
    run(f'open "{TUTORIAL}"')
    forward, backward = session.models.list(type=MapSeries)
    assert (forward.id_string, len(forward.maps)) == ("3", 11)
    assert (backward.id_string, len(backward.maps)) == ("4", 21)
    [initial], [target] = (session.models.list(model_id=(number,)) for number in (1, 2))
    np.testing.assert_array_equal(forward.maps[0].full_matrix(), np.maximum(initial.full_matrix(), 0))
    np.testing.assert_array_equal(forward.maps[10].full_matrix(), backward.maps[0].full_matrix())
    before, after = (correlation(m.full_matrix(), target.full_matrix()) for m in (initial, forward.maps[10]))
    assert after > 0.9 > before
    assert not session.test_log.texts("error", "bug")
