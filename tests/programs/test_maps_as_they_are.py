"""Maps in the shape that users have them: packed, on other grids, without a voxel size, leaving their box."""

from __future__ import annotations

import os
import subprocess

import mrcfile
import numpy as np
import pytest
from phantoms import LEVEL, SHAPE, VOXEL_SIZE, two_domains, write_mrc
from running import call, run_json, training, weights_file
from test_programs import read_frames, threshold


def train_on(folder, capsys, initial, target, *more: object, n_steps: int = 3):
    line = training(folder, folder / "run", n_steps, 3, *more)
    line[line.index("-i0") + 1], line[line.index("-i1") + 1] = initial, target
    return call(capsys, *line)


@pytest.mark.parametrize(("compression", "suffix"), [("gzip", ".gz"), ("bzip2", ".bz2")])
def test_packed_maps_train_as_plain_ones(maps, tmp_path, capsys, compression, suffix):
    names = [tmp_path / f"{time}.mrc{suffix}" for time in (0, 1)]
    for time, name in enumerate(names):
        write_mrc(name, two_domains(time), compression=compression)
    assert train_on(tmp_path, capsys, *names).status == 0
    assert call(capsys, *training(maps, tmp_path / "plain", 3, 3)).status == 0
    assert (tmp_path / "run" / "loss.log").read_bytes() == (tmp_path / "plain" / "loss.log").read_bytes()
    line = ["predict", "-i", names[0], "-t", LEVEL, "-d", tmp_path / "out", "-w", tmp_path / "run" / "net.pt"]
    assert call(capsys, *line).status == 0
    np.testing.assert_array_equal(read_frames(tmp_path / "out")[0], threshold(two_domains()))


def test_a_target_on_another_grid_is_resampled_and_the_user_told(maps, tmp_path, capsys):
    """Cut out of the target so that it is the same but for its box: training goes the same way."""
    cut = write_mrc(tmp_path / "cut.mrc", two_domains(1)[2:19, 1:22, 2:26], nstart=(5, -3, 7))
    result = train_on(tmp_path, capsys, maps / "initial.mrc", cut)
    assert result.status == 0, result.err
    assert (
        "cut.mrc (24x21x17 voxels of 1.5 Å at 10.5, -4.5, 7.5 Å) is resampled onto the grid of initial.mrc "
        "(28x24x20 voxels of 1.5 Å at 7.5, -6, 4.5 Å)." in result.err
    )
    assert call(capsys, *training(maps, tmp_path / "whole", 3, 3)).status == 0
    losses, expected = (np.loadtxt(tmp_path / name / "loss.log") for name in ("run", "whole"))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_maps_on_one_grid_are_not_resampled(finished):
    assert "resampled" not in finished.result.err


def test_a_voxel_size_of_zero_is_warned_of(tmp_path, capsys):
    names = [write_mrc(tmp_path / f"{time}.mrc", two_domains(time), voxel_size=(0, 0, 0)) for time in (0, 1)]
    result = train_on(tmp_path, capsys, *names)
    assert result.status == 0
    assert [line for line in result.err.splitlines() if line.startswith("Warning")] == [
        "Warning: 0.mrc says no voxel size; 1 Å is taken.",
        "Warning: 1.mrc says no voxel size; 1 Å is taken.",
    ]


def test_a_missing_voxel_size_is_taken_from_the_other_map(maps, tmp_path, capsys):
    name = write_mrc(tmp_path / "1.mrc", two_domains(1), voxel_size=(0, 0, 0))
    result = train_on(tmp_path, capsys, maps / "initial.mrc", name)
    assert "Warning: 1.mrc says no voxel size; that of initial.mrc is taken." in result.err
    assert "resampled" not in result.err


def test_other_boxes_without_voxel_sizes_are_laid_on_each_other(tmp_path, capsys):
    names = [
        write_mrc(tmp_path / "0.mrc", two_domains(0), voxel_size=(0, 0, 0)),
        write_mrc(tmp_path / "1.mrc", two_domains(1)[:, :22, :27], voxel_size=(0, 0, 0)),
    ]
    result = train_on(tmp_path, capsys, *names)
    assert result.status == 0, result.err
    assert "1.mrc (27x22x20 voxels of unknown size) is resampled" in result.err


def test_voxels_that_are_no_cubes_are_warned_of(tmp_path, capsys):
    names = [write_mrc(tmp_path / f"{time}.mrc", two_domains(time), voxel_size=(2, 1.5, 1.5)) for time in (0, 1)]
    result = train_on(tmp_path, capsys, *names)
    assert "Warning: The voxels of 0.mrc are not cubes" in result.err


def test_a_binning_that_does_not_divide_the_box_pads_it(maps, tmp_path, capsys):
    result = call(capsys, *training(maps, tmp_path / "run", 3, 3, "-b", 3))
    assert result.status == 0, result.err
    assert "The box does not divide by 3: it is padded with empty voxels." in result.err


def test_a_binning_that_divides_the_box_is_not_remarked(maps, tmp_path, capsys):
    result = call(capsys, *training(maps, tmp_path / "run", 3, 3, "-b", 2))
    assert (result.status, "padded" in result.err) == (0, False)


