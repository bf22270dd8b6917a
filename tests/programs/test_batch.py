"""cryotrans-batch: a table is checked whole, and Snakemake runs its pairs, each once, whatever is killed meanwhile."""

from __future__ import annotations

import csv
import importlib.util
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import gemmi
import pytest
from phantoms import LEVEL, two_domains, write_mrc
from running import contents, run_json

from chimerax.cryotrans.engine.files.batch_folder import read_table
from chimerax.cryotrans.programs.batch import program
from chimerax.cryotrans.programs.batch.outcome import motion_of_model
from chimerax.cryotrans.programs.command_line import main as one_program

needs_snakemake = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="needs Snakemake, and that Python 3.11"
)
HEAD = ["name", "initial", "target", "initial level", "target level"]
QUICK = {"recipe": "cryotrans", "n_steps": 6, "period": 2, "width": 12, "w2_iter": 2, "lr": 5e-3, "device": "cpu"}
LONG = {**QUICK, "n_steps": 120, "period": 10}


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three maps of one molecule, and what is none."""
    folder = tmp_path_factory.mktemp("states")
    for name, place in (("a", 0.0), ("b", 1.0), ("c", 0.5)):
        write_mrc(folder / f"{name}.mrc", two_domains(place))
    (folder / "noise.pt").write_text("no weights")
    return folder


def table(path: Path, head: list[str], *rows: list[object]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def faults(capsys: pytest.CaptureFixture[str], path: Path, results: Path) -> list[str]:
    """What is said against a table, line by line; nothing may have been made."""
    capsys.readouterr()
    assert program.main([str(path), "-d", str(results)]) == 2
    assert not results.exists()
    return capsys.readouterr().err.splitlines()


# The table


def test_all_faults_are_told_with_their_lines(states, tmp_path, capsys):
    head = [*HEAD, "hold-out", "seed", "frames", "debiased", "recipe", "model"]
    rows = [
        ["one", "a.mrc", "b.mrc", "half", 0.5],
        ["two", "a.mrc", "gone.mrc", 0.5, 0.5],
        ["three", "a.mrc", "noise.pt", 0.5, 0.5],
        ["four", "a.mrc", "b.mrc", 0.5, 50],
        ["five", "a.mrc", "b.mrc", "", 0.5],
        ["six", "a.mrc", "b.mrc", 0.5, 0.5, 0.7],
        ["seven", "a.mrc", "b.mrc", 0.5, 0.5, "", 1, 3, "maybe"],
        ["two", "b.mrc", "a.mrc", 0.5, 0.5, "", "", "", "", "cryotrans"],
        ["../up", "a.mrc", "b.mrc", 0.5, 0.5],
    ]
    said = faults(capsys, table(states / "bad.csv", head, *rows), tmp_path / "results")
    assert said[0].endswith("bad.csv has 11 faults, and nothing was started:") and said[-1] == "  and 1 more."
    expected = [
        (2, "“initial level” must be a number, not 'half'"),
        (3, f"no file {states / 'gone.mrc'}"),
        (4, "noise.pt is not an MRC"),
        (5, "Level 50 keeps nothing"),
        (6, "“initial level” is missing. “initial level”"),
        (7, "(“hold-out”) must be above 0 and below 0.5, not 0.7"),
        (8, "“debiased” must be yes or no"),
        (9, "“n_steps” is missing, which “recipe” cryotrans needs"),
        (9, "“period” is missing"),
        (9, "name of line 3, two"),
    ]
    told = {(int(re.match(r"  line (\d+): ", line)[1]), line) for line in said[1:-1]}
    assert len(told) == len(said) - 2
    for number, text in expected:
        assert any(line == number and text in whole for line, whole in told), (text, said)


@pytest.mark.parametrize(
    ("head", "row", "text"),
    [
        ([*HEAD, "frame"], ["x", "a.mrc", "b.mrc", 0.5, 0.5, 3], "no column “frame”. Is “frames” meant?"),
        ([*HEAD, "Initial Level"], ["x", "a.mrc", "b.mrc", 0.5, 0.5, 3], "two columns “initial level”"),
        ([*HEAD, "overwrite"], ["x", "a.mrc", "b.mrc", 0.5, 0.5, "yes"], "no column “overwrite”"),
        (HEAD, ["x", "a.mrc", "b.mrc", 0.5, 0.5, 3], "line 2: it has 6 cells for 5 columns"),
        (HEAD, [], "holds no pairs"),
    ],
)
def test_what_is_no_table(states, tmp_path, capsys, head, row, text):
    [said] = faults(capsys, table(states / "bad.csv", head, row), tmp_path / "results")
    assert text in said


def test_without_snakemake_it_says_how_to_get_it(states, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "snakemake", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    [said] = faults(capsys, table(states / "fine.csv", HEAD, ["", "a.mrc", "b.mrc", 0.5, 0.5]), tmp_path / "results")
    assert "needs Snakemake 9" in said and "pip install" in said


def test_motion_of_a_model_is_from_its_first_frame_to_its_last(tmp_path):
    structure = gemmi.Structure()
    for shift in (0.0, 1.0, 3.0):
        model, chain, residue = gemmi.Model(len(structure) + 1), gemmi.Chain("A"), gemmi.Residue()
        for number, way in enumerate((0.0, shift)):  # one atom stays, the other goes
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = f"C{number}", gemmi.Element("C"), gemmi.Position(way, 5 * number, 0)
            residue.name = "ALA"
            residue.add_atom(atom)
        chain.add_residue(residue)
        model.add_chain(chain)
        structure.add_model(model)
    structure.write_pdb(str(tmp_path / "frame_model.pdb"))
    assert motion_of_model(tmp_path) == pytest.approx((3.0**2 / 2) ** 0.5)
    assert math.isnan(motion_of_model(tmp_path / "none"))


# The work


def batch(*arguments: object, **settings) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "chimerax.cryotrans.programs.batch.program", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        encoding="utf-8",
        stdout=-3,
        stderr=subprocess.PIPE,
        **settings,
    )


def job_of(process: subprocess.Popen[str], name: str):
    """The process that trains a pair."""
    import psutil

    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if "python" in Path(words[0] if words else "").name and "pair" in words and name in words:
            return child
    return None


class Finished:
    """Three pairs, one of which was killed in the middle, and one of which cannot be run."""

    def __init__(self, states: Path, results: Path) -> None:
        self.results = results
        head = [*HEAD, *QUICK, "weight", "no-report", "frames"]
        quick, slow = QUICK.values(), LONG.values()
        levels = [LEVEL, LEVEL]
        rows = [
            ["near", "a.mrc", "c.mrc", *levels, *quick, "", "no", 3],
            ["killed", "a.mrc", "b.mrc", *levels, *slow, "", "yes", 3],
            ["failing", "b.mrc", "c.mrc", *levels, *quick, "noise.pt", "yes", 3],
        ]
        self.table = table(states / "pairs.csv", head, *rows)
        with batch(self.table, "-d", results, "--cores", 1) as process:
            self.killed_at = self._kill(process)
            self.said = process.communicate(timeout=120)[1]
        self.status = process.returncode

    def _kill(self, process: subprocess.Popen[str]) -> int:
        """Kill the job of one pair once it has a state; the step of which."""
        end = time.monotonic() + 120
        path = self.results / "pairs" / "killed" / "run.json"
        while time.monotonic() < end and process.poll() is None:
            step = run_json(path.parent).get("step", 0) if path.is_file() else 0
            if step >= 10 and (job := job_of(process, "killed")) is not None:
                job.kill()
                return step
            time.sleep(0.02)
        pytest.fail(f"The job was not caught: {process.communicate()}")


@pytest.fixture(scope="module")
def finished(states: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(states, tmp_path_factory.mktemp("batch") / "the results")


@needs_snakemake
def test_every_pair_has_an_outcome(finished):
    assert finished.status == 1, finished.said  # one has failed
    outcomes = {outcome.name: outcome for outcome in read_table(finished.results / "table.csv")}
    assert [outcome.verdict == "failed" for outcome in outcomes.values()] == [False, False, True]  # last in the table
    assert set(outcomes) == {"near", "killed", "failing"}
    assert "noise.pt" in outcomes["failing"].said and outcomes["failing"].said in finished.said
    content = run_json(finished.results / "pairs" / "near")
    assert outcomes["near"].verdict == content["verdict"]["word"]
    moved = outcomes["near"].distance
    assert 0.5 < moved < 4  # half of 4.7 Å, of a little less than half of the mass
    assert (finished.results / "pairs" / "near" / "frames" / "frame_02.mrc").is_file()
    assert (finished.results / "benchmarks" / "near.tsv").read_text().startswith("s\t")


@needs_snakemake
def test_killed_job_goes_on_and_ends_as_if_nothing_had_been(finished, states, tmp_path):
    folder = finished.results / "pairs" / "killed"
    assert 0 < finished.killed_at < LONG["n_steps"]
    log = (finished.results / "logs" / "killed.log").read_text(encoding="utf-8")
    assert len(re.findall(r"Going on from step \d+ of 120", log)) == 1
    words = ["-i0", states / "a.mrc", "-i1", states / "b.mrc", "-t0", LEVEL, "-t1", LEVEL, "--seed", 0, "--no-report"]
    words += [word for name, value in LONG.items() for word in (f"--{name}", value)]
    assert one_program(["train", *map(str, words), "-d", str(tmp_path / "run"), "--progress", "none"]) == 0
    for name in ("loss.log", "net.pt"):
        assert (folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@needs_snakemake
def test_report_shows_all_of_it(finished):
    page = (finished.results / "report.html").read_text(encoding="utf-8")
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', page)
    assert [kind for kind, _ in rows][-1] == "failed" and len(rows) == 3
    near = next(row for _, row in rows if ">near<" in row)
    assert 'href="pairs/near/report.html"' in near and 'src="data:image/png;base64,' in near
    assert (finished.results / "pairs" / "near" / "report.html").is_file()
    assert "noise.pt" in rows[-1][1]
    distances, motions = (part.split("</table>")[0] for part in page.split('<table class="states">')[1:])
    assert re.findall(r'<th scope="(\w+)">(\w+)<', distances) == [
        ("col", "c"),
        ("col", "b"),
        ("row", "a"),
    ]  # as in the table
    far, near = (float(re.search(rf'title="{name}: ([\d.]+) Å', distances)[1]) for name in ("killed", "near"))
    assert far > 1.5 * near  # the whole way is longer than half of it
    assert re.findall(r'title="(\w+):', motions) == ["near"]  # the other leaves no report and no maps of its motion
    assert not re.findall(r'(?:src|href)="(?:https?:|/)', page)


@needs_snakemake
def test_second_call_does_nothing(finished):
    def seen() -> dict[str, str]:
        return {name: what for name, what in contents(finished.results).items() if not name.startswith(".snakemake")}

    before = seen()
    with batch(finished.table, "-d", finished.results, "--cores", 1) as process:
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and "Nothing to be done" in said, said
    assert seen() == before


@needs_snakemake
def test_catalogue_finds_the_workflow(finished, tmp_path):
    """Where it looks, by itself, with the table as it was checked."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(f"pairs: '{finished.results / 'pairs.csv'}'\n")
    root = Path(__file__).resolve().parents[2]
    words = ["-m", "snakemake", "--snakefile", root / "workflow" / "Snakefile", "--dry-run", "--quiet", "rules"]
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^pair +3$", done.stdout + done.stderr, re.MULTILINE)


@needs_snakemake
def test_run_of_other_settings_is_not_replaced(finished, states, tmp_path, capsys):
    text = finished.table.read_text()
    changed = states / "changed.csv"
    changed.write_text(
        text.replace(f"near,a.mrc,c.mrc,{LEVEL},{LEVEL},cryotrans,6", "near,a.mrc,c.mrc,0.5,0.4,cryotrans,6")
    )
    before = contents(finished.results)
    assert program.main([str(changed), "-d", str(finished.results)]) == 2
    said = capsys.readouterr().err
    assert "line 2" in said and "with “target level” 0.5, not with “target level” 0.4" in said
    write_mrc(tmp_path / "a.mrc", two_domains(0.3))
    other = states / "other.csv"
    other.write_text(text.replace("near,a.mrc", f"near,{tmp_path / 'a.mrc'}"))
    assert program.main([str(other), "-d", str(finished.results)]) == 2
    assert "begun with another map than a.mrc is now" in capsys.readouterr().err
    assert contents(finished.results) == before
