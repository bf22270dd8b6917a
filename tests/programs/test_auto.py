"""cryotrans-train with what the published program has not: recipe auto, other flows and losses, judging."""

import numpy as np
import pytest
from phantoms import LEVEL
from running import call, run, run_json, training

from chimerax.cryotrans.engine.flow.checkpoint import load_weights
from chimerax.cryotrans.engine.flow.domains import CombinedField, DomainField
from chimerax.cryotrans.engine.judging.tables import read_fsc, read_metrics


def _auto(maps, directory, *more):
    line = ["-i0", maps / "initial.mrc", "-t0", LEVEL, "-i1", maps / "target.mrc", "-t1", LEVEL]
    return ["train", *line, "-d", directory, "--recipe", "auto", "--seed", 1, "--no-report", *more]


@pytest.fixture(scope="module")
def auto(maps, tmp_path_factory):
    directory = tmp_path_factory.mktemp("auto") / "run"
    return run(*_auto(maps, directory, "--flow", "network", "--width", 20, "-p", 50)), directory


def test_it_needs_no_steps_and_no_period(auto):
    result, directory = auto
    assert result.status == 0, result.err
    content = run_json(directory)
    assert content["state"] == "finished"
    assert 0 < content["step"] <= content["n_steps"]
    assert content["options"]["n_steps"] is None
    assert len((directory / "loss.log").read_text().splitlines()) == content["step"] + 1


def test_its_stages_are_told(auto):
    assert "refinement at the target's own detail" in auto[0].err
    assert "is not coarser than" in auto[0].err or "is as coarse as" in auto[0].err


def test_it_finds_the_motion(auto):
    rows = read_metrics(auto[1] / "metrics.csv")
    assert rows[-1].correlation > 0.98 > rows[0].correlation
    assert rows[-1].transport_distance < 0.2 * rows[0].transport_distance
    assert [row.step for row in rows] == [step for step, _ in read_fsc(auto[1] / "fsc.csv")[1]]


def test_a_finished_one_cannot_be_resumed(auto, capsys):
    result = call(capsys, "train", "--resume", "-d", auto[1], "-n", 10**6)
    assert result.status == 2
    assert "nothing improved any more" in result.err


def test_a_limit_of_steps_can_be_raised(maps, tmp_path, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ("--flow", "network", "--width", 8, "-p", 10)
    assert call(capsys, *_auto(maps, whole, *options, "-n", 30)).status == 0
    assert call(capsys, *_auto(maps, broken, *options, "-n", 13)).status == 0
    assert call(capsys, "train", "--resume", "-d", broken, "-n", 30).status == 0
    assert (broken / "loss.log").read_bytes() == (whole / "loss.log").read_bytes()
    assert any("before its last stage" in text for text in run_json(whole)["verdict"]["reasons"])
    steps = [row.step for row in read_metrics(broken / "metrics.csv")]
    assert steps == sorted(set(steps))
    assert {0, 10, 20, 30} <= set(steps)


@pytest.mark.parametrize(("flow", "kind"), [("domains", DomainField), ("both", CombinedField)])
def test_other_flows_can_be_trained_and_predicted_with(maps, tmp_path, capsys, flow, kind):
    folder = tmp_path / "run"
    line = [*training(maps, folder, 40, 20), "--flow", flow, "--domains", 2, "--lr", 4e-3]
    assert call(capsys, *line).status == 0
    assert isinstance(load_weights(folder / "net.pt"), kind)
    losses = np.loadtxt(folder / "loss.log")
    assert losses[-1] < losses[0]
    frames = ["predict", "-i", maps / "initial.mrc", "-d", tmp_path / "frames", "--run", folder, "--frames", 3]
    assert call(capsys, *frames).status == 0


def test_a_flow_of_domains_goes_on_exactly(maps, tmp_path, capsys):
    for name, steps in (("whole", 20), ("broken", 8)):
        line = [*training(maps, tmp_path / name, steps, 4), "--flow", "both", "--domains", 3, "--seed", 2]
        assert call(capsys, *line).status == 0
    assert call(capsys, "train", "--resume", "-d", tmp_path / "broken", "-n", 20).status == 0
    assert (tmp_path / "broken" / "loss.log").read_bytes() == (tmp_path / "whole" / "loss.log").read_bytes()


def test_the_correlation_can_be_trained(maps, tmp_path, capsys):
    line = training(maps, tmp_path / "run", 30, 10)
    assert call(capsys, *line, "--loss", "correlation", "--blur", 1.5).status == 0
    losses = np.loadtxt(tmp_path / "run" / "loss.log")
    assert 0 <= losses[-1] < losses[0] <= 1
    assert run_json(tmp_path / "run")["options"]["blur"] == 1.5


def test_what_is_held_out_and_a_validation_map_are_judged(maps, tmp_path, capsys):
    line = training(maps, tmp_path / "run", 20, 10)
    more = ["--hold-out", 0.2, "--validation-map", maps / "target.mrc", "--progress", "bar"]
    result = call(capsys, *line, *more)
    assert result.status == 0, result.err
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert all(-1 <= row.held_out <= 1 and row.validation > 0 for row in rows)
    assert "held-out correlation" in result.err
    plain = tmp_path / "plain"
    assert call(capsys, *training(maps, plain, 20, 10)).status == 0
    assert (plain / "loss.log").read_bytes() != (tmp_path / "run" / "loss.log").read_bytes()
    assert all(np.isnan(row.held_out) and np.isnan(row.validation) for row in read_metrics(plain / "metrics.csv"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--recipe", "auto", "--lr", 1e-3], "--recipe auto chooses --w2_iter itself"),
        (["--recipe", "auto", "-b", 2], "--recipe auto chooses -b itself. Leave -b out"),
        (["--recipe", "fast"], "invalid choice: 'fast'"),
        (["--flow", "auto"], "--flow auto is a choice of --recipe auto"),
        (["--flow", "network", "--domains", 3], "--domains belongs to --flow domains"),
        (["--flow", "domains", "--domains", 0], "The number of domains (--domains) must be 1 or more"),
        (["--flow", "domains", "--domains", 9999], "too many for"),
        (["--blur", 2], "--blur belongs to --loss correlation"),
        (["--loss", "correlation", "--blur", -1], "The blur (--blur) must be 0 Å or more"),
        (["--l2", "--loss", "w2"], "--l2 and --loss w2 contradict each other"),
        (["--symmetry", "O"], "The maps are not O"),
        (["--symmetry", "helical"], "Unknown symmetry 'helical'"),
        (["--hold-out", 0.9], "must be above 0 and below 0.5"),
        (["--validation-map", "nowhere.mrc"], "nowhere.mrc"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(maps, tmp_path, capsys, more, said):
    result = call(capsys, *training(maps, tmp_path / "run", 2, 1), *more)
    assert result.status == 2
    assert said in result.err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
