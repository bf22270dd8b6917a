"""--overwrite and --resume remove only what is the run's, and never what is to be read."""

from __future__ import annotations

import json
import shutil

import pytest
from phantoms import LEVEL
from running import QUICK, call, contents, run_json, training

from chimerax.cryotrans.engine.files.run_directory import RunDirectory

MAPS = {"-i0": "initial.mrc", "-i1": "target.mrc", "--validation-map": "target.mrc"}
WHAT = {
    "-i0": "the initial map (-i0)",
    "-i1": "the target map (-i1)",
    "-w": "the weights to start from (-w)",
    "--validation-map": "the validation map (--validation-map)",
}


def _refused(capsys, folder, *line):
    before = contents(folder)
    result = call(capsys, *line)
    assert result.status == 2 and contents(folder) == before
    return result.err.splitlines()[-1]


@pytest.fixture
def run_folder(maps, tmp_path, capsys):
    assert call(capsys, *training(maps, tmp_path / "run")).status == 0
    return tmp_path / "run"


@pytest.mark.parametrize("flag", [*MAPS, "-w"])
@pytest.mark.parametrize("name", ["generated.mrc", "leg_1/generated.mrc"])
def test_overwrite_never_removes_an_input(maps, run_folder, capsys, flag, name):
    """Not even one that lies where a run would keep such a file, with no run.json to say whose it is."""
    path = run_folder / name
    path.parent.mkdir(exist_ok=True)
    source = run_folder / "net.pt" if flag == "-w" else maps / MAPS[flag]
    shutil.copy(source, path)
    line = [word for word in training(maps, run_folder) if flag != "-w" or word not in QUICK[:2]]
    said = _refused(capsys, run_folder, *line, "--overwrite", flag, path)
    assert said == f"--overwrite would remove {path}, {WHAT[flag]}. Choose another directory (-d)."


def test_overwrite_in_a_folder_that_holds_no_run_but_the_initial_map(maps, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    path = shutil.copy(maps / "initial.mrc", tmp_path / "run" / "generated.mrc")
    said = _refused(capsys, tmp_path, *training(maps, tmp_path / "run"), "-i0", path, "--overwrite")
    assert f"--overwrite would remove {path}, the initial map" in said
    assert "generated.mrc that a new run would replace" in _refused(
        capsys, tmp_path, *training(maps, tmp_path / "run"), "-i0", path
    )


@pytest.mark.parametrize("which", [0, 1, 2])
def test_overwrite_never_removes_an_input_of_several_legs(maps, run_folder, capsys, which):
    path = shutil.copy(maps / "target.mrc", run_folder / "residual.mrc")
    paths = [maps / "initial.mrc", maps / "target.mrc", maps / "initial.mrc"]
    paths[which] = path
    words = ["-i0", paths[0], "-t0", LEVEL, "-i1", paths[1], "-i1", paths[2], "-t1", LEVEL, "-n", 2, "-p", 2]
    said = _refused(capsys, run_folder, "train", *words, *QUICK, "-d", run_folder, "--overwrite")
    assert said.startswith(f"--overwrite would remove {path}, the {'target' if which else 'initial'} map")


@pytest.mark.parametrize("name", ["report.html", "strain.mrc", "net.pt", "fsc.csv"])
@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_files_of_the_user_are_no_run(maps, tmp_path, capsys, name, more):
    (tmp_path / name).write_text("mine")
    said = _refused(capsys, tmp_path, *training(maps, tmp_path), *more)
    assert said == (
        f"{tmp_path} holds {name} that a new run would replace, and no run.json that says they are a run's. Move them "
        f"away, or choose another directory (-d)."
    )


def test_a_file_that_was_put_into_a_run_stays(maps, run_folder, capsys):
    """The run was made with --no-report, so that no maps of the motion are its own."""
    (run_folder / "strain.mrc").write_text("mine")
    said = _refused(capsys, run_folder, *training(maps, run_folder), "--overwrite")
    assert "holds strain.mrc that a new run would replace" in said


def test_run_json_names_the_files_from_the_beginning(maps, tmp_path, capsys, monkeypatch):
    seen = []
    write = RunDirectory.write

    def look(self, content):
        there = {path.name for path in tmp_path.iterdir()} - {"run.lock"}
        assert there <= set(content["files"])
        seen.append(content["files"])
        write(self, content)

    monkeypatch.setattr(RunDirectory, "write", look)
    line = [word for word in training(maps, tmp_path, 4, 2) if word != "--no-report"]
    assert call(capsys, *line).status == 0
    assert {path.name for path in tmp_path.iterdir()} <= set(run_json(tmp_path)["files"])
    assert "net_0.pt" in seen[0] and "net_2.pt" not in seen[0] and "net_2.pt" in seen[-1]
    assert "strain.mrc" in seen[0]


def test_a_run_that_names_no_files_can_be_replaced_and_resumed(maps, run_folder, capsys):
    """As the versions before wrote them."""
    content = run_json(run_folder)
    del content["files"]
    (run_folder / "run.json").write_text(json.dumps(content))
    assert call(capsys, "train", "--resume", "-d", run_folder, "-n", 6).status == 0
    assert {"net_0.pt", "net_3.pt"} <= set(run_json(run_folder)["files"])
    (run_folder / "run.json").write_text(json.dumps(content))
    assert call(capsys, *training(maps, run_folder), "--overwrite").status == 0
    assert not (run_folder / "net_3.pt").exists()


# Resuming


@pytest.fixture
def reported(maps, tmp_path, capsys):
    """A finished run with its report and the maps of its motion, and a validation map."""
    validation = shutil.copy(maps / "target.mrc", tmp_path / "validation.mrc")
    line = [word for word in training(maps, tmp_path / "run") if word != "--no-report"]
    assert call(capsys, *line, "--validation-map", validation).status == 0
    assert {"report.html", "motion.npz", "residual.mrc"} <= {path.name for path in (tmp_path / "run").iterdir()}
    return tmp_path / "run"


def test_resuming_that_fails_removes_nothing(reported, capsys):
    (reported.parent / "validation.mrc").unlink()
    said = _refused(capsys, reported, "train", "--resume", "-d", reported, "-n", 8)
    assert "validation.mrc" in said


def test_resuming_that_goes_on_takes_the_earlier_end_away(reported, capsys, monkeypatch):
    """For it is of other weights; here nothing new comes in its place."""
    from chimerax.cryotrans.programs import keeping

    monkeypatch.setattr(keeping, "conclude", lambda *arguments: None)
    assert call(capsys, "train", "--resume", "-d", reported, "-n", 8).status == 0
    assert not {"report.html", "motion.npz", "residual.mrc"} & {path.name for path in reported.iterdir()}
