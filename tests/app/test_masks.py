"""Masks of the user's own in cryotrans train, maps and atoms, where they are displayed."""

from __future__ import annotations

import json

import mrcfile
import numpy as np
import phantoms
import pytest
from chimerax.core.errors import UserError

SETTINGS = "steps 2 loss w2 w2Iter 2 depth 2 width 8 device cpu seed 7 wait true"


@pytest.fixture
def masks(run, pair, tmp_path):
    """#3, a mask of the left half of the box, moved away from #1 as #1 is moved; #4, an atom in its still domain."""
    half = np.zeros(phantoms.SHAPE, np.float32)
    half[..., : phantoms.SHAPE[2] // 2] = 1
    run(f'open "{phantoms.write_mrc(tmp_path / "half.mrc", half)}"')
    from chimerax.atomic import AtomicStructure
    from chimerax.atomic.struct_edit import add_atom

    model = AtomicStructure(pair[0].session, name="part")
    residue = model.new_residue("GLY", "A", 1)
    add_atom("CA", "C", residue, np.multiply(phantoms.STILL[::-1], phantoms.VOXEL_SIZE[::-1]))
    pair[0].session.models.add([model])
    return model


@pytest.mark.parametrize("mask", ["#3", "#4", "#4/A:1"])
def test_what_is_masked_is_trained_on_and_carried(session, run, home, pair, masks, mask):
    run("move x 30 models #1-4")
    job = run(f"cryotrans train #1 to #2 mask {mask} toMask #3 {SETTINGS}")
    content = json.loads((job.folder / "run.json").read_text())
    assert set(content["masks"]) == {"initial", "target"}
    kept = mrcfile.read(job.folder / "initial_mask.mrc")
    assert kept[tuple(int(place) for place in phantoms.STILL)] == 1
    assert kept[tuple(int(place) for place in phantoms.MOVING)] == 0
    first = job.series.maps[0].full_matrix()
    assert first[..., 15:].max() == 0 and first.max() == pytest.approx(pair[0].full_matrix().max())
    assert "keeps " in " ".join(session.test_log.texts("info"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("mask #5", r"is no mask \(mask\): its values run from"),
        ("toMask #1,3", "names 2 maps and 0 atoms; wanted is one map, or atoms"),
        ("toMask #9", "names 0 maps and 0 atoms"),
        ("mask #4", "No atom of #4 part .mask. lies in the box of A"),
    ],
)
def test_what_is_no_mask_is_refused_before_anything_is_written(session, run, home, pair, masks, typed, said):
    run("volume scale #3 factor 9 modelId #5")
    run("move x 500 models #4")
    with pytest.raises(UserError, match=said):
        run(f"cryotrans train #1 to #2 {typed}")
    assert not (home / "CryoTRANS").exists()


def test_half_maps_are_the_targets_two(run, home, pair, tmp_path):
    random = np.random.default_rng(1).normal(0, 0.05, phantoms.SHAPE)
    for name, sign in (("a", 1), ("b", -1)):
        half = (pair[1].full_matrix() + sign * random).astype(np.float32)
        run(f'open "{phantoms.write_mrc(tmp_path / f"{name}.mrc", half)}"')
    with pytest.raises(UserError, match="halfMaps names 1 maps; wanted are the two half maps"):
        run(f"cryotrans train #1 to #2 halfMaps #3 {SETTINGS}")
    job = run(f"cryotrans train #1 to #2 halfMaps #3,4 {SETTINGS}")
    content = json.loads((job.folder / "run.json").read_text())
    paths = [half["path"] for half in content["half_maps"]]
    assert paths == [str(job.folder / "maps" / f"half_{number}.mrc") for number in (1, 2)]
    assert 0.9 < content["ceiling"] < 1
