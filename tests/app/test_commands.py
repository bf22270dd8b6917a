"""The commands as they are typed, with the real worker on a small map.

Where only the worker's command line is of interest, a Python that notes it stands in for the one that trains.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import phantoms
import pytest
from chimerax.core.commands import run as run_command
from chimerax.core.errors import UserError
from chimerax.map_series import MapSeries

from chimerax.cryotrans.app.background import BackgroundTask
from chimerax.cryotrans.app.commands import predict, registration
from chimerax.cryotrans.app.commands.known_run import run_in
from chimerax.cryotrans.app.remote.machines import Remote, remote_in
from chimerax.cryotrans.app.runs import Run, open_command, runs_of
from chimerax.cryotrans.app.settings import user_settings
from chimerax.cryotrans.engine.maps.density_map import same_grid
from chimerax.cryotrans.engine.maps.mrc_file import read_map

SMALL = "depth 2 width 8 w2Iter 2"


def _content(folder):
    return json.loads((Path(folder) / "run.json").read_text())


@pytest.fixture
def noted(session, home, tmp_path):
    """noted() is what the worker was started with; the Python of the settings starts none and fails."""
    path = tmp_path / "arguments.json"
    note = f"import json, sys; json.dump(sys.argv[1:], open({str(path)!r}, 'w')); sys.exit('a stand-in')"
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n[ "$1" = -c ] || set -- -c "{note}" "$@"\nexec "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    user_settings(session).python = str(script)

    def noted():
        folder, program, *words = json.loads(path.read_text())
        assert Path(folder).joinpath("__main__.py").is_file()
        assert words[-3:] == ["--progress", "json", "--stop-with-input"]
        options = {}
        for word in words[:-3]:
            if re.match(r"--?[a-z]", word):
                flag = word
                options[flag] = True
            else:
                options[flag] = word
        return program, options

    return noted


# Training


def test_train_opens_the_trajectory(session, run, home, pair):
    job = run(f"cryotrans train #1 to #2 steps 20 {SMALL} frames 3 device cpu")
    assert job.done and job.error is None
    assert job.series in session.models.list()
    assert job.series.name == "CryoTRANS A → B" and len(job.series.maps) == 3
    np.testing.assert_allclose(job.series.maps[0].data.origin, pair[0].data.origin, atol=1e-4)
    assert not pair[0].display and not pair[1].display
    assert job.folder == home / "CryoTRANS" / "A_to_B"
    assert sorted(path.name for path in (job.folder / "frames").iterdir()) == [f"frame_0{i}.mrc" for i in range(3)]
    content = _content(job.folder)
    assert content["state"] == "finished" and content["step"] == 20
    assert content["options"]["initial_level"] == content["options"]["target_level"] == phantoms.LEVEL  # as shown
    text = "\n".join(session.test_log.texts("info"))
    assert "#1 A at level 0.5 to #2 B at level 0.5, 20 steps" in text
    assert str(job.folder) in text and "interpolation" in text
    assert len(re.findall(r"step \d+ of 20, correlation 0\.\d+, resolution", text)) == 11  # every tenth, and step 0
    assert "20 of 20 (finished)" in text and "on cpu" in text
    assert f"cxcmd:vseries%20play%20%23{job.series.id_string}" in text


def test_train_takes_every_option(session, run, home, pair, a_run, tmp_path):
    options = {
        "level": 0.45,
        "toLevel": 0.55,
        "steps": 3,
        "period": 2,
        "loss": "l2",
        "learningRate": 0.002,
        "w2Eps": 0.001,
        "w2Iter": 4,
        "muMesh": 0.1,
        "binning": 2,
        "depth": 2,
        "width": 8,
        "device": "cpu",
        "seed": 7,
        "frames": 2,
    }
    words = " ".join(f"{key} {value}" for key, value in options.items())
    folder = tmp_path / "new folder"
    job = run(f'cryotrans train #1 to #2 {words} weights "{a_run}/net.pt" directory "{folder}" open false wait true')
    assert job.folder == folder and job.series is None
    content = _content(folder)
    assert content["options"] == {
        "initial_level": 0.45,
        "target_level": 0.55,
        "n_steps": 3,
        "period": 2,
        "bin_size": 2,
        "depth": 2,
        "width": 8,
        "loss": "l2",
        "epsilon": 0.001,
        "n_iterations": 4,
        "learning_rate": 0.002,
        "mu_mesh": 0.1,
        "seed": 7,
        "recipe": "cryotrans",
        "flow": "network",
        "n_domains": None,
        "symmetry": None,
        "blur": None,
        "debiased": False,
        "epsilon_start": None,
        "reach": None,
        "mesh_share": 1.0,
        "hold_out": None,
        "conditioning": "off",
    }
    assert content["weights_from"] == f"{a_run}/net.pt" and content["device"]["asked"] == "cpu"
    assert len(list((folder / "frames").glob("*.mrc"))) == 2
    assert [model.name for model in session.models.list() if model.parent is session.models.scene_root_model] == [
        "A",
        "B",
    ]
    assert pair[0].display and pair[1].display
    [opener] = [text for text in session.test_log.texts("info") if "The frames: " in text]
    command = re.search(r'href="cxcmd:([^"]+)"', opener)[1]
    from urllib.parse import unquote

    [series] = run_command(session, unquote(command))[:1]
    assert len(series.maps) == 2


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", {"--recipe": "auto", "--device": "auto"}),
        ("steps 5", {"--recipe": "auto", "-n": "5", "-p": "1"}),
        ("flow domains symmetry C2", {"--recipe": "auto", "--flow": "domains", "--symmetry": "C2"}),
        ("recipe cryotrans", {"-n": "1000", "-p": "100", "--loss": "w2", "--lr": "0.001", "--recipe": "cryotrans"}),
        ("loss l2", {"-n": "1000", "-p": "100", "--loss": "l2", "--lr": "0.0001", "--recipe": "cryotrans"}),
        ("binning 2", {"-n": "1000", "-p": "100", "-b": "2", "--loss": "w2", "--lr": "0.001", "--recipe": "cryotrans"}),
        ("device cuda:1", {"--recipe": "auto", "--device": "cuda:1"}),
        ("device cuda:0,1", {"--recipe": "auto", "--device": "cuda:0,1"}),
        ("holdOut 0.1", {"--recipe": "auto", "--hold-out": "0.1"}),
    ],
)
def test_train_has_defaults(run, pair, noted, typed, wanted):
    with pytest.raises(UserError, match="a stand-in"):
        run(f"cryotrans train #1 to #2 {typed}")
    program, options = noted()
    assert program == "train"
    assert {flag: options[flag] for flag in wanted} == wanted
    maps = {"-i0", "-t0", "-i1", "-t1", "-d"}
    assert set(options) == maps | {"--device"} | set(wanted)  # the rest is the engine's choice


@pytest.mark.parametrize("device", ["auto", "cuda:1", "cuda:0,1", "cpu,cpu"])
def test_another_machine_has_devices_too(device):
    assert remote_in(f"ssh:me@there/{device}") == Remote("me@there", device)


def test_several_devices_train_and_the_first_predicts(run, home, pair):
    job = run(f"cryotrans train #1 to #2 steps 4 {SMALL} frames 2 device cpu,cpu wait true")
    content = _content(job.folder)
    assert content["state"] == "finished" and content["device"]["asked"] == "cpu,cpu"
    assert len(job.series.maps) == 2


@pytest.fixture
def maps_stay(monkeypatch):
    """The maps that a worker was given are there to be looked at when it has failed."""
    monkeypatch.setattr(Run, "take_back", lambda self: None)


def test_a_map_to_validate_with_comes_onto_the_grid_too(run, pair, noted, maps_stay):
    with pytest.raises(UserError, match="a stand-in"):
        run("cryotrans train #1 to #2 validate #2")
    _, options = noted()
    assert read_map(options["--validation-map"]).grid_shape == phantoms.SHAPE


def test_what_auto_chooses_cannot_be_given_with_it(run, pair):
    with pytest.raises(UserError, match="recipe auto chooses learningRate itself"):
        run("cryotrans train #1 to #2 recipe auto learningRate 0.1")


def test_target_comes_onto_the_grid_of_the_initial_as_displayed(run, pair, noted, maps_stay, tmp_path):
    path = phantoms.write_mrc(tmp_path / "C.mrc", phantoms.two_domains(1.0, (26, 30, 34)), (1.2, 1.2, 1.2))
    run(f'open "{path}" name C')
    run("volume #3 style surface level 0.4 step 2")
    run("turn z 20 models #3")
    with pytest.raises(UserError, match="a stand-in"):
        run("cryotrans train #1 to #3")
    _, options = noted()
    initial, target = read_map(options["-i0"]), read_map(options["-i1"])
    assert same_grid(initial, target) and initial.grid_shape == phantoms.SHAPE
    np.testing.assert_array_equal(initial.density, pair[0].full_matrix())
    assert (options["-t0"], options["-t1"]) == ("0.5", "0.4")
    assert 0.4 < target.density.max() < 1.2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("steps 0", "greater than or equal to 1"),
        ("period 0", "greater than or equal to 1"),
        ("loss l3", "Should be one of"),
        ("learningRate 0", "greater than 0"),
        ("depth 0", "greater than or equal to 1"),
        ("width 0", "greater than or equal to 1"),
        ("w2Eps 0", "greater than 0"),
        ("w2Iter 0", "greater than or equal to 1"),
        ("muMesh -1", "greater than or equal to 0"),
        ("binning 0", "greater than or equal to 1"),
        ("weights /no/such/file", "does not exist"),
        ("device gpu", "cuda:N"),
        ("device cuda:x", "cuda:N"),
        ("device cpu,cuda:0", "cuda:0,1"),
        ("seed -1", "greater than or equal to 0"),
        ("frames 1", "greater than or equal to 2"),
        ("open perhaps", "true or false"),
        ("wait perhaps", "true or false"),
        ("level high", "Expected a number"),
        ("epochs 5", "unknown|Expected"),
    ],
)
def test_out_of_range_is_the_parsers_error(run, home, pair, typed, message):
    with pytest.raises(UserError, match=message):
        run(f"cryotrans train #1 to #2 {typed}")
    assert not (home / "CryoTRANS").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("#1 to #1", "#1 A is both the initial and the target"),
        ("#1 #2", "Must specify one map, got 2"),
        ("#1", '"to" argument'),
        ("#1 to #2 level 5", r"#1 A.*level"),
        ("#1 to #2 toLevel 5", r"#2 B.*toLevel"),
        ("#1 to #2 level -0.1", r"#1 A.*level"),
    ],
)
def test_train_says_what_is_wrong_with_the_maps(run, home, pair, typed, message):
    with pytest.raises(UserError, match=message):
        run(f"cryotrans train {typed}")
    assert not (home / "CryoTRANS").exists()


def test_train_asks_for_both_levels_at_once(session, run, home, pair):
    run("volume #1,2 style image")
    with pytest.raises(
        UserError, match=r"#1 A and #2 B show no surface .* cryotrans train #1 to #2 level [\d.]+ toLevel"
    ):
        run(f"cryotrans train #1 to #2 {SMALL}")
    assert "cxcmd:cryotrans%20train%20%231%20to%20%232%20level" in session.test_log.texts("info")[-1]
    assert not (home / "CryoTRANS").exists()


def test_a_series_is_told_how_to_name_a_frame(session, run, home, pair, a_run):
    series = run(f'cryotrans predict #1 run "{a_run}" frames 3')
    for command in ("train #3 to #2", "train #1 to #3", "predict #3", "train #1 to #2 validate #3"):
        with pytest.raises(UserError, match=r"#3 .* is a series of 3 frames.* such as #3\.3\."):
            run(f"cryotrans {command}")
    job = run(f"cryotrans train #3.1 to #3.3 steps 2 {SMALL} level 0.5 toLevel 0.5 frames 2")
    assert job.error is None and series.name in job.folder.parent.name + series.name


def test_what_a_command_shows_is_alone(session, run, home, pair, a_run):
    first = run(f'cryotrans predict #1 run "{a_run}" frames 3')
    assert first.display and not pair[0].display and pair[1].display  # the run does not know #2
    second = run(f'cryotrans predict #1 run "{a_run}" frames 2')
    assert second.display and not first.display
    run(f"cryotrans color #{first.id_string}")
    assert first.display and first.maps[0].display and not second.display and not pair[0].display
    run(f'cryotrans color #1 by strain run "{a_run}"')
    assert pair[0].display and not first.display and not second.display
    run(f"cryotrans domains #{second.id_string}")
    assert second.display and not first.display


@pytest.mark.parametrize(("number", "keyword"), [(1, "level"), (2, "toLevel")])
def test_train_asks_for_the_level_of_a_map_shown_as_an_image(run, home, pair, number, keyword):
    run(f"volume #{number} style image")
    message = rf"#{number} . shows no surface whose level.* {keyword} 0\.\d+ keeps the highest 1 %"
    with pytest.raises(UserError, match=message):
        run("cryotrans train #1 to #2")


def test_train_refuses_maps_that_do_not_overlap(run, home, pair):
    run("move x 35 models #2")  # what is left of it in the box is noise
    with pytest.raises(UserError, match=r"Nothing of #2 B above level 0.5 lies in the box of #1 A.*fitmap #2 inMap #1"):
        run("cryotrans train #1 to #2")
    run("move x 500 models #2")
    with pytest.raises(UserError, match="#2 B has no density in the box of #1 A"):
        run("cryotrans train #1 to #2")
    assert not (home / "CryoTRANS").exists()


def test_each_run_has_a_folder_of_its_own(run, pair, noted, home):
    run("rename #1 'x/y: z'")
    for number in (1, 2):
        with pytest.raises(UserError, match="a stand-in"):
            run("cryotrans train #1 to #2")
        assert Path(noted()[1]["-d"]) == home / "CryoTRANS" / ("x_y_z_to_B" if number == 1 else "x_y_z_to_B_2")


def test_train_refuses_a_folder_that_holds_a_run(run, home, pair, a_run):
    before = sorted(a_run.rglob("*"))
    with pytest.raises(UserError, match=r'a run holds a run already.*cryotrans resume ".*a run".*another directory'):
        run(f'cryotrans train #1 to #2 directory "{a_run}"')
    with pytest.raises(UserError, match=r"run\.json is a file"):
        run(f'cryotrans train #1 to #2 directory "{a_run}/run.json"')
    assert sorted(a_run.rglob("*")) == before


def test_train_says_when_the_folder_cannot_be_made(run, home, pair, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Give another directory"):
        run(f'cryotrans train #1 to #2 directory "{tmp_path}/file/below"')


@pytest.mark.parametrize(
    ("in_script", "is_gui", "typed", "waits"),
    [
        (False, True, "", False),
        (True, True, "", True),
        (False, False, "", True),
        (True, True, "wait false", False),
        (False, True, "wait true", True),
    ],
)
def test_commands_wait_in_scripts_and_without_windows(
    session, run, pair, noted, monkeypatch, in_script, is_gui, typed, waits
):
    monkeypatch.setattr(session.ui, "is_gui", is_gui)
    monkeypatch.setattr(BackgroundTask, "_let_window_draw", lambda task: None)  # there is none to be drawn
    with session.in_script if in_script else contextlib.nullcontext():
        if waits:
            with pytest.raises(UserError, match="a stand-in"):
                run(f"cryotrans train #1 to #2 {typed}")
        else:
            job = run(f"cryotrans train #1 to #2 {typed}")
            assert not job.done
            assert session.ui.wait_for(lambda: job.done)
            assert "a stand-in" in session.test_log.texts("error")[-1]


# Prediction


def test_predict_takes_the_last_run_on_the_map(session, run, home, pair, a_run):
    with pytest.raises(UserError, match=r"No run on #1 A is known.*cryotrans predict #1 run FOLDER"):
        run("cryotrans predict #1")
    runs_of(session).add(session, run_in(session, str(a_run)))
    runs_of(session).find(a_run).initial = pair[0]
    series = run("cryotrans predict #1 device cpu")
    assert series.name == "CryoTRANS A → B" and len(series.maps) == 11
    assert not pair[0].display and pair[1].display
    assert len(list((a_run / "frames").glob("frame_*.mrc"))) == 11
    assert (a_run / "frames" / "initial.mrc").is_file()
    with pytest.raises(UserError, match="No run on #2 B is known"):
        run("cryotrans predict #2")


def test_predict_takes_every_option(session, run, home, pair, a_run, tmp_path):
    folder = tmp_path / "new frames"
    series = run(
        f'cryotrans predict #1 run "{a_run}" level 0.4 frames 2 reverse true directory "{folder}" '
        f'name "back and forth" device cpu wait true'
    )
    assert series.name == "back and forth" and len(series.maps) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["frame_00.mrc", "frame_01.mrc", "initial.mrc"]
    # Reversed, the last frame is the initial map above its level.
    kept = np.where(pair[0].full_matrix() < 0.4, 0, pair[0].full_matrix())
    assert np.corrcoef(read_map(folder / "frame_01.mrc").density.ravel(), kept.ravel())[0, 1] > 0.99
    with pytest.raises(UserError, match="holds frames already"):
        run(f'cryotrans predict #1 run "{a_run}" directory "{folder}"')


def test_predict_takes_times_and_another_integrator(session, run, home, pair, a_run):
    series = run(f'cryotrans predict #1 run "{a_run}" times 0,0.3,1 integrator rk4 substeps 2 device cpu wait true')
    assert len(series.maps) == 3
    np.testing.assert_allclose(series.maps[0].full_matrix(), np.maximum(pair[0].full_matrix(), 0), atol=1e-6)
    with pytest.raises(UserError, match="a number of frames or their times"):
        run(f'cryotrans predict #1 run "{a_run}" times 0,1 frames 5')


def test_predict_takes_weights(run, pair, noted, a_run, home):
    with pytest.raises(UserError, match="a stand-in"):
        run(f'cryotrans predict #1 weights "{a_run}/net_1.pt"')
    program, options = noted()
    folder = str(home / "CryoTRANS" / "A_frames")
    assert program == "predict"
    assert options == {
        "-i": f"{folder}/initial.mrc",
        "-t": "0.0",
        "-d": folder,
        "-w": f"{a_run}/net_1.pt",
        "--device": "auto",
    }
    with pytest.raises(UserError, match="a run or weights, not both"):
        run(f'cryotrans predict #1 run "{a_run}" weights "{a_run}/net.pt"')


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("frames 1", "greater than or equal to 2"),
        ("reverse perhaps", "true or false"),
        ("run /no/such/folder", "does not exist"),
        ("weights /no/such/file", "does not exist"),
        ("device gpu", "cuda:N"),
        ("device cuda:0,1", "by one device, not by cuda:0,1"),
        ('run "{a_run}" level 5', "#1 A.*level"),
        ('run "{a_run}/maps"', "holds no run that has begun"),
    ],
)
def test_predict_says_what_is_wrong(run, home, pair, a_run, typed, message):
    with pytest.raises(UserError, match=message):
        run("cryotrans predict #1 " + typed.format(a_run=a_run))


def test_predict_uses_the_last_checkpoint_of_an_interrupted_run(run, pair, noted, a_run):
    (a_run / "net.pt").rename(a_run / "net_10.pt")  # after net_0, net_1 and net_2
    content = _content(a_run)
    del content["best"]
    (a_run / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="a stand-in"):
        run(f'cryotrans predict #1 run "{a_run}"')
    assert noted()[1]["-w"] == f"{a_run}/net_10.pt"
    for path in a_run.glob("net*.pt"):
        path.unlink()
    with pytest.raises(UserError, match="has no weights yet"):
        run(f'cryotrans predict #1 run "{a_run}"')


@pytest.mark.parametrize(
    ("words", "weights"),
    [("", "net_1.pt"), ("checkpoint best", "net_1.pt"), ("checkpoint last", "net.pt"), ("checkpoint 2", "net_2.pt")],
)
def test_predict_takes_the_checkpoint_that_is_asked_for(run, pair, noted, a_run, words, weights):
    (a_run / "run.json").write_text(json.dumps({**_content(a_run), "best": {"step": 2, "weights": "net_1.pt"}}))
    with pytest.raises(UserError, match="a stand-in"):
        run(f'cryotrans predict #1 run "{a_run}" {words}')
    assert noted()[1]["-w"] == f"{a_run}/{weights}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ('run "{a_run}" checkpoint 7', r"has no checkpoint 7\. It has 0, 1, 2\."),
        ('run "{a_run}" checkpoint best', "does not say which checkpoint is its best. Use checkpoint last"),
        ('run "{a_run}" checkpoint first', "Expected best, last, or a number from 0"),
        ('run "{a_run}" checkpoint -1', 'Invalid "checkpoint" argument'),
        ('weights "{a_run}/net.pt" checkpoint 1', "A checkpoint is one of a run"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_said(run, home, pair, a_run, words, message):
    (a_run / "run.json").write_text(json.dumps({**_content(a_run), "best": None}))
    with pytest.raises(UserError, match=message):
        run(f"cryotrans predict #1 {words.format(a_run=a_run)}")
    assert not (a_run / "frames").exists()


@pytest.mark.parametrize(("reverse", "name"), [(False, "A → B"), (True, "B → A")])
def test_series_is_named_for_its_direction(pair, a_run, reverse, name):
    assert predict._way(pair[0], Run(a_run), reverse) == name


# Resuming


def test_resume_goes_on_and_opens_the_maps(session, run, home, a_run):
    with pytest.raises(UserError, match=rf'has done its 4 steps.*cryotrans resume "{a_run}" steps 8'):
        run(f'cryotrans resume "{a_run}"')
    job = run(f'cryotrans resume "{a_run}" steps 6 frames 2 device cpu open true wait true')
    assert _content(a_run)["step"] == 6 and _content(a_run)["state"] == "finished"
    assert len((a_run / "loss.log").read_text().split()) == 7
    assert job.series.name == "CryoTRANS A → B"
    models = {model.name: model for model in session.models.list() if model.id in ((1,), (2,))}
    assert set(models) == {"A", "B"} and not any(model.display for model in models.values())
    assert "going on with A → B from step 4 of 6" in "\n".join(session.test_log.texts("info"))


def test_resume_finds_maps_that_are_open(session, run, pair, noted, a_run):
    path = a_run / "maps" / "models.json"
    models = {key: {"name": model.name, "path": model.data.path} for key, model in zip(("initial", "target"), pair)}
    path.write_text(json.dumps(models))
    with pytest.raises(UserError, match="a stand-in"):
        run(f'cryotrans resume "{a_run}" steps 6 open false')
    assert noted() == ("train", {"--resume": True, "-d": str(a_run), "-n": "6"})
    assert session.models.list(type=type(pair[0])) == pair
    found = runs_of(session).find(a_run)
    assert (found.initial, found.target) == tuple(pair)


def test_resume_takes_a_run_of_the_programs(session, run, home, a_run, noted):
    (a_run / "maps").rename(a_run / "elsewhere")
    path = a_run / "run.json"
    path.write_text(path.read_text().replace("/maps/", "/elsewhere/"))
    (a_run / "elsewhere" / "models.json").unlink()
    with pytest.raises(UserError, match="a stand-in"):
        run(f'cryotrans resume "{a_run}" steps 6 device cpu')
    assert noted() == ("train", {"--resume": True, "-d": str(a_run), "-n": "6", "--device": "cpu"})
    models = [model for model in session.models.list() if len(model.id) == 1]
    assert [(model.name, model.display) for model in models] == [("initial", False), ("target", False)]


@pytest.mark.parametrize(
    ("break_", "message"),
    [
        (lambda folder: (folder / "run.json").unlink(), "holds no run that has begun"),
        (lambda folder: (folder / "run.json").write_text("{"), r"run\.json cannot be read"),
        (lambda folder: (folder / "maps" / "target.mrc").unlink(), "target.mrc of this run is gone"),
    ],
)
def test_resume_says_what_is_wrong(run, home, a_run, break_, message):
    break_(a_run)
    with pytest.raises(UserError, match=message):
        run(f'cryotrans resume "{a_run}" steps 6')


# Beginning


def test_demo_opens_a_pair_to_train_on(session, run, home):
    initial, target = run("cryotrans demo")
    assert (initial.name, target.name) == ("demo_initial.mrc", "demo_target.mrc")
    assert (home / "CryoTRANS" / "demo" / "demo_initial.mrc").is_file()
    assert initial.minimum_surface_level == target.minimum_surface_level == pytest.approx(0.24)
    assert list(initial.surfaces[0].color) != list(target.surfaces[0].color)
    assert "cryotrans train #1 to #2" in session.test_log.texts("info")[-1]
    assert run(f'cryotrans demo directory "{home}/elsewhere"')
    assert (home / "elsewhere" / "demo_target.mrc").is_file()
    job = run(f"cryotrans train #1 to #2 steps 1 {SMALL} frames 2 device cpu")
    assert job.series.name == "CryoTRANS demo_initial.mrc → demo_target.mrc"


def test_train_without_pytorch_says_so_before_anything(session, run, home, pair):
    user_settings(session).python = ""  # and ChimeraX's own Python, here that of the virtual environment, has none
    with pytest.raises(UserError, match=r"needs PyTorch, which is not here yet\..*cryotrans install"):
        run("cryotrans train #1 to #2")
    assert 'href="cxcmd:cryotrans%20install"' in "\n".join(session.test_log.texts("info"))
    assert not (home / "CryoTRANS").exists()


def test_commands_are_those_of_the_xml_and_have_usage(session, run, cryotrans_bundle):
    assert {info.name for info in cryotrans_bundle.commands} == set(registration.COMMANDS)
    for name, command in registration.COMMANDS.items():
        [info] = [info for info in cryotrans_bundle.commands if info.name == name]
        assert info.synopsis == command.description["synopsis"]
        run(f"usage {name}")


@pytest.mark.parametrize("name", registration.COMMANDS)
def test_every_keyword_is_taken(name):
    """ChimeraX looks only for what the function wants and nobody gives; a keyword too many would be a traceback."""
    function, description = registration.COMMANDS[name]
    parameters = inspect.signature(function).parameters
    given = [word for kind in ("required", "optional", "keyword") for word, _ in description.get(kind, ())]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert set(given) <= set(parameters)


def test_commands_import_no_torch():
    """In a process of its own: other tests may have loaded it in this one."""
    code = "import sys, chimerax.cryotrans.app.commands.registration; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK") is None


# Files of the user


def test_predict_writes_over_no_file(run, home, pair, a_run, tmp_path):
    (tmp_path / "initial.mrc").write_text("mine")
    with pytest.raises(UserError, match=r"a map named initial\.mrc"):
        run(f'cryotrans predict #1 run "{a_run}" directory "{tmp_path}"')
    assert (tmp_path / "initial.mrc").read_text() == "mine"


def test_train_writes_over_no_maps(run, home, pair, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "initial.mrc").write_text("mine")
    with pytest.raises(UserError, match="holds a folder maps"):
        run(f'cryotrans train #1 to #2 directory "{tmp_path}"')
    assert (tmp_path / "maps" / "initial.mrc").read_text() == "mine"


def test_weights_are_found_from_where_the_user_is(run, pair, noted, a_run, monkeypatch):
    monkeypatch.chdir(a_run)
    with pytest.raises(UserError, match="a stand-in"):
        run("cryotrans train #1 to #2 weights net.pt")
    assert noted()[1]["-w"] == f"{a_run}/net.pt"


def test_predict_takes_a_map_shown_as_an_image(session, run, home, pair, a_run):
    run("volume #1 style image")
    series = run(f'cryotrans predict #1 weights "{a_run}/net.pt" level 0.2 frames 2 device cpu')
    assert len(series.maps) == 2


def test_a_run_that_failed_does_not_hide_an_earlier_one(session, run, home, pair, a_run, tmp_path):
    runs_of(session).add(session, Run(a_run, *pair))
    (tmp_path / "bad.pt").write_text("no weights")
    with pytest.raises(UserError, match=r"bad\.pt"):
        run(f'cryotrans train #1 to #2 weights "{tmp_path}/bad.pt"')
    assert len(run("cryotrans predict #1 frames 2 device cpu").maps) == 2


def test_a_run_file_that_lacks_something_is_said(session, run, home, pair, a_run):
    (a_run / "run.json").write_text('{"options": {}}')
    with pytest.raises(UserError, match=r"run\.json lacks 'step'"):
        run(f'cryotrans resume "{a_run}"')
    runs_of(session).add(session, Run(a_run))
    run("cryotrans runs")
    assert "damaged" in session.test_log.texts("info")[-1]


def test_frames_in_a_folder_with_brackets_open(session, run, a_run, tmp_path):
    folder = shutil.copytree(a_run, tmp_path / "a[1]b")
    (folder / "frames").mkdir()
    for i in range(2):
        shutil.copy(folder / "maps" / "initial.mrc", folder / "frames" / f"frame_0{i}.mrc")
    run(open_command(folder / "frames"))
    assert [len(series.maps) for series in session.models.list(type=MapSeries)] == [2]
