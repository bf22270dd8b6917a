"""Bad input gives one sentence that says what came and the way out, exit status 2, and nothing written or lost.

Every case runs in a folder that holds maps, weights, a finished run and frames, and must leave each byte of it alone.
"""

from __future__ import annotations

import bz2
import gzip
import os
import pickle
import shutil
import warnings

import mrcfile
import numpy as np
import pytest
import torch
from phantoms import LEVEL, SHAPE, blob, two_domains, write_mrc
from running import QUICK, call, contents, file_size_limit, run, training, weights_file


def _id(value: object) -> str | None:
    return " ".join(map(str, value))[:40] if isinstance(value, list) else None


class Touch:
    """What a pickle can do: here, make a file."""

    def __reduce__(self):
        return os.system, ("touch was_run",)


def write_bad_maps() -> None:
    """In the current folder, from initial.mrc."""
    with open("initial.mrc", "rb") as file:
        whole = file.read()
    files = {
        "empty.mrc": b"",
        "header.mrc": whole[:500],
        "truncated.mrc": whole[:-1],
        "text.mrc": b"Dear editor, please find the map attached. " * 100,
        "picture.mrc": b"\x89PNG\r\n\x1a\n" + bytes(2000),
        "truncated.mrc.gz": gzip.compress(whole)[:-300],
        "broken.mrc.gz": gzip.compress(whole)[:200] + bytes(3000),
        "truncated.mrc.bz2": bz2.compress(whole)[:-300],
    }
    for name, content in files.items():
        with open(name, "wb") as file:
            file.write(content)
    density = two_domains()
    for name, value in (("nan.mrc", np.nan), ("infinite.mrc", np.inf)):
        bad = density.copy()
        bad[3, 4, 5] = value
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of mrcfile, about what is meant here
            write_mrc(name, bad)
    write_mrc("zero.mrc", np.zeros(SHAPE, np.float32))
    write_mrc("negative.mrc", -np.abs(density))
    write_mrc("far.mrc", density, origin=(900.0, 0.0, 0.0))
    write_mrc("corner.mrc", blob((3, 3, 3)).astype(np.float32), origin=(-20.0, 0.0, 0.0))
    write_mrc("transform.mrc", density.astype(np.complex64))
    with mrcfile.new("stack.mrc", density, overwrite=True) as file:
        file.set_image_stack()
    mrcfile.write("image.mrc", density[0], overwrite=True)


