"""Noisy maps and doubtful ones, as both programs take them."""

from __future__ import annotations

import inspect
import math
import re
import shutil

import mrcfile
import numpy as np
import pytest
from phantoms import LEVEL, SHAPE, VOXEL_SIZE, blob, two_domains, write_mrc
from running import call, run_json, training
from test_programs import read_frames

from chimerax.cryotrans.engine.maps.demo_pair import make_demo_pair
from chimerax.cryotrans.engine.maps.relative_blur import estimate_blur
from chimerax.cryotrans.engine.training.recipe import AutoTraining

_SIDES = (40, 44, 48)


def _write_blobs(folder, noise):
    """Two blobs in much solvent, one of which moves, with noise of these standard deviations."""
    rng = np.random.default_rng(4)
    for name, move, sigma in zip(("initial", "target"), (0, 3), noise):
        clean = blob((20, 16, 20), _SIDES, 4) + blob((20, 26 + move, 26), _SIDES, 4)
        write_mrc(folder / f"{name}.mrc", (clean + rng.normal(0, sigma, _SIDES)).astype(np.float32))


@pytest.fixture
def noisy(tmp_path):
    """A folder with maps whose noise reaches the level in both."""
    _write_blobs(tmp_path, (0.3, 0.3))
    return tmp_path


def test_of_noisy_maps_both_programs_take_the_molecule_unless_told_not_to(noisy, capsys):
    n_points = {}
    for word in ("auto", "off"):
        run = noisy / word
        result = call(capsys, *training(noisy, run, 2, 2, "--conditioning", word))
        assert result.status == 0, result.err
        n_points[word] = run_json(run)["n_points"]
        for name in ("initial.mrc", "target.mrc"):
            assert (f"{name} is noisy: the noise of its solvent" in result.err) == (word == "auto")
        assert ("(--conditioning off keeps it)" in result.err) == (word == "auto")
        line = ["predict", "-i", noisy / "initial.mrc", "-t", LEVEL, "--run", run, "-d", noisy / f"frames_{word}"]
        assert call(capsys, *line, "--frames", 2).status == 0
    assert n_points["auto"] < 0.5 * n_points["off"]
    auto, off = (read_frames(noisy / f"frames_{word}")[0] for word in ("auto", "off"))
    assert auto[0].max() == 0 < off[0].max()
    middle = (slice(18, 23), slice(14, 19), slice(18, 23))
    np.testing.assert_array_equal(auto[middle], off[middle])  # not low-passed
    line = ["predict", "-i", noisy / "initial.mrc", "-t", LEVEL, "--run", noisy / "auto", "-d", noisy / "whole"]
    assert call(capsys, *line, "--frames", 2, "--conditioning", "off").status == 0
    np.testing.assert_array_equal(read_frames(noisy / "whole")[0], off)


@pytest.mark.parametrize("noise", [(0.0, 0.0), (0.0, 0.3), (0.3, 0.3)])
def test_recipe_auto_and_the_blur_are_told_of_noise(tmp_path, capsys, monkeypatch, noise):
    widths, masked = [], []

    class Told(AutoTraining):
        def __init__(self, *given, **named):
            widths.append(inspect.signature(AutoTraining).bind(*given, **named).arguments["low_pass"])
            super().__init__(*given, **named)

    def blur_of(initial, target, voxel_size, is_masked):
        masked.append(is_masked)
        return estimate_blur(initial, target, voxel_size, is_masked)

    monkeypatch.setattr("chimerax.cryotrans.engine.training.recipe.AutoTraining", Told)
    monkeypatch.setattr("chimerax.cryotrans.engine.maps.relative_blur.estimate_blur", blur_of)
    _write_blobs(tmp_path, noise)
    line = ["train", "-i0", tmp_path / "initial.mrc", "-t0", LEVEL, "-i1", tmp_path / "target.mrc", "-t1", LEVEL]
    line += ["-d", tmp_path / "run", "--recipe", "auto", "--flow", "network", "--width", 8, "--seed", 0, "--no-report"]
    result = call(capsys, *line, "-n", 1, "-p", 1)
    assert result.status == 0, result.err
    said = [float(resolution) for resolution in re.findall(r"low-passed to ([\d.]+) Å", result.err)]
    assert len(said) == np.count_nonzero(noise)
    assert widths == [pytest.approx(0.225 * math.hypot(*said))]
    assert masked == [any(noise)]


