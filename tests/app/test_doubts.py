"""What ChimeraX's Log says of doubtful maps: at once, once, of the models, with a command that mends it."""

from __future__ import annotations

import re
import sys

import numpy as np
import phantoms
import pytest
from chimerax.core.errors import UserError

from chimerax.cryotrans.app.settings import user_settings
from chimerax.cryotrans.app.volumes import density_map_of
from chimerax.cryotrans.app.wording import in_models
from chimerax.cryotrans.engine.maps.inspection import doubts_about

HOT = (2, 3, 4)  # voxel, z, y, x
NO_TORCH = (
    "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def _hot(density):
    density = density.copy()
    density[HOT] = 500
    return density


def _open(run, path, density, level, **header):
    [model] = run(f'open "{phantoms.write_mrc(path, density, **header)}"')
    run(f"volume #{model.id_string} style surface level {level}")
    return model


@pytest.fixture
def without_torch(session, home, tmp_path):
    """Workers are the real one, but end where they import PyTorch."""
    (tmp_path / "worker.py").write_text(NO_TORCH)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || set -- "{tmp_path}/worker.py" "$@"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    user_settings(session).python = str(python)


@pytest.fixture
def warned(session, run, without_torch):
    """The warnings of a training of #1 to #2 that comes no further than PyTorch."""

    def warned(target="#2"):
        with pytest.raises(UserError, match="torch"):
            run(f"cryotrans train #1 to {target} wait true")
        return session.test_log.texts("warning")

    return warned


def _typed(warning):
    """The command that a warning offers."""
    [command] = re.findall(r"\(type: (.*?)(?:, which [^)]*)?\)", warning)
    return command


DOUBTS = {
    "hot": (_hot(phantoms.two_domains(1.0)), phantoms.LEVEL, "is hot"),
    "inverted": (-phantoms.two_domains(1.0), 0.015, "looks inverted"),
    "background": (phantoms.two_domains(1.0) + 5, 5.5, "is not zero"),
    "level": (phantoms.two_domains(1.0) + 0.1, 0.05, "of the box of"),
}


@pytest.mark.parametrize(("density", "level", "said"), DOUBTS.values(), ids=DOUBTS)
@pytest.mark.parametrize("moved", [False, True])
def test_the_command_that_is_offered_mends_the_map(session, run, warned, pair, tmp_path, density, level, said, moved):
    run("close #2")
    target = _open(run, tmp_path / "other.mrc", density, level)
    if moved:  # both: the command tells a place in the frame of the initial map
        run("move x 7 models #1,2; turn z 30 models #1,2 center 0,0,0")
    [warning] = [text for text in warned() if said in text]
    assert "#2 other.mrc" in warning and "target.mrc" not in warning
    mended = run(_typed(warning)) or target
    mended = mended[0] if isinstance(mended, list) else mended
    shown = phantoms.LEVEL if mended is not target else min(surface.level for surface in mended.surfaces)
    left = doubts_about(density_map_of(mended), shown)
    assert not any(said in text for text in left), left
    if said == "is hot":
        expected = phantoms.two_domains(1.0)
        found = mended.full_matrix()
        apart = np.abs(found - expected) > 1e-4
        assert apart.sum() <= 1 and abs(found[HOT] - expected[HOT]) < 0.05  # the voxel and no other


@pytest.mark.parametrize("origin", [-3.9, -4.4])  # Å: shared out among eight by interpolation, or not
def test_a_hot_voxel_on_another_grid_is_told_once_and_erased(run, warned, pair, tmp_path, origin):
    run("close #2")
    density = np.zeros((26, 30, 34), np.float32)
    density[3:23, 3:27, 3:31] = phantoms.two_domains(1.0)
    hot = density.copy()
    hot[5, 6, 7] = 500
    _open(run, tmp_path / "other.mrc", hot, phantoms.LEVEL, origin=(origin,) * 3)
    run("move x 2 models #2; turn y 20 models #1,2 center 0,0,0; move x -2 models #2 coordinateSystem #2")
    [warning] = [text for text in warned() if "is hot" in text]
    mended = run(_typed(warning))
    np.testing.assert_array_equal(np.argwhere(np.abs(mended.full_matrix() - hot) > 1e-4), [[5, 6, 7]])


def test_both_maps_are_named_by_their_models_and_each_doubt_is_said_once(run, warned, tmp_path):
    _open(run, tmp_path / "a.mrc", _hot(phantoms.two_domains(0.0)), phantoms.LEVEL)
    _open(run, tmp_path / "b.mrc", _hot(phantoms.two_domains(1.0)), phantoms.LEVEL)
    warnings = [text for text in warned() if "is hot" in text]
    assert [re.findall(r"of (#\d \w\.mrc)", text)[0] for text in warnings] == ["#1 a.mrc", "#2 b.mrc"]


def test_a_voxel_size_that_was_never_filled_in(run, warned, pair, tmp_path):
    run("close #2")
    _open(run, tmp_path / "unset.mrc", phantoms.two_domains(1.0), phantoms.LEVEL, voxel_size=(1.0, 1.0, 1.0))
    [warning] = [text for text in warned() if "never filled in" in text]
    assert warning.startswith("CryoTRANS: #2 unset.mrc (28x24x20 voxels of 1 Å)")
    run(f"{_typed(warning)} 1.5")
    assert not any("never filled in" in text for text in warned()[1:])


def test_density_that_is_left_out_is_told(run, warned, pair):
    """The box is moved until the face cuts the moving domain: what lies beyond, counted here voxel by voxel."""
    run("move x 13.5 models #2")  # nine voxels
    kept = phantoms.two_domains(1.0)
    kept = np.where(kept >= phantoms.LEVEL, kept, 0)
    share = kept[:, :, 28 - 9 :].sum() / kept.sum()
    assert 0.05 < share < 0.5
    [warning] = [text for text in warned() if "lies outside" in text]
    assert f"{share:.0%} of the density above 0.5 of #2 B lies outside the box of #1 A" in warning
    assert _typed(warning) == "fitmap #2 inMap #1"


def test_of_maps_as_they_should_be_nothing_is_said(warned, pair):
    assert warned() == []


class _Model:
    def __init__(self, number):
        self.id_string, self.name = str(number), f"map {number}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("target.mrc is noisy.", "#5 map 5 is noisy."),
        (
            "target.mrc is bad (in ChimeraX: volume scale #1 factor -1).",
            "#5 map 5 is bad (type: volume scale #5 factor -1).",
        ),
        (
            "target.mrc was not fitted to initial.mrc (in ChimeraX: fitmap #2 inMap #1).",
            "#5 map 5 was not fitted to #12 map 12 (type: fitmap #5 inMap #12).",
        ),
        ("There is no file /runs/maps/target.mrc.", "There is no file /runs/maps/target.mrc."),
        ("initial_mask.mrc keeps little.", "initial_mask.mrc keeps little."),
        (
            "own.mrc is bad (in ChimeraX: volume scale #1 factor -1).",
            "own.mrc is bad (in ChimeraX: volume scale #1 factor -1).",
        ),
    ],
)
def test_files_of_a_run_are_said_as_their_models(text, said):
    assert in_models(text, {"initial.mrc": _Model(12), "target.mrc": _Model(5)}) == said
