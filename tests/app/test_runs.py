"""Which runs are known: in this session, in a session file, and from earlier sessions of the user."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from chimerax.cryotrans.app.places import free_folder
from chimerax.cryotrans.app.runs import Run, known_runs, runs_of, source_of
from chimerax.cryotrans.app.settings import remember_run, user_settings
from chimerax.cryotrans.engine.files.run_directory import RunDirectory

SMALL = "depth 2 width 8 w2Iter 2 device cpu frames 2"


def _say(folder, **facts):
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, **facts}))


def _rows(session):
    """Cells of the last table in the Log, without their HTML."""
    table = session.test_log.texts("info")[-1]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    return [[re.sub("<[^>]*>", "", cell.replace("<br>", "|")) for cell in row] for row in rows if row]


def test_runs_says_what_to_try_when_there_is_none(session, run, home):
    assert run("cryotrans runs") == []
    assert "cxcmd:cryotrans%20demo" in session.test_log.texts("info")[-1]


def test_table_of_runs(session, run, home, pair, a_run, tmp_path):
    folders = {}
    for state in ("stopped", "failed", "running", "finished"):
        folders[state] = Path(shutil.copytree(a_run, tmp_path / state))
        _say(folders[state], state=state, step=2)
        remember_run(session, folders[state])
    (folders["finished"] / "frames").mkdir()
    shutil.copy(a_run / "maps" / "initial.mrc", folders["finished"] / "frames" / "frame_00.mrc")
    gone = tmp_path / "gone"
    remember_run(session, gone)
    runs_of(session).add(session, Run(a_run, pair[0], pair[1]))
    (damaged := tmp_path / "damaged").mkdir()
    (damaged / "run.json").write_text("{")
    remember_run(session, damaged)
    (begun := tmp_path / "begun").mkdir()
    remember_run(session, begun)

    run("cryotrans runs")
    rows = {row[0].split("|")[1]: row for row in _rows(session)}
    assert list(rows) == [str(folder) for folder in (a_run, begun, damaged, *list(folders.values())[::-1])]
    assert rows[str(a_run)] == [f"A → B|{a_run}", "finished|4 of 4", "predict"]
    assert rows[str(folders["stopped"])] == [f"A → B|{folders['stopped']}", "stopped|2 of 4", "resume"]
    assert rows[str(folders["failed"])][1:] == ["failed|2 of 4", "resume"]
    assert rows[str(folders["running"])][1:] == ["interrupted|2 of 4", "resume"]  # nothing works on it
    assert rows[str(folders["finished"])][1:] == ["finished|2 of 4", "open"]
    assert rows[str(damaged)] == [f"damaged|{damaged}", "damaged", ""]
    assert rows[str(begun)][1] == "not begun"
    html = session.test_log.texts("info")[-1]
    assert f"cxcmd:cryotrans%20resume%20{folders['stopped']}" in html
    assert "cxcmd:cryotrans%20predict%20%231%20run%20%22" in html  # a path with a blank in it is quoted


def test_run_of_another_program_is_running(a_run):
    _say(a_run, state="running")
    with RunDirectory(a_run).locked():
        assert Run(a_run).state() == "running"
    assert Run(a_run).state() == "interrupted"


def test_names_are_escaped(session, run, home, tmp_path):
    (tmp_path / "a&b").mkdir()
    remember_run(session, tmp_path / "a&b")
    run("cryotrans runs")
    table = session.test_log.texts("info")[-1]
    assert table.count("a&amp;b<") == 2 and "a&b<" not in table  # as a name and as a folder


def test_recent_runs_are_the_users(session, home, tmp_path):
    for number in range(40):
        (tmp_path / f"run {number}").mkdir()
        remember_run(session, tmp_path / f"run {number}")
    remember_run(session, tmp_path / "run 20")
    recent = [Path(folder).name for folder in user_settings(session).recent_runs]
    assert recent[:2] == ["run 20", "run 39"] and len(recent) == 30 and recent.count("run 20") == 1
    runs_of(session).add(session, Run(tmp_path / "run 38"))
    assert [run.folder.name for run in known_runs(session)][:3] == ["run 38", "run 20", "run 39"]


def test_last_run_on_a_map_is_found_by_its_model_or_its_file(session, home, pair, a_run, tmp_path):
    runs = runs_of(session)
    other = Path(shutil.copytree(a_run, tmp_path / "other"))
    assert runs.last_on(session, pair[0]) is None
    models = {"initial": {"name": "A", "path": source_of(pair[0])}, "target": {"name": "B", "path": None}}
    (other / "maps" / "models.json").write_text(json.dumps(models))
    remember_run(session, other)  # of an earlier session
    assert runs.last_on(session, pair[0]).folder == other
    runs.add(session, Run(a_run, pair[0], pair[1]))
    assert runs.last_on(session, pair[0]).folder == a_run
    assert runs.last_on(session, pair[1]) is None


def test_run_of_the_programs_has_names_too(a_run):
    (a_run / "maps" / "models.json").unlink()
    assert Run(a_run).title() == "initial → target"
    (a_run / "run.json").unlink()
    assert Run(a_run).title() == "a run" and Run(a_run).models() == {}


def test_weights_are_the_last_ones(tmp_path):
    run = Run(tmp_path)
    assert run.weights() is None
    for name in ("net_9.pt", "net_10.pt", "net_old.pt"):
        (tmp_path / name).touch()
        run.weights()
    assert run.weights() == tmp_path / "net_10.pt"
    (tmp_path / "net.pt").touch()
    assert run.weights() == tmp_path / "net.pt"


def test_free_folder_makes_the_one_after_the_last(tmp_path):
    names = [free_folder(tmp_path / "new" / "frames").name for _ in range(3)]
    assert names == ["frames", "frames_2", "frames_3"]
    (tmp_path / "new" / "frames_2").rmdir()
    (tmp_path / "new" / "frames_best").mkdir()
    assert free_folder(tmp_path / "new" / "frames").name == "frames_4"


def test_the_latest_frames_are_so_whatever_the_clock_was(a_run):
    """One set back, or that of a server."""
    for number in range(1, 12):
        folder = free_folder(a_run / "frames")
        shutil.copy(a_run / "maps" / "initial.mrc", folder / "frame_00.mrc")
        os.utime(folder, (4_000_000_000 - number, 4_000_000_000 - number))
    assert [folder.name for folder in Run(a_run).frames()][-3:] == ["frames_9", "frames_10", "frames_11"]


def test_a_run_in_a_folder_that_cannot_be_reached(session, run, home, a_run, tmp_path):
    """As on a network share that is lost: the system does not say that it is not there, but fails."""
    lost = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="too long"):
        lost.is_dir()
    remember_run(session, a_run)
    remember_run(session, lost)
    runs_of(session).add(session, Run(lost))
    assert Run(lost).state() == "gone" and Run(lost).weights() is None and not Run(lost).can_go_on
    run("cryotrans runs")
    assert [row[1].split("|")[0] for row in _rows(session)] == ["gone", "finished"]
    run("close session")
    assert [known.folder for known in known_runs(session)] == [a_run]


# Sessions


def _reopen(run, path):
    run(f'save "{path}"')
    run("close session")
    run(f'open "{path}"')


def test_session_file_needs_no_bundle_of_ours(session, home, pair, a_run):
    runs_of(session).add(session, Run(a_run, pair[0], pair[1]))
    session.save(stream := io.BytesIO(), 3)
    assert b"CryoTRANS runs" in stream.getvalue() and b"ChimeraX-CryoTRANS" not in stream.getvalue()
    runs_of(session).reset_state(session)
    session.save(stream := io.BytesIO(), 3)
    assert b"CryoTRANS runs" not in stream.getvalue()


def test_finished_run_survives_with_its_maps(session, run, home, pair, a_run, tmp_path):
    runs_of(session).add(session, Run(a_run, pair[0], pair[1]))
    _reopen(run, tmp_path / "s.cxs")
    [found] = runs_of(session)
    models = {model.name: model for model in session.models.list() if model.id in ((1,), (2,))}
    assert (found.folder, found.initial, found.target) == (a_run, models["A"], models["B"])
    assert found.state() == "finished" and found.task is None
    series = run("cryotrans predict #1 frames 2 device cpu")
    assert series.name == "CryoTRANS A → B"
    assert not any(text.startswith("Unable") for text in session.test_log.texts("warning", "error", "bug"))


def test_closed_map_is_not_saved(session, run, home, pair, a_run, tmp_path):
    runs_of(session).add(session, Run(a_run, pair[0], pair[1]))
    run("close #1")
    _reopen(run, tmp_path / "s.cxs")
    [found] = runs_of(session)
    assert found.initial is None and found.target.name == "B"


def test_running_run_is_stopped_in_the_reopened_session(session, run, home, pair, tmp_path):
    folder = tmp_path / "run"
    job = run(f'cryotrans train #1 to #2 steps 1000000 period 20 {SMALL} wait false directory "{folder}"')
    assert session.ui.wait_for(lambda: (folder / "net_1.pt").exists(), 60)
    run(f'save "{tmp_path}/s.cxs"')
    assert not job.done  # saving does not disturb it
    run("close session")
    assert session.ui.wait_for(lambda: job.done, 60)
    run(f'open "{tmp_path}/s.cxs"')
    [found] = runs_of(session)
    assert found.state() == "stopped"
    run("cryotrans runs")
    assert _rows(session)[0][1].startswith("stopped|") and _rows(session)[0][2] == "resume, predict"
    content = json.loads((folder / "run.json").read_text())
    resumed = run(f'cryotrans resume "{folder}" steps {content["step"] + 2} frames 2')
    assert resumed.series.name == "CryoTRANS A → B"
    assert len([model for model in session.models.list() if len(model.id) == 1]) == 3  # the maps are those of before


def test_failed_run_survives(session, run, home, pair, a_run, tmp_path):
    _say(a_run, state="failed", message="Out of memory.")
    runs_of(session).add(session, Run(a_run, pair[0], pair[1]))
    _reopen(run, tmp_path / "s.cxs")
    run("cryotrans runs")
    assert _rows(session)[0][1].startswith("failed|")


def test_session_file_of_a_lost_folder_opens(session, run, home, pair, a_run, tmp_path):
    runs_of(session).add(session, Run(a_run, pair[0], pair[1]))
    run(f'save "{tmp_path}/s.cxs"')
    shutil.rmtree(a_run)
    run("close session")
    run(f'open "{tmp_path}/s.cxs"')
    run("cryotrans runs")
    assert _rows(session)[0][1] == "gone"


@pytest.mark.parametrize("is_known", [True, False])
def test_session_added_to_another_keeps_the_runs_of_both(session, run, home, pair, a_run, tmp_path, is_known):
    runs_of(session).add(session, Run(a_run, pair[0], pair[1]))
    run(f'save "{tmp_path}/s.cxs"')
    run("close session")
    mine = Run(a_run if is_known else tmp_path)
    runs_of(session).add(session, mine)
    run(f'open "{tmp_path}/s.cxs" combine true')
    assert [other.folder for other in runs_of(session)] == ([a_run] if is_known else [tmp_path, a_run])
    assert runs_of(session).find(mine.folder) is mine


def test_weights_are_those_of_the_checkpoint(a_run):
    run = Run(a_run)
    _say(a_run, best={"step": 2, "weights": "net_1.pt"})
    assert [run.weights(wanted).name for wanted in (None, "best", "last", 0, 2)] == [
        *("net_1.pt", "net_1.pt", "net.pt", "net_0.pt", "net_2.pt")
    ]
    assert run.weights(7) is None
    (a_run / "net_1.pt").unlink()
    assert run.weights("best") is None and run.weights().name == "net.pt"


@pytest.mark.parametrize("written", ["{", "{}", None])
def test_weights_of_a_run_that_tells_no_best_are_the_last(a_run, written):
    if written is None:
        _say(a_run, best=None)
    else:
        (a_run / "run.json").write_text(written)
    assert Run(a_run).weights().name == "net.pt" and Run(a_run).weights("best") is None
