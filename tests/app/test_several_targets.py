"""cryotrans train #1 to #2,3: one run, one series, from the command to the list of runs."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import phantoms
import pytest
from chimerax.core.errors import UserError

SMALL = "depth 2 width 8 w2Iter 2 device cpu"


@pytest.fixture
def three(session, run, home, pair, tmp_path):
    """A third conformation beside the pair, as #3."""
    path = phantoms.write_mrc(tmp_path / "C.mrc", phantoms.two_domains(2))
    [model] = run(f'open "{path}" name C')
    run("volume #3 style surface level 0.4")
    return [*pair, model]


def _content(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_a_way_through_several_maps_is_one_series(session, run, three):
    job = run(f"cryotrans train #1 to #2,3 steps 2 period 1 {SMALL} wait true")
    content = _content(job.folder)
    assert content["state"] == "finished" and content["legs"] == ["leg_1", "leg_2"]
    assert job.folder.name == "A_to_B_to_C" and str(job).startswith("CryoTRANS A → B → C")
    levels = [_content(job.folder / leg)["options"]["target_level"] for leg in content["legs"]]
    assert levels == pytest.approx([phantoms.LEVEL, 0.4])
    assert len(job.series.maps) == 21 and job.series.name == "CryoTRANS A → B → C"
    assert not any(model.display for model in three)
    maps = [mrcfile.read(job.folder / "maps" / f"target_{number}.mrc") for number in (1, 2)]
    for density, share in zip(maps, (1, 2)):
        np.testing.assert_array_equal(density, phantoms.two_domains(share))
    log = "\n".join(session.test_log.texts("info"))
    assert "leg 2 of 2, step 2 of 2" in log and "leg 2 of 2, 2 of 2 (finished)" in log and "Leg 1: " in log
    assert "#2 B at level 0.5 to #3 C at level 0.4" in log
    assert all(f"leg_{number}/report.html" in log.replace("%2F", "/") for number in (1, 2))
    assert "cxcmd:cryotrans%20resume" not in log

    series = run("cryotrans predict #1 frames 3 reverse true wait true")
    assert series.name == "CryoTRANS C → B → A" and len(series.maps) == 3
    with pytest.raises(UserError, match="each of which begins where the best checkpoint"):
        run("cryotrans predict #1 checkpoint 1 wait true")
    with pytest.raises(UserError, match=r"All legs of the run in .* are finished"):
        run(f'cryotrans resume "{job.folder}" wait true')
    [found] = run("cryotrans runs")
    assert found.title() == "A → B → C" and found.state() == "finished"
    table = session.test_log.texts("info")[-1]
    assert "A → B → C" in table and "leg 2 of 2: 2 of 2" in table


def test_maps_come_in_the_order_typed(session, run, three):
    job = run(f"cryotrans train #1 to #3,2 steps 1 {SMALL} open false wait true")
    assert job.name == "A → C → B"
    assert [Path(target["path"]).name for target in _content(job.folder)["targets"]] == ["target_1.mrc", "target_2.mrc"]
    np.testing.assert_array_equal(mrcfile.read(job.folder / "maps" / "target_1.mrc"), phantoms.two_domains(2))
    job = run(f"cryotrans train #1 to #2-3 toLevel 0.45 steps 1 {SMALL} open false wait true")
    assert job.name == "A → B → C"
    assert [target["level"] for target in _content(job.folder)["targets"]] == [0.45, 0.45]


def test_a_stop_keeps_the_leg_and_resume_goes_on(session, run, three):
    job = run(f"cryotrans train #1 to #2,3 steps 1000000 period 20 {SMALL} wait false")
    said = "leg 1 of 2, step 20 of"
    assert session.ui.wait_for(lambda: any(said in text for text in session.test_log.texts("info")), 60)
    assert any("leg 1 of 2, step" in text for text in session.test_log.texts("status"))
    assert run(f"cryotrans stop {job.id}") == [job]
    assert session.ui.wait_for(lambda: job.done, 60)
    assert job.error is None and len(job.series.maps) == 11  # of the leg that there is
    assert "cxcmd:cryotrans%20resume" in session.test_log.texts("info")[-1]
    [found] = run("cryotrans runs")
    assert found.state() == "stopped" and "resume" in session.test_log.texts("info")[-1]
    step = _content(job.folder / "leg_1")["step"]
    resumed = run(f'cryotrans resume "{job.folder}" steps {step + 1} wait true')
    assert _content(job.folder)["state"] == "finished" and len(resumed.series.maps) == 21
    assert [_content(job.folder / leg)["step"] for leg in ("leg_1", "leg_2")] == [step + 1, step + 1]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("#1 to #1,2", "is both the initial and the target map"),
        ("#1 to #2,2", "comes twice in a row"),
        (f"#1 to #2,3 weights '{__file__}'", "weights belongs to one flow"),
        ("#1 to #2,3 validate #2", "validate belongs to one flow"),
        ("#1 to #2,3 toLevel 99", "99"),
        ("#1 to #7", "Must specify one map"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(run, three, home, command, said):
    with pytest.raises(UserError, match=said):
        run(f"cryotrans train {command}")
    assert not (home / "CryoTRANS").exists()