def write_bad_weights() -> None:
    """In the current folder."""
    good = torch.load("good.pt", weights_only=True)
    odd = {
        "list.pt": [1, 2, 3],
        "number.pt": torch.zeros(3),
        "nothing.pt": {},
        "keys.pt": {"layer1.weight": torch.zeros(3, 3)},
        "more.pt": {**good, "w.n0.bias": torch.zeros(3)},
        "gap.pt": {key.replace("n1", "n2"): value for key, value in good.items()},
        "shape.pt": {**good, "v.n1.weight": torch.zeros(3, 4)},
        "scalars.pt": dict.fromkeys(good, torch.tensor(0.0)),
        "whole.pt": {key: value.int() for key, value in good.items()},
        "words.pt": dict.fromkeys(good, "0.1"),
        "nan.pt": {**good, "v.n1.bias": torch.tensor([0, float("nan"), 0])},
        "training.pt": {"model": good, "epoch": 3},
    }
    for name, content in odd.items():
        torch.save(content, name)
    with open("good.pt", "rb") as file:
        whole = file.read()
    for name, content in {
        "empty.pt": b"",
        "truncated.pt": whole[: len(whole) // 2],
        "text.pt": b"weights",
        "code.pt": pickle.dumps({"v.n0.weight": Touch()}),
    }.items():
        with open(name, "wb") as file:
            file.write(content)
    torch.save({"v.n0.weight": Touch()}, "code_in_zip.pt")


@pytest.fixture(scope="session")
def furnished(maps, finished, frames, tmp_path_factory):
    """A folder with all sorts of files, good and bad."""
    folder = tmp_path_factory.mktemp("furnished")
    before = os.getcwd()
    os.chdir(folder)
    try:
        for role in ("initial", "target"):
            shutil.copy(maps / f"{role}.mrc", folder)
        shutil.copytree(finished.directory, "run")
        shutil.copytree(frames, "frames")
        os.mkdir("published")
        for name in ("net.pt", "loss.log"):  # no run.json: of CryoTRANS 1.0.0
            shutil.copy(finished.directory / name, "published")
        os.symlink("nowhere", "dangling")
        os.mkdir("taken")
        weights_file("good.pt")
        write_bad_maps()
        write_bad_weights()
    finally:
        os.chdir(before)
    return folder


def refused(capsys, folder, *line: object) -> str:
    """The sentence that the program ends with."""
    before = contents(folder)
    result = call(capsys, *line)
    assert result.status == 2, result
    assert result.out == ""
    assert contents(folder) == before
    *notes, sentence = result.err.splitlines()
    assert all(note.startswith(("Warning: ", "Computing on ")) or "is resampled" in note for note in notes)
    assert sentence[-1] in ".?"
    return sentence


MAPS = [
    ("missing.mrc", "There is no file missing.mrc"),
    ("initial.mrc/map.mrc", "There is no file initial.mrc/map.mrc"),
    ("run", "run is a folder"),
    ("", "the name is empty"),
    ("empty.mrc", "empty.mrc is empty"),
    ("header.mrc", "header.mrc is truncated"),
    ("truncated.mrc", "truncated.mrc is truncated: 28x24x20 voxels need 53,760 bytes, 53,759 are there"),
    ("text.mrc", "text.mrc is not an MRC or CCP4 map but text"),
    ("picture.mrc", "picture.mrc is not an MRC or CCP4 map but a PNG image"),
    ("truncated.mrc.gz", "truncated.mrc.gz is a broken gzip file"),
    ("broken.mrc.gz", "broken.mrc.gz is a broken gzip file"),
    ("truncated.mrc.bz2", "truncated.mrc.bz2 is "),
    ("nan.mrc", "1 of 13,440 voxels are NaN or infinite"),
    ("infinite.mrc", "1 of 13,440 voxels are NaN or infinite"),
    ("stack.mrc", "stack.mrc is a stack of 20 2-D images"),
    ("image.mrc", "image.mrc is a single 2-D image"),
    ("transform.mrc", "mode 4"),
    ("zero.mrc", "zero.mrc has values from 0 to 0: there is no density above zero"),
    ("negative.mrc", "there is no density above zero"),
]


@pytest.mark.parametrize(("name", "said"), MAPS)
@pytest.mark.parametrize("flag", ["-i0", "-i1", "-i"])
def test_a_map_that_is_none(furnished, capsys, monkeypatch, name, said, flag):
    monkeypatch.chdir(furnished)
    line = ["predict", "-d", "new", "-w", "good.pt"] if flag == "-i" else training(furnished, "new")
    assert said in refused(
        capsys, furnished, *line, f"{flag}={name}" if flag == "-i" else flag, *[name][flag == "-i" :]
    )


TRAINING = [
    # levels
    (["-t0", 1.5], "Level 1.5 keeps nothing: initial.mrc has values from -0.02 to 0.99"),
    (["-t1", 7], "Level 7 keeps nothing: target.mrc has values from -0.02 to"),
    (["-t0", "inf"], "Level inf keeps nothing: initial.mrc"),
    (["-t0", "nan"], "Level nan cannot be used"),
    (["-t1", "NaN"], "Level nan cannot be used"),
    (["-t0", -0.01], "Level -0.01 cannot be used: only density above zero can be moved"),
    (["-t1", -5], "Level -5 cannot be used"),
    (["-t0", "half"], "-t0/--initial-threshold: invalid float value: 'half'"),
    (["-t0", ""], "-t0/--initial-threshold: invalid float value: ''"),
    # places
    (["-i1", "far.mrc"], "The maps must overlap: far.mrc lies at x 0 to 40.5, y 0 to 34.5, z 900 to 928.5"),
    (["-i1", "corner.mrc"], "100% of the density above 0.5 of corner.mrc lies outside the box of initial.mrc"),
    # numbers
    (["-b", 0], "The binning (-b) must be 1 or more, not 0"),
    (["-b", -2], "The binning (-b) must be 1 or more, not -2"),
    (["-b", 21], "A binning of 21 leaves nothing of a box of 28x24x20"),
    (["-n", -1], "The number of steps (-n) must be 0 or more, not -1"),
    (["-n", "1e3"], "invalid int value: '1e3'"),
    (["-p", 0], "The period (-p) must be 1 or more, not 0"),
    (["-p", 2.5], "invalid int value: '2.5'"),
    (["--depth", 0], "The depth (--depth) must be from 1 to 1000, not 0"),
    (["--width", 0], "The width (--width) must be 1 or more, not 0"),
    (["--width", 10**7], "Out of memory"),
    (["--width", 10**8], "The width (--width) must be 10000000 or less, not 100000000"),
    (["--depth", 10**9], "The depth (--depth) must be from 1 to 1000, not 1000000000"),
    (["--w2_iter", 0], "The number of transport rounds (--w2_iter) must be 1 or more, not 0"),
    (["--w2_eps", 0], "The transport's epsilon (--w2_eps) must be above 0, not 0"),
    (["--w2_eps", "nan"], "must be above 0, not nan"),
    (["--lr", 0], "The learning rate (--lr) must be above 0, not 0"),
    (["--lr", "inf"], "The learning rate (--lr) must be 1e+30 or less, not inf"),
    (["--lr", -1], "must be above 0, not -1"),
    (["--mu_mesh", -1], "The mesh weight (--mu_mesh) must be 0 or more, not -1"),
    (["--w2_eps", 1e300], "The transport's epsilon (--w2_eps) must be 1e+30 or less, not 1e+300"),
    (["--lr", 1e300], "The learning rate (--lr) must be 1e+30 or less, not 1e+300"),
    (["--mu_mesh", 1e300], "The mesh weight (--mu_mesh) must be 1e+30 or less, not 1e+300"),
    (["--mu_mesh", "nan"], "must be 0 or more, not nan"),
    (["--seed", -1], "The seed (--seed) must be 0 or more, not -1"),
    (["--seed", 2**63], "The seed (--seed) must be 9223372036854775807 or less"),
    # devices
    (["--device", "gpu"], "Unknown device 'gpu': wanted is auto, cpu, cuda, cuda:N or mps"),
    (["--device", ""], "Unknown device ''"),
    (["--device", "cuda:7"], "GPU 7 is not there"),
    (["--device", "cuda:-1"], "Unknown device 'cuda:-1'"),
    (["-g", 93], "GPU 93 is not there"),
    (["-g", -3], "There is no GPU -3: they are numbered from 0"),
    (["-g", "all"], "invalid int value: 'all'"),
    # directories
    (["-d", "initial.mrc"], "initial.mrc is a file; wanted is a directory"),
    (["-d", "initial.mrc/run"], "The directory initial.mrc/run cannot be written: Not a directory"),
    (["-d", "dangling"], "The directory dangling cannot be written"),
    (["-d", "/proc/run"], "The directory /proc/run cannot be written"),
    (["-d", "x" * 300], "File name too long"),
    (["-d", ""], "the name is empty"),
    (["-d", " "], "the name is empty"),
    (["-d", "run"], "run already holds a run (fsc.csv and 10 more files of it). Use --resume to go on with it"),
    (["-d", "published"], "published holds loss.log and 1 more files that a new run would replace, and no run.json"),
    (["-d", "run", "--overwrite", "-w", "run/net.pt"], "--overwrite would remove run/net.pt, the weights to start"),
    (["-d", "run", "--overwrite", "-n", -1], "must be 0 or more"),
    (["-d", "run", "--overwrite", "-t0", 5], "Level 5 keeps nothing"),
    (["-d", "run", "--overwrite", "--width", 10**7], "Out of memory"),
    # words
    (["--l3"], "unrecognized arguments: --l3"),
    (["extra"], "unrecognized arguments: extra"),
    (["-w"], "-w/--weight: expected one argument"),
    (["--resume", "--overwrite"], "give one of the two"),
]


@pytest.mark.parametrize(("more", "said"), TRAINING, ids=_id)
def test_training_that_cannot_be(furnished, capsys, monkeypatch, more, said):
    monkeypatch.chdir(furnished)
    assert said in refused(capsys, furnished, *training(".", "new", 4, 2, *more))


WEIGHTS = [
    ("missing.pt", "There is no weight file missing.pt"),
    ("run", "There is no weight file run"),
    ("", "the name is empty"),
    ("empty.pt", "empty.pt is not a weight file that can be read safely"),
    ("truncated.pt", "truncated.pt is not a weight file that can be read safely"),
    ("text.pt", "text.pt is not a weight file that can be read safely"),
    ("code.pt", "holds code, which is never run"),
    ("code_in_zip.pt", "holds code, which is never run"),
    ("initial.mrc", "initial.mrc is not a weight file"),
    ("list.pt", "list.pt is not a weight file: it holds a list"),
    ("number.pt", "number.pt is not a weight file: it holds a Tensor"),
    ("nothing.pt", "holds no CryoTRANS network: wanted are the tensors v.n0.weight"),
    ("keys.pt", "holds no CryoTRANS network"),
    ("more.pt", "holds no CryoTRANS network"),
    ("gap.pt", "holds no CryoTRANS network"),
    ("shape.pt", "holds no CryoTRANS network"),
    ("scalars.pt", "holds no CryoTRANS network"),
    ("whole.pt", "holds no CryoTRANS network"),
    ("words.pt", "holds no CryoTRANS network"),
    ("training.pt", "holds no CryoTRANS network"),
    ("run/state.pt", "holds no CryoTRANS network"),
    ("nan.pt", "holds weights that are not numbers"),
]


@pytest.mark.parametrize(("name", "said"), WEIGHTS)
@pytest.mark.parametrize("program", ["train", "predict"])
def test_weights_that_are_none(furnished, capsys, monkeypatch, program, name, said):
    monkeypatch.chdir(furnished)
    line = ["predict", "-d", "new", "-i", "initial.mrc"]
    if program == "train":
        line = [word for word in training(".", "new") if word not in QUICK[:2]]
    assert said in refused(capsys, furnished, *line, "-w", name)
    assert not (furnished / "was_run").exists()


@pytest.mark.parametrize("program", ["train", "predict"])
@pytest.mark.parametrize("more", [["--depth", 3], ["--width", 6]])
def test_weights_of_another_depth_or_width_than_said(furnished, capsys, monkeypatch, program, more):
    monkeypatch.chdir(furnished)
    line = ["predict", "-d", "new", "-i", "initial.mrc"]
    if program == "train":
        line = [word for word in training(".", "new") if word not in QUICK[:2]]
    said = refused(capsys, furnished, *line, "-w", "good.pt", *more)
    assert f"good.pt holds a network of depth 2 and width 5, which contradicts {more[0]} {more[1]}" in said


PREDICTION = [
    (["-t", 1.5], "Level 1.5 keeps nothing: initial.mrc has values from -0.02 to 0.99"),
    (["-t", "nan"], "Level nan cannot be used"),
    (["-t", -1], "Level -1 cannot be used"),
    (["--frames", 1], "The number of frames (--frames) must be from 2 to 10000, not 1"),
    (["--frames", -4], "The number of frames (--frames) must be from 2 to 10000, not -4"),
    (["--frames", 10**12], "The number of frames (--frames) must be from 2 to 10000"),
    (["-p", "a/b"], "The prefix 'a/b' (-p) must be the beginning of a file name, without a folder"),
    (["-p", "/tmp/x"], "The prefix '/tmp/x' (-p) must be the beginning of a file name"),
    (["-p", "."], "The prefix '.' (-p) must be the beginning of a file name"),
    (["-p", ""], "the name is empty"),
    (["-d", "frames"], "frames already holds 11 frames named frame_….mrc. Use --overwrite to replace them"),
    (["-d", "frames", "-i", "frames/frame_03.mrc", "--overwrite"], "--overwrite would remove frames/frame_03.mrc"),
    (["-d", "frames", "--overwrite", "-t", 9], "Level 9 keeps nothing"),
    (["-d", "frames", "--overwrite", "-w", "nan.pt"], "not numbers"),
    (["-d", "initial.mrc"], "initial.mrc is a file; wanted is a directory"),
    (["-d", "initial.mrc/frames"], "The directory initial.mrc/frames cannot be written: Not a directory"),
    (["-d", "dangling"], "The directory dangling cannot be written"),
    (["-d", ""], "the name is empty"),
    (["--device", "tpu"], "Unknown device 'tpu'"),
    (["-g", 93], "GPU 93 is not there"),
    (["-g", -3], "There is no GPU -3"),
    (["--run", "run"], "either a file of weights (-w), or the directory of a training (--run)"),
    (["--checkpoint", "best"], "--checkpoint belongs to --run"),
]


@pytest.mark.parametrize(("more", "said"), PREDICTION, ids=_id)
def test_prediction_that_cannot_be(furnished, capsys, monkeypatch, more, said):
    monkeypatch.chdir(furnished)
    line = ["predict", "-i", "initial.mrc", "-d", "new", "-w", "good.pt"]
    assert said in refused(capsys, furnished, *line, *more)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["train"], "No directory given"),
        (["train", "-d", "new"], "Missing: -i0 (--initial-map), -t0 (--initial-threshold), -i1 (--target-map)"),
        (
            ["train", "-d", "new", "-i0", "initial.mrc"],
            "No level given for initial.mrc (-t0). Its values run from -0.02",
        ),
        (["train", "-d", "new", "-i0", "initial.mrc", "-t0", 0.5], "Missing: -i1 (--target-map), -t1"),
        ([*training("", "new")[:7], "-d", "new"], "No level given for target.mrc (-t1)"),
        (training("", "new")[:11], "Missing: -n (--n_steps), -p (--period)."),
        (["predict"], "the following arguments are required: -i/--initial-map, -d/--directory"),
        (["predict", "-i", "initial.mrc"], "required: -d/--directory"),
        (
            ["predict", "-i", "initial.mrc", "-d", "new"],
            "either a file of weights (-w), or the directory of a training",
        ),
        (["predict", "-i", "initial.mrc", "-d", "new", "--run", "nowhere"], "nowhere holds no run"),
        (["refine"], "Say train or predict first"),
        ([], "Say train or predict first"),
        (["--resume"], "Say train or predict first"),
    ],
)
def test_what_is_missing_is_named(furnished, capsys, monkeypatch, line, said):
    monkeypatch.chdir(furnished)
    assert said in refused(capsys, furnished, *line)


