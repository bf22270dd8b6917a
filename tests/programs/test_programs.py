"""A script written for CryoTRANS 1.0.0 runs unchanged: its options, screen, files and weights; and our additions."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import mrcfile
import numpy as np
import pytest
import torch
from phantoms import LEVEL, SHAPE, VOXEL_SIZE, two_domains, write_mrc
from running import call, run_json, training, weights_file

SCREEN = re.compile(
    r"\|-----------------------------------------\|\n"
    r"\|   iter   \|       loss       \|   time    \|\n"
    r"\|----------\|------------------\|-----------\|\n"
    r"(\| [\d ]{8} \| [ -]\d\.\d{9}e[+-]\d\d \| \d\.\d{3}e[+-]\d\d \|\n)+"
    r"\|-----------------------------------------\|\n"
    r"Save network \.\.\. done\.\n"
)


def threshold(density: np.ndarray, level: float = LEVEL) -> np.ndarray:
    return np.where(density < level, 0, density)


def read_frames(folder, prefix: str = "frame") -> list[np.ndarray]:
    return [mrcfile.read(path) for path in sorted(folder.glob(f"{prefix}_*.mrc"))]


# Training


def test_screen_is_the_published_table(finished):
    assert finished.result.status == 0, finished.result.err
    assert SCREEN.fullmatch(finished.result.out)
    steps = [line.split("|")[1] for line in finished.result.out.splitlines()[3:-2]]
    assert steps == [f" {step:^8} " for step in (0, 10, 20, 30, 40)]


def test_notes_go_to_standard_error(finished):
    computing, done = finished.result.err.splitlines()
    assert computing.startswith("Computing on ")
    assert done == f"net.pt is in {finished.directory}."


def test_loss_log_has_a_line_for_each_step_and_agrees_with_the_screen(finished):
    lines = (finished.directory / "loss.log").read_text().splitlines()
    assert len(lines) == 46
    shown = [line.split("|")[2].strip() for line in finished.result.out.splitlines()[3:-2]]
    assert lines[:41:10] == shown
    assert float(lines[-1]) < 0.5 * float(lines[0])


def test_files_are_the_published_ones_and_some_more(finished):
    assert sorted(path.name for path in finished.directory.iterdir()) == [
        "fsc.csv", "loss.log", "metrics.csv", "net.pt", "net_0.pt", "net_1.pt", "net_2.pt", "net_3.pt", "net_4.pt",
        "run.json", "state.pt",
    ]  # fmt: skip


def test_plain_torch_reads_the_weights(finished):
    state = torch.load(finished.directory / "net.pt", weights_only=True)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes == {
        "v.n0.weight": (12, 3), "v.n0.bias": (12,), "v.n1.weight": (12, 12), "v.n1.bias": (12,),
        "v.n2.weight": (3, 12), "v.n2.bias": (3,),
    }  # fmt: skip
    start = torch.load(finished.directory / "net_0.pt", weights_only=True)
    assert not torch.equal(start["v.n1.weight"], state["v.n1.weight"])


def test_run_json_says_how_the_run_was_made(finished, maps):
    content = run_json(finished.directory)
    options = content["options"]
    assert (content["state"], content["step"], options["seed"], options["width"]) == ("finished", 45, 7, 12)
    assert content["device"] == {"asked": "auto", "gpu": 0, "used": content["device"]["used"]}
    assert content["initial"]["path"] == str(maps / "initial.mrc")
    assert content["initial"]["grid_shape"] == list(SHAPE)
    assert content["target"]["level"] == options["target_level"] == LEVEL
    assert content["n_points"] == int((two_domains() >= LEVEL).sum())
    assert set(content["versions"]) == {"cryotrans", "python", "torch", "numpy", "system"}


BEYOND_THE_PUBLISHED = {
    "recipe": "cryotrans", "flow": "network", "n_domains": None, "symmetry": None, "blur": None, "hold_out": None,
    "conditioning": "off",
    "debiased": False, "epsilon_start": None, "reach": None, "mesh_share": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("names", ["short", "long"])
def test_every_published_option_is_taken(maps, tmp_path, capsys, names):
    weights = weights_file(tmp_path / "start.pt", (3, 6, 6, 6, 3))
    asked = {
        ("-i0", "--initial-map"): maps / "initial.mrc",
        ("-t0", "--initial-threshold"): 0.4,
        ("-i1", "--target-map"): maps / "target.mrc",
        ("-t1", "--target-threshold"): 0.45,
        ("-d", "--directory"): tmp_path / "run",
        ("-g", "--gpu"): 0,
        ("-w", "--weight"): weights,
        ("-b", "--binning"): 2,
        ("-n", "--n_steps"): 3,
        ("-p", "--period"): 2,
        ("--depth",): 4,
        ("--width",): 6,
        ("--w2_eps",): 2e-4,
        ("--w2_iter",): 3,
        ("--lr",): 1e-4,
        ("--mu_mesh",): 0.01,
    }
    words = [word for flags, value in asked.items() for word in (flags[0 if names == "short" else -1], value)]
    result = call(capsys, "train", *words, "--l2")
    assert result.status == 0, result.err
    options = run_json(tmp_path / "run")["options"]
    del options["seed"]
    assert options == {
        "initial_level": 0.4, "target_level": 0.45, "n_steps": 3, "period": 2, "bin_size": 2, "depth": 4, "width": 6,
        "loss": "l2", "epsilon": 2e-4, "n_iterations": 3, "learning_rate": 1e-4, "mu_mesh": 0.01,
        **BEYOND_THE_PUBLISHED,
    }  # fmt: skip


def test_defaults_are_the_published_ones(maps, tmp_path, capsys):
    line = ["-i0", maps / "initial.mrc", "-t0", LEVEL, "-i1", maps / "target.mrc", "-t1", LEVEL]
    assert call(capsys, "train", *line, "-d", tmp_path / "new" / "run", "-n", 0, "-p", 5).status == 0
    options = run_json(tmp_path / "new" / "run")["options"]
    seed = options.pop("seed")
    assert options == {
        "initial_level": LEVEL, "target_level": LEVEL, "n_steps": 0, "period": 5, "bin_size": 1, "depth": 3,
        "width": 100, "loss": "w2", "epsilon": 1e-4, "n_iterations": 5, "learning_rate": 1e-3, "mu_mesh": None,
        **BEYOND_THE_PUBLISHED,
    }  # fmt: skip
    assert isinstance(seed, int)


@pytest.mark.parametrize(
    ("n_steps", "period", "saved"),
    [(0, 1, ["net_0.pt"]), (3, 5, ["net_0.pt"]), (5, 2, ["net_0.pt", "net_1.pt", "net_2.pt"])],
)
def test_any_period_fits(maps, tmp_path, capsys, n_steps, period, saved):
    result = call(capsys, *training(maps, tmp_path / "run", n_steps, period))
    assert SCREEN.fullmatch(result.out)
    assert sorted(path.name for path in (tmp_path / "run").glob("net_*.pt")) == saved
    assert len((tmp_path / "run" / "loss.log").read_text().splitlines()) == n_steps + 1
    assert (tmp_path / "run" / "net.pt").is_file()


def test_a_seed_repeats_a_run_and_another_does_not(maps, finished, tmp_path, capsys):
    for name, seed in (("same", 7), ("other", 8)):
        assert call(capsys, *training(maps, tmp_path / name, 45, 10, "--seed", seed)).status == 0
    losses = {name: (tmp_path / name / "loss.log").read_bytes() for name in ("same", "other")}
    assert losses["same"] == (finished.directory / "loss.log").read_bytes()
    assert losses["other"] != losses["same"]


def test_a_drawn_seed_is_noted_and_repeats_the_run(maps, tmp_path, capsys):
    line = [*training(maps, tmp_path / "drawn")]
    at = line.index("--seed")
    del line[at : at + 2]
    again = [tmp_path / "again" if word == tmp_path / "drawn" else word for word in line]
    assert call(capsys, *line).status == 0
    seed = run_json(tmp_path / "drawn")["options"]["seed"]
    assert call(capsys, *again, "--seed", seed).status == 0
    assert (tmp_path / "drawn" / "loss.log").read_bytes() == (tmp_path / "again" / "loss.log").read_bytes()


def test_weights_of_another_depth_and_width_are_read_and_gone_on_with(maps, tmp_path, capsys):
    weights = weights_file(tmp_path / "plain.pt", (3, 9, 9, 9, 3), shift=(0.01, 0.02, 0.03))
    line = [word for word in training(maps, tmp_path / "run", 1, 1) if word not in ("--width", 12)]
    assert call(capsys, *line, "-w", weights).status == 0
    start = torch.load(tmp_path / "run" / "net_0.pt", weights_only=True)
    assert all(torch.equal(start[key], value) for key, value in torch.load(weights, weights_only=True).items())
    content = run_json(tmp_path / "run")
    assert (content["options"]["depth"], content["options"]["width"]) == (4, 9)
    assert content["weights_from"] == str(weights)


def test_overwrite_replaces_the_run_and_nothing_else(maps, tmp_path, capsys):
    run = tmp_path / "run"
    assert call(capsys, *training(maps, run, 5, 1)).status == 0
    others = ["frame_00.mrc", "net_best.pt", "notes.txt", "my_net.pt", "net.pt.old", "loss.log.1", ".hidden"]
    for name in others:
        (run / name).write_text("mine")
    (run / "net_folder").mkdir()
    assert call(capsys, *training(maps, run, 2, 2), "--overwrite").status == 0
    own = {"fsc.csv", "loss.log", "metrics.csv", "net.pt", "net_0.pt", "net_1.pt", "run.json", "state.pt"}
    assert {path.name for path in run.iterdir()} == own | {*others, "net_folder"}
    assert all((run / name).read_text() == "mine" for name in others)


@pytest.mark.parametrize("name", ["a folder", "möbius ∞", "~", "-dash", "#1;&$HOME"])
def test_odd_names_do(maps, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / name).mkdir(parents=True)
    for role in ("initial", "target"):
        (tmp_path / "in" / name / f"{role}.mrc").write_bytes((maps / f"{role}.mrc").read_bytes())
    from_here = (tmp_path / "in" / name).relative_to(tmp_path)
    line = training(from_here, "X", 1, 1)
    line[line.index("-d") : line.index("-d") + 2] = [f"--directory={name}"]
    assert call(capsys, *line).status == 0
    result = call(capsys, "predict", "-i", from_here / "initial.mrc", f"-d={name}", "-w", f"./{name}/net.pt", "-p=x y")
    assert result.status == 0, result.err
    assert len(list((tmp_path / name).glob("x y_*.mrc"))) == 11


# Prediction


def test_frames_have_the_published_names_and_the_inputs_header(frames, maps):
    names = [f"frame_{k:02d}.mrc" for k in range(11)]
    assert sorted(path.name for path in frames.iterdir()) == [*names, "report.html"]
    with mrcfile.open(maps / "initial.mrc") as given:
        for path in frames.glob("*.mrc"):
            with mrcfile.open(path) as frame:
                assert frame.data.shape == SHAPE
                assert frame.voxel_size.tolist() == pytest.approx(VOXEL_SIZE)
                for word in ("nxstart", "nystart", "nzstart", "origin"):
                    assert frame.header[word] == given.header[word]


def test_the_first_frame_is_the_map_above_its_level(frames):
    np.testing.assert_array_equal(read_frames(frames)[0], threshold(two_domains()))


def test_frames_keep_the_mass_and_go_towards_the_target(frames):
    series = read_frames(frames)
    target = threshold(two_domains(1))
    mass = [frame.sum(dtype=float) for frame in series]
    np.testing.assert_allclose(mass, mass[0], rtol=1e-5)
    overlap = [np.corrcoef(frame.ravel(), target.ravel())[0, 1] for frame in series]
    assert overlap == sorted(overlap)
    assert overlap[-1] > overlap[0] + 0.1


def test_frames_are_in_the_maps_own_units(maps, tmp_path, capsys):
    write_mrc(tmp_path / "large.mrc", 1000 * two_domains())
    weights = weights_file(tmp_path / "still.pt")
    assert call(capsys, "predict", "-i", tmp_path / "large.mrc", "-d", tmp_path / "out", "-w", weights).status == 0
    for frame in read_frames(tmp_path / "out"):  # the default level is 0
        np.testing.assert_allclose(frame, threshold(1000 * two_domains(), 0), rtol=1e-6)


@pytest.mark.parametrize(("n_frames", "last"), [(2, "frame_01.mrc"), (101, "frame_100.mrc")])
def test_any_number_of_frames(frames, finished, maps, tmp_path, capsys, n_frames, last):
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", tmp_path, "-w", finished.directory / "net.pt"]
    assert call(capsys, *line, "--frames", n_frames).status == 0
    names = sorted(path.name for path in tmp_path.glob("*.mrc"))
    assert (len(names), names[-1]) == (n_frames, last)
    series = read_frames(tmp_path)
    np.testing.assert_array_equal(series[0], read_frames(frames)[0])
    np.testing.assert_allclose(series[-1], read_frames(frames)[-1], atol=1e-5)


def test_reverse_numbers_the_frames_from_the_other_end(frames, finished, maps, tmp_path, capsys):
    line = ["predict", "-i", maps / "initial.mrc", "-t", LEVEL, "-d", tmp_path, "-w", finished.directory / "net.pt"]
    assert call(capsys, *line, "--reverse").status == 0
    np.testing.assert_array_equal(read_frames(tmp_path), read_frames(frames)[::-1])


def test_a_run_names_its_checkpoints(finished, maps, tmp_path, capsys):
    content = run_json(finished.directory)
    best = content["best"]["weights"]
    assert content["checkpoints"][str(content["best"]["step"])] == best
    assert content["checkpoints"]["20"] == "net_2.pt"
    names = {"best": best, "last": "net.pt", "1": "net_1.pt", None: best}
    line = ["predict", "-i", maps / "initial.mrc", "--frames", 2]
    for checkpoint, name in names.items():
        more = ["--checkpoint", checkpoint] if checkpoint else []
        assert (
            call(capsys, *line, "-d", tmp_path / "run", "--run", finished.directory, *more, "--overwrite").status == 0
        )
        assert call(capsys, *line, "-d", tmp_path / "w", "-w", finished.directory / name, "--overwrite").status == 0
        assert (tmp_path / "run" / "frame_01.mrc").read_bytes() == (tmp_path / "w" / "frame_01.mrc").read_bytes()
    result = call(capsys, *line, "-d", tmp_path / "run", "--run", finished.directory, "--checkpoint", 9, "--overwrite")
    assert "There is no net_9.pt" in result.err
    result = call(
        capsys, *line, "-d", tmp_path / "run", "--run", finished.directory, "--checkpoint", "first", "--overwrite"
    )
    assert "Unknown checkpoint 'first'" in result.err


def test_published_prediction_options_are_taken(finished, maps, tmp_path, capsys):
    line = ["--initial-map", maps / "initial.mrc", "--initial-threshold", LEVEL, "--directory", tmp_path]
    line += ["--prefix", "morph", "--gpu", 0, "--weight", finished.directory / "net.pt", "--depth", 3, "--width", 12]
    assert call(capsys, "predict", *line).status == 0
    assert sorted(path.name for path in tmp_path.iterdir())[::10] == ["morph_00.mrc", "morph_10.mrc"]


def test_overwrite_replaces_the_earlier_frames_of_that_name_only(maps, tmp_path, capsys):
    weights = weights_file(tmp_path / "still.pt")
    folder = tmp_path / "out"
    line = ["predict", "-i", maps / "initial.mrc", "-d", folder, "-w", weights]
    assert call(capsys, *line).status == 0
    for name in ("frame_a.mrc", "frame_03.txt", "other_03.mrc", "frame_03_x.mrc"):
        (folder / name).write_text("mine")
    assert call(capsys, *line, "--frames", 3, "--overwrite").status == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "frame_00.mrc", "frame_01.mrc", "frame_02.mrc", "frame_03.txt", "frame_03_x.mrc", "frame_a.mrc",
        "other_03.mrc",
    ]  # fmt: skip


def test_both_programs_may_share_a_directory(finished, maps, tmp_path, capsys):
    assert call(capsys, *training(maps, tmp_path)).status == 0
    line = ["predict", "-i", maps / "initial.mrc", "-d", tmp_path, "-w", tmp_path / "net.pt"]
    assert call(capsys, *line).status == 0
    assert call(capsys, *training(maps, tmp_path), "--overwrite").status == 0
    assert len(list(tmp_path.glob("frame_*.mrc"))) == 11


# Without PyTorch


@pytest.mark.parametrize("words", [["train", "--help"], ["predict", "--help"], ["train", "--version"], ["--help"], []])
def test_help_needs_no_torch_and_any_encoding_does(words):
    program = "from chimerax.cryotrans.programs.command_line import main"
    code = f"import sys\nsys.modules['torch'] = None\n{program}\nsys.exit(main({words!r}))\n"
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == (0 if words else 2)
    assert done.stderr == ("" if words else done.stderr.splitlines()[0] + "\n")
