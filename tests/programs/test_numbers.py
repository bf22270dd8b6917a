"""What a run comes to does not depend on the units of density, on where the maps lie, or on how numbers are stored."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
import torch
from phantoms import LEVEL, VOXEL_SIZE, two_domains, write_mrc
from running import call

SMALL = ("-n", 4, "-p", 2, "--depth", 2, "--width", 8, "--w2_iter", 2, "--lr", 5e-3, "--seed", 7, "--device", "cpu")
pytestmark = pytest.mark.filterwarnings("ignore:overflow")  # mrcfile writes the mean square into headers

SHAPE = (18, 18, 22)
LARGE = 2.0**100  # 1.3e30; a power of two changes no digit of a float


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def losses(tmp_path, capsys):
    """losses("name", densities, level, ...) trains on two maps so written; the file of losses."""

    def losses(name, densities, level, **placed) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        for role, density in zip(("initial", "target"), densities):
            write_mrc(folder / f"{role}.mrc", density, **placed)
        maps = ["-i0", folder / "initial.mrc", "-t0", level, "-i1", folder / "target.mrc", "-t1", level]
        result = call(capsys, "train", *maps, "-d", folder / "run", *SMALL, "--no-report")
        assert (result.status, "Warning" in result.err) == (0, False), result.err
        return (folder / "run" / "loss.log").read_bytes()

    return losses


def densities(scale: float = 1.0) -> list[np.ndarray]:
    return [two_domains(time, SHAPE) * np.float32(scale) for time in (0.0, 1.0)]


@pytest.mark.parametrize("scale", [1 / LARGE, LARGE])
def test_the_unit_of_density_changes_no_digit_of_the_losses(losses, scale):
    assert losses("scaled", densities(scale), repr(LEVEL * scale)) == losses("as it is", densities(), LEVEL)


@pytest.mark.parametrize("placed", [{"origin": (-70.0, 300.0, 12.5)}, {"nstart": (5, -9, 100)}])
def test_the_place_of_both_maps_changes_no_digit_of_the_losses(losses, placed):
    assert losses("placed", densities(), LEVEL, **placed) == losses("as it is", densities(), LEVEL)


def test_the_unit_of_length_changes_no_digit_of_the_losses(losses):
    tens = {"voxel_size": tuple(16 * size for size in VOXEL_SIZE)}
    assert losses("larger", densities(), LEVEL, **tens) == losses("as it is", densities(), LEVEL)


@pytest.mark.parametrize("kind", ["i1", "i2", "u2", "f2"])
def test_values_of_every_kind_train_alike(losses, kind):
    values = [np.clip(np.rint(64 * density), 0, 127) for density in densities()]
    alike = [density.astype(np.float32) for density in values]
    assert losses("stored", [each.astype(kind) for each in values], 32) == losses("floats", alike, 32)


def test_half_floats_that_are_infinite_are_refused(tmp_path, capsys):
    density = two_domains(shape=SHAPE).astype(np.float16)
    density[3, 4, 5] = np.inf  # what 1e5 becomes
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        mrcfile.write(tmp_path / "half.mrc", density)
    maps = ["-i0", tmp_path / "half.mrc", "-t0", LEVEL, "-i1", tmp_path / "half.mrc", "-t1", LEVEL]
    result = call(capsys, "train", *maps, "-d", tmp_path / "run", *SMALL)
    assert result.status == 2 and "1 of 7,128 voxels are NaN or infinite" in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("density", "said"),
    [
        (-np.abs(two_domains(shape=SHAPE)) - 1, "there is no density above zero to move"),
        (np.ones((1, 1, 1), np.float32), "is a single 2-D image"),
        (np.ones((2, 1, 2), np.float32), "is one voxel thin, 2x1x2 voxels"),
        (np.ones((2, 2, 1), np.float32), "is one voxel thin, 1x2x2 voxels"),
    ],
)
def test_maps_of_nothing_are_refused_in_a_sentence(tmp_path, capsys, density, said):
    with mrcfile.new(tmp_path / "a.mrc", density) as file:
        file.set_volume()
    maps = ["-i0", tmp_path / "a.mrc", "-t0", 0.1, "-i1", tmp_path / "a.mrc", "-t1", 0.1]
    result = call(capsys, "train", *maps, "-d", tmp_path / "run", *SMALL)
    assert result.status == 2 and said in result.err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_gradient_that_is_no_number_ends_training_at_the_last_good_state(tmp_path, capsys, monkeypatch):
    from chimerax.cryotrans.engine.training.training import Training

    evaluate = Training.evaluate

    def spoiled(self):
        evaluate(self)
        if self.step == 3:  # the loss is a number, its derivative is not
            next(self.velocity.parameters()).grad[0, 0] = float("nan")

    monkeypatch.setattr(Training, "evaluate", spoiled)
    for role, density in zip(("initial", "target"), densities()):
        write_mrc(tmp_path / f"{role}.mrc", density)
    maps = ["-i0", tmp_path / "initial.mrc", "-t0", LEVEL, "-i1", tmp_path / "target.mrc", "-t1", LEVEL]
    result = call(capsys, "train", *maps, "-d", tmp_path / "run", *SMALL, "--no-report", "-n", 8)
    assert result.status == 2
    assert "The loss is not a number any more at step 4: training has diverged." in result.err.splitlines()[-1]
    assert "The checkpoint of step 2" in result.err.splitlines()[-1]
    for name in ("net_0.pt", "net_1.pt"):
        state = torch.load(tmp_path / "run" / name, weights_only=True)
        assert all(bool(value.isfinite().all()) for value in state.values())
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 2
    assert not (tmp_path / "run" / "net.pt").exists() and not (tmp_path / "run" / "net_2.pt").exists()