def test_the_level_that_is_suggested_keeps_one_voxel_in_a_hundred(furnished, capsys, monkeypatch):
    monkeypatch.chdir(furnished)
    sentence = refused(capsys, furnished, "train", "-d", "new", "-i0", "initial.mrc")
    level = float(sentence.split("-t0 ")[1].split()[0])
    assert (two_domains() >= level).mean() == pytest.approx(0.01, rel=0.05)


def test_a_first_loss_that_is_no_number_leaves_nothing(furnished, tmp_path, capsys):
    weights = weights_file(tmp_path / "wild.pt", (3, 12, 3), shift=(3e38, 3e38, 3e38))
    before = contents(tmp_path)
    result = call(capsys, *training(furnished, tmp_path / "run", 4, 2, "-w", weights, "--mu_mesh", 1))
    assert result.status == 2
    assert "The loss is not a number any more at step 0" in result.err.splitlines()[-1]
    assert contents(tmp_path) == before


def test_a_full_disk_is_said_in_prediction(furnished, tmp_path, capsys):
    line = ["predict", "-i", furnished / "initial.mrc", "-t", LEVEL, "-d", tmp_path, "-w", furnished / "good.pt"]
    with file_size_limit(10_000):
        result = call(capsys, *line)
    assert result.status == 2
    assert result.err.splitlines()[-1] == (
        f"Cannot write or read {tmp_path / 'frame_00.mrc'}: File too large. Make room on the disk."
    )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_at_the_start_of_training_is_said(furnished, tmp_path, capsys):
    with file_size_limit(1000):
        result = call(capsys, *training(furnished, tmp_path / "run"))
    assert result.status == 2
    assert "File too large. Make room on the disk." in result.err.splitlines()[-1]
    assert not (tmp_path / "run" / "net_0.pt").exists()


def test_a_process_ends_with_the_status_and_the_sentence(furnished):
    before = contents(furnished)
    result = run(*training(furnished, furnished / "new"), "-t0", 1.5, cwd=furnished)
    assert (result.status, result.out) == (2, "")
    assert len(result.err.splitlines()) == 1
    assert contents(furnished) == before


def test_one_target_has_one_level(furnished, capsys):
    said = "Targets (-i1) given: 1, levels (-t1): 2. Give a level for each target, or one for all."
    assert said in refused(capsys, furnished, *training(".", "new"), "-t1", 0.4)