@pytest.mark.parametrize(
    ("nstart", "origin"), [((3, -4, 5), (0, 0, 0)), ((0, 0, 0), (10.5, -3, 0.75)), ((3, -4, 5), (-20, 30, 40))]
)
def test_frames_lie_where_the_map_lay(tmp_path, capsys, nstart, origin):
    name = write_mrc(tmp_path / "0.mrc", two_domains(), nstart=nstart, origin=origin)
    line = ["predict", "-i", name, "-d", tmp_path / "out", "-w", weights_file(tmp_path / "still.pt")]
    assert call(capsys, *line, "--frames", 2).status == 0
    for path in (tmp_path / "out").iterdir():
        header = mrcfile.open(path, header_only=True).header
        assert (header.nzstart, header.nystart, header.nxstart) == nstart
        assert header.origin.tolist() == origin[::-1]
        assert header.cella.tolist() == pytest.approx([n * size for n, size in zip(SHAPE[::-1], VOXEL_SIZE)])


# Mass that leaves the box

OUT_BY_TEN = (10 / 28, 0, 0)  # voxels along z, in units of the longest side


def share_outside(density: np.ndarray, n_voxels: int) -> float:
    return density[-n_voxels:].sum(dtype=float) / density.sum(dtype=float)


def test_mass_that_leaves_the_box_in_prediction_is_counted(maps, tmp_path, capsys):
    weights = weights_file(tmp_path / "out.pt", shift=OUT_BY_TEN)
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", tmp_path / "out", "-w", weights]
    result = call(capsys, *line)
    share = share_outside(threshold(two_domains()), 10)
    assert share > 0.2
    assert f"Warning: Up to {share:.2%} of the mass leaves the box" in result.err
    np.testing.assert_allclose(read_frames(tmp_path / "out")[-1][10:], threshold(two_domains())[:-10], atol=1e-4)


def test_mass_that_leaves_the_box_in_training_is_counted(maps, tmp_path, capsys):
    weights = weights_file(tmp_path / "out.pt", (3, 12, 3), shift=OUT_BY_TEN)
    line = training(maps, tmp_path / "run", 0, 1, "-w", weights)
    result = call(capsys, *line)
    share = share_outside(threshold(two_domains()), 10)
    assert run_json(tmp_path / "run")["mass_outside"] == pytest.approx(share, rel=1e-4)
    assert f"Warning: {share:.2%} of the mass has left the box at step 0" in result.err
    assert result.err.splitlines()[-1].endswith(f"{share:.2%} of the mass lies outside the box.")


@pytest.mark.parametrize("loss", [[], ["--l2"]])
def test_all_mass_may_leave_the_box(maps, tmp_path, capsys, loss):
    weights = weights_file(tmp_path / "out.pt", (3, 12, 3), shift=(3, 3, 3))
    result = call(capsys, *training(maps, tmp_path / "run", 2, 1, "-w", weights, *loss))
    assert result.status == 0, result.err
    assert run_json(tmp_path / "run")["mass_outside"] == 1
    assert "100.00% of the mass lies outside the box." in result.err


def test_mass_that_stays_is_not_remarked(finished):
    assert "mass" not in finished.result.err
    assert run_json(finished.directory)["mass_outside"] == 0


def test_a_flow_of_another_grid_is_warned_of(finished, tmp_path, capsys):
    name = write_mrc(tmp_path / "0.mrc", two_domains(), voxel_size=(2, 2, 2))
    result = call(capsys, "predict", "-i", name, "-d", tmp_path, "-w", finished.directory / "net.pt")
    assert result.status == 0
    assert "Warning: net.pt was trained on initial.mrc, another grid than that of 0.mrc" in result.err


@pytest.mark.parametrize("content", ["{", "[]", '{"options": {}, "initial": 3}', '{"options": {}, "initial": {}}'])
def test_a_damaged_run_file_beside_the_weights_is_passed_over(maps, tmp_path, capsys, content):
    weights = weights_file(tmp_path / "net.pt")
    (tmp_path / "run.json").write_text(content)
    result = call(capsys, "predict", "-i", maps / "initial.mrc", "-d", tmp_path, "-w", weights)
    assert (result.status, "Warning" in result.err) == (0, False)


def test_a_map_may_come_through_a_pipe(maps, tmp_path, capsys):
    """As in `-i0 <(zcat map.gz)`; such a run cannot be resumed, and says so."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", 'cat "$0" > "$1"', maps / "initial.mrc", pipe]):
        result = train_on(tmp_path, capsys, pipe, maps / "target.mrc")
    assert result.status == 0, result.err
    assert run_json(tmp_path / "run")["initial"]["sha256"] is None
    resumed = call(capsys, "train", "--resume", "-d", tmp_path / "run", "-n", 9)
    assert (resumed.status, "no file" in resumed.err) == (2, True)


def test_one_map_twice_trains(maps, tmp_path, capsys):
    assert train_on(tmp_path, capsys, maps / "initial.mrc", maps / "initial.mrc").status == 0


def test_a_level_that_keeps_one_voxel_trains(maps, tmp_path, capsys):
    highest = float(two_domains().max())
    result = train_on(tmp_path, capsys, maps / "initial.mrc", maps / "target.mrc", "-t0", repr(highest))
    assert result.status == 0, result.err
    assert run_json(tmp_path / "run")["n_points"] == 1


def test_level_zero_trains(maps, tmp_path, capsys):
    result = train_on(tmp_path, capsys, maps / "initial.mrc", maps / "target.mrc", "-t0", 0, "-t1", 0)
    assert result.status == 0, result.err
    assert run_json(tmp_path / "run")["n_points"] > 1000