def test_clean_maps_train_the_same_to_the_last_digit(maps, tmp_path, capsys):
    for word in ("auto", "off"):
        assert call(capsys, *training(maps, tmp_path / word, 3, 3, "--conditioning", word)).status == 0
    assert (tmp_path / "auto" / "loss.log").read_bytes() == (tmp_path / "off" / "loss.log").read_bytes()


def test_the_recipes_have_defaults_of_their_own(maps, tmp_path, capsys):
    assert call(capsys, *training(maps, tmp_path / "published", 1, 1)).status == 0
    assert run_json(tmp_path / "published")["options"]["conditioning"] == "off"
    line = ["train", "-i0", maps / "initial.mrc", "-t0", LEVEL, "-i1", maps / "target.mrc", "-t1", LEVEL]
    line += ["-d", tmp_path / "auto", "--recipe", "auto", "-n", 1, "-p", 1, "--seed", 0, "--no-report", "--width", 8]
    result = call(capsys, *line)
    assert result.status == 0, result.err
    assert run_json(tmp_path / "auto")["options"]["conditioning"] == "auto"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"origin": (0, 0, -12.0)}, "% of the density above 0.5 of target.mrc lies outside the box of initial.mrc"),
        ({"voxel_size": (1, 1, 1)}, "have boxes of equal sides"),
        ({"mz": 1}, "says mz 1, which makes voxels of 1.5x1.5x30 Å: probably a stack's header, and 1.5 Å is meant"),
    ],
    ids=["outside", "1 Å", "mz"],
)
def test_geometry_is_not_taken_on_trust(tmp_path, capsys, change, said):
    density = two_domains()
    write_mrc(tmp_path / "initial.mrc", density)
    size = change.get("voxel_size", VOXEL_SIZE)
    write_mrc(tmp_path / "target.mrc", density, voxel_size=size, origin=change.get("origin", (0.0, 0.0, 0.0)))
    if "mz" in change:
        for name in ("initial", "target"):
            with mrcfile.open(tmp_path / f"{name}.mrc", "r+") as file:
                file.header.mz, file.header.cella.z = 1, SHAPE[0] * VOXEL_SIZE[0]
                file.header.ispg = 1
    result = call(capsys, *training(tmp_path, tmp_path / "run", 1, 1))
    assert result.status == 0, result.err
    assert said in result.err


def test_too_few_points_for_recipe_auto_are_said_before_any_training(maps, tmp_path, capsys):
    line = ["train", "-i0", maps / "initial.mrc", "-t0", 0.97, "-i1", maps / "target.mrc", "-t1", LEVEL]
    result = call(capsys, *line, "-d", tmp_path / "run", "--recipe", "auto")
    assert result.status == 2 and "too few to train on. Lower it." in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("conditioning", ["auto", "off"])
