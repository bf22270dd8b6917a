"""Trainings that a verdict was once wrong about, on a made-up molecule of known motion, small enough for seconds."""

import numpy as np
import pytest
from chains import lobe
from phantoms import write_mrc
from running import run, run_json

from chimerax.cryotrans.engine.carrying.prediction import carry
from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.maps.demo_pair import make_demo_pair
from chimerax.cryotrans.engine.maps.mrc_file import read_map

VOXEL, SHAPE = 2.4, (28, 30, 38)  # Å; z, y, x
LEVEL = "0.24"


@pytest.fixture(scope="module")
def pair():
    return make_demo_pair()


def _density(atoms: np.ndarray, resolution: float, shape: tuple[int, int, int] = SHAPE, voxel=VOXEL) -> np.ndarray:
    """Gaussians by sums over the whole box; maximum 1."""
    sigma = 0.225 * resolution
    z, y, x = (np.exp(-((np.arange(n) * voxel - atoms[:, [k]]) ** 2) / (2 * sigma**2)) for k, n in enumerate(shape))
    density = np.einsum("az,ay,ax->zyx", z, y, x, optimize=True)
    return density / density.max()


def _trained(folder, initial, target, levels=(LEVEL, LEVEL), voxel=VOXEL):
    maps = [
        write_mrc(folder / f"{name}.mrc", density.astype(np.float32), (voxel,) * 3)
        for name, density in (("initial", initial), ("target", target))
    ]
    words = ["-i0", maps[0], "-i1", maps[1], "-t0", levels[0], "-t1", levels[1], "-d", folder / "run"]
    done = run("train", *words, "--recipe", "auto", "--seed", "0", "--no-report")
    assert done.status == 0, done.err
    return folder / "run", run_json(folder / "run")


def _rmsd(pair, directory, folder) -> float:
    [carried] = carry(pair.initial_atoms, read_map(folder / "initial.mrc"), load_weights(directory / "net.pt"))
    off = (carried - pair.target_atoms)[pair.is_alpha]
    return float(np.sqrt((off**2).sum(1).mean()))


def test_a_target_that_lacks_a_domain_is_not_good_and_the_part_is_named(pair, tmp_path):
    there = pair.initial_atoms[:, 2] < pair.initial_atoms[:, 2].max() - 26
    target = _density(pair.target_atoms[there], 6)
    _, content = _trained(tmp_path, _density(pair.initial_atoms, 5), target)
    assert content["verdict"]["word"] != "good"
    assert "has no partner in target.mrc" in " ".join(content["verdict"]["reasons"])


def test_a_mirror_image_is_never_good(tmp_path):
    """Of chains that fold at random: of bundles of helices, as those of the demo, it looks like the original."""
    voxel, shape = 3.0, (18, 18, 24)
    way, middle = np.array((0.0, 0.0, 10.0)), (np.array(shape) - 1) / 2 * voxel
    atoms = np.concatenate((lobe(45, 10.0, 1) - way, lobe(45, 10.0, 2) + way))
    initial, target = (
        _density(each + middle, resolution, shape, voxel) for each, resolution in ((atoms, 5), (atoms * (1, 1, -1), 7))
    )
    _, content = _trained(tmp_path, initial, target, voxel=voxel)
    assert content["verdict"]["word"] != "good"
    assert "strain" in " ".join(content["verdict"]["reasons"])


def test_the_same_state_at_a_lower_resolution_is_good(pair, tmp_path):
    _, content = _trained(tmp_path, _density(pair.initial_atoms, 5), _density(pair.initial_atoms, 9))
    assert content["verdict"]["word"] == "good", content["verdict"]["reasons"]


def test_a_sharpened_target_is_good_where_it_is_right(pair, tmp_path):
    target = _density(pair.target_atoms, 7)
    frequencies = np.meshgrid(*(np.fft.fftfreq(n, VOXEL) for n in SHAPE), indexing="ij")
    square = sum(each**2 for each in frequencies)
    sharp = np.fft.ifftn(np.fft.fftn(target) * np.exp(100 / 4 * square)).real  # B = -100 Å²
    directory, content = _trained(tmp_path, _density(pair.initial_atoms, 5), sharp / sharp.max())
    assert _rmsd(pair, directory, tmp_path) < 1.5
    assert content["verdict"]["word"] == "good", content["verdict"]["reasons"]


def test_a_level_of_half_the_maximum_is_good_where_it_is_right(pair, tmp_path):
    directory, content = _trained(
        tmp_path, _density(pair.initial_atoms, 5), _density(pair.target_atoms, 7), ("0.5", "0.5")
    )
    assert _rmsd(pair, directory, tmp_path) < 1.5
    assert content["verdict"]["word"] == "good", content["verdict"]["reasons"]
