"""`cryotrans train … domains #5`: a map of labels or the chains of a model, where they are displayed."""

from __future__ import annotations

import json

import mrcfile
import numpy as np
import phantoms
import pytest
from chimerax.core.errors import UserError

SETTINGS = "recipe auto steps 2 depth 2 width 8 device cpu seed 7 wait true open false"


@pytest.fixture
def parts(run, pair, tmp_path):
    """#3, a map of labels, one for each half of the box; #4, an atom in each domain, of two chains; all moved."""
    labels = np.ones(phantoms.SHAPE, np.float32)
    labels[..., 13:] = 2
    run(f'open "{phantoms.write_mrc(tmp_path / "labels.mrc", labels)}"')
    from chimerax.atomic import AtomicStructure
    from chimerax.atomic.struct_edit import add_atom

    model = AtomicStructure(pair[0].session, name="parts")
    for chain, place in (("A", phantoms.STILL), ("B", phantoms.MOVING)):
        residue = model.new_residue("GLY", chain, 1)
        add_atom("CA", "C", residue, np.multiply(place[::-1], phantoms.VOXEL_SIZE[::-1]))
    pair[0].session.models.add([model])
    run("move x 30 models #1-4")


@pytest.mark.parametrize("given", ["#3", "#4"])
def test_segments_come_to_the_initial_map_where_they_are_displayed(session, run, home, pair, parts, given):
    job = run(f"cryotrans train #1 to #2 domains {given} {SETTINGS}")
    content = json.loads((job.folder / "run.json").read_text())
    assert content["segments"]["path"] == str(job.folder / "maps" / "segments.mrc")
    labels = mrcfile.read(job.folder / "maps" / "segments.mrc")
    still, moving = (tuple(int(place) for place in centre) for centre in (phantoms.STILL, phantoms.MOVING))
    assert (labels[still], labels[moving]) == (1, 2)
    assert any("of the segments given" in note for note in content["notes"])


def test_what_are_no_segments_is_refused_before_anything_is_written(run, home, pair, parts):
    for typed, said in (
        ("domains #1", r"its values are not whole numbers"),
        ("domains #4/A", "has 1 segment in the box"),
        ("domains #9", "Expected a number, a map of whole numbers, or atoms"),
    ):
        with pytest.raises(UserError, match=said):
            run(f"cryotrans train #1 to #2 {typed}")
    assert not (home / "CryoTRANS").exists()