def test_with_masks_of_ones_own_what_they_mask_is_trained_on_and_carried(maps, tmp_path, capsys, conditioning):
    half = np.zeros(SHAPE, np.float32)
    half[..., : SHAPE[2] // 2] = 1
    shutil.copy(maps / "initial.mrc", tmp_path / "mask.mrc")
    with mrcfile.open(tmp_path / "mask.mrc", "r+") as file:
        file.set_data(half)
    run = tmp_path / "run"
    line = training(maps, run, 2, 2, "--conditioning", conditioning)
    whole = call(capsys, *training(maps, tmp_path / "whole", 2, 2, "--conditioning", conditioning))
    masks = ("--initial-mask", tmp_path / "mask.mrc", "--target-mask", tmp_path / "mask.mrc")
    result = call(capsys, *line, *masks)
    assert (whole.status, result.status) == (0, 0), result.err
    assert result.err.count("mask.mrc keeps ") == 2 and "what lies outside it does not count." in result.err
    content = run_json(run)
    assert 0 < content["n_points"] < run_json(tmp_path / "whole")["n_points"]
    assert content["masks"]["initial"]["path"] == str(tmp_path / "mask.mrc")
    assert {"initial_mask.mrc", "target_mask.mrc"} <= {*content["files"]}
    (tmp_path / "mask.mrc").unlink()  # a run does without the files it was begun with
    predict = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "--run", run, "-d", tmp_path / "frames"]
    assert call(capsys, *predict, "--frames", 2).status == 0
    frame = read_frames(tmp_path / "frames")[0]
    assert frame[..., SHAPE[2] // 2 :].max() == 0 < frame.max()
    resumed = call(capsys, "train", "--resume", "-d", run, "-n", 3)
    assert resumed.status == 0, resumed.err
    assert run_json(run)["n_points"] == content["n_points"]
    other = call(capsys, "train", "--resume", "-d", run, "-n", 4, "--initial-mask", maps / "initial.mrc")
    assert other.status == 2 and f"The run was begun with --initial-mask {tmp_path / 'mask.mrc'}" in other.err


def test_a_mask_may_be_the_model_of_what_counts(maps, tmp_path, capsys):
    gemmi = pytest.importorskip("gemmi")
    structure, model, chain, residue = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A"), gemmi.Residue()
    atom = gemmi.Atom()
    with mrcfile.open(maps / "initial.mrc") as file:
        place = np.array(np.unravel_index(np.argmax(file.data), file.data.shape))
        first = [int(file.header[f"n{axis}start"]) for axis in "zyx"]
    atom.pos = gemmi.Position(*((place + first) * VOXEL_SIZE)[::-1])
    atom.element = gemmi.Element("C")
    residue.name, residue.seqid = "GLY", gemmi.SeqId("1")
    residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    structure.write_pdb(str(tmp_path / "part.pdb"))
    result = call(capsys, *training(maps, tmp_path / "run", 1, 1), "--initial-mask", tmp_path / "part.pdb")
    assert result.status == 0, result.err
    assert "part.pdb keeps " in result.err
    mask = mrcfile.read(tmp_path / "run" / "initial_mask.mrc")
    assert mask[tuple(place)] == 1 and 0 < np.count_nonzero(mask) < mask.size / 2


def test_with_half_maps_the_noise_and_what_it_leaves_are_known(noisy, capsys):
    random = np.random.default_rng(8)
    target = mrcfile.read(noisy / "target.mrc")
    other = random.normal(0, 0.3, _SIDES).astype(np.float32)
    for name, half in (("a", target + other), ("b", target - other)):
        write_mrc(noisy / f"{name}.mrc", half)
    run = noisy / "run"
    line = training(noisy, run, 2, 2, "--conditioning", "auto", "--half-maps", noisy / "a.mrc", noisy / "b.mrc")
    result = call(capsys, *line)
    assert result.status == 0, result.err
    assert "The half maps of target.mrc agree to " in result.err
    assert "target.mrc is noisy: its noise by the half maps (standard deviation 0.3)" in result.err
    content = run_json(run)
    assert [half["path"] for half in content["half_maps"]] == [str(noisy / "a.mrc"), str(noisy / "b.mrc")]
    assert 0.8 < content["ceiling"] < 1
    resumed = call(capsys, "train", "--resume", "-d", run, "-n", 3)
    assert resumed.status == 0 and run_json(run)["ceiling"] == content["ceiling"], resumed.err
    wrong = call(capsys, *training(noisy, noisy / "wrong", 1, 1, "--half-maps", noisy / "a.mrc", noisy / "a.mrc"))
    assert wrong.status == 2 and "a.mrc and a.mrc are equal" in wrong.err and not (noisy / "wrong").exists()
    missing = call(capsys, *training(noisy, noisy / "wrong", 1, 1), "--half-maps", noisy / "a.mrc")
    assert missing.status == 2 and "--half-maps" in missing.err


def test_a_map_that_lies_elsewhere_than_in_training_is_doubted(maps, tmp_path, capsys):
    run = tmp_path / "run"
    assert call(capsys, *training(maps, run, 1, 1)).status == 0
    shutil.copy(maps / "initial.mrc", tmp_path / "recentred.mrc")
    with mrcfile.open(tmp_path / "recentred.mrc", "r+") as file:
        file.header.nxstart = file.header.nxstart + 4
    said = "lies 6 Å from where initial.mrc lay when net_1.pt was trained"
    for path, doubted in ((maps / "initial.mrc", False), (tmp_path / "recentred.mrc", True)):
        line = ["predict", "-i", path, "-t", LEVEL, "--run", run, "-d", tmp_path / f"frames_{doubted}", "--frames", 2]
        result = call(capsys, *line)
        assert result.status == 0 and (said in result.err) == doubted, result.err


def test_a_target_that_was_not_fitted_is_told_with_the_command(maps, tmp_path, capsys, monkeypatch):
    from chimerax.cryotrans.engine.judging.whole_motion import WholeMotion

    for large in (False, True):
        monkeypatch.setattr(
            "chimerax.cryotrans.programs.conclusion.whole_motion",
            lambda *_, large=large: WholeMotion(60.0 if large else 2.0, 1.0, 0.95, 50.0),
        )
        line = [word for word in training(maps, tmp_path / f"run_{large}", 1, 1) if word != "--no-report"]
        result = call(capsys, *line)
        assert result.status == 0, result.err
        assert ("target.mrc was not fitted to initial.mrc: fit it first" in result.err) == large
        assert "As a whole the map turns by" in (tmp_path / f"run_{large}" / "report.html").read_text(encoding="utf-8")


def test_a_belt_is_left_out_of_training_and_of_what_is_carried(tmp_path, capsys):
    pair = make_demo_pair()
    z, y, x = np.indices(pair.initial.grid_shape)
    belt = 0.8 * np.exp(-((np.hypot(z - 20, x - 28) - 15) ** 2) / 16 - (y - 10) ** 2 / 24)
    for name, density_map in (("initial", pair.initial), ("target", pair.target)):
        whole = np.maximum(density_map.density, belt).astype(np.float32)
        write_mrc(tmp_path / f"{name}.mrc", whole, voxel_size=density_map.voxel_size)
    n_points = {}
    for word in ("auto", "off"):
        result = call(capsys, *training(tmp_path, tmp_path / word, 1, 1, "--conditioning", word))
        assert result.status == 0, result.err
        assert ("lies still, as a belt of detergent or lipid does" in result.err) == (word == "auto")
        n_points[word] = run_json(tmp_path / word)["n_points"]
    assert n_points["auto"] < 0.8 * n_points["off"]
    predict = ["predict", "-i", tmp_path / "initial.mrc", "-t", LEVEL, "--run", tmp_path / "auto"]
    assert call(capsys, *predict, "-d", tmp_path / "frames", "--frames", 2).status == 0
    frame = read_frames(tmp_path / "frames")[0]
    assert frame[(belt > 0.7) & (pair.initial.density < 0.1)].max() < LEVEL / 2
    resumed = call(capsys, "train", "--resume", "-d", tmp_path / "auto", "-n", 2)
    assert resumed.status == 0, resumed.err
    assert run_json(tmp_path / "auto")["n_points"] == n_points["auto"]
