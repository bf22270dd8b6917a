"""report.html of real runs, small ones: what it says, that it is one file, and what happens where it cannot be made."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from phantoms import LEVEL, SHAPE, two_domains, write_mrc
from running import call, run_json, training

from chimerax.cryotrans.engine.files.run_directory import RunDirectory
from chimerax.cryotrans.engine.maps.density_map import DensityMap
from chimerax.cryotrans.engine.maps.mrc_file import read_map
from chimerax.cryotrans.engine.maps.preparation import above_level
from chimerax.cryotrans.programs.command_line import main
from chimerax.cryotrans.programs.report.contents import Motion
from chimerax.cryotrans.programs.report.report import NO_MATPLOTLIB, REPORT_FILE, write_report


class _Page(HTMLParser):
    """What a page holds: its text, its tags with their attributes, and that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.said, self._open = "", []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.said += data


def _map_of(density) -> DensityMap:
    return DensityMap(density, (1.5, 1.5, 1.5))


@pytest.fixture(scope="module")
def run(maps, tmp_path_factory):
    """A run of 40 steps whose files bear hostile names, with notes and warnings; nothing changes it."""
    folder = tmp_path_factory.mktemp("hostile")
    names = {"initial.mrc": "<b>&'in.mrc", "target.mrc": '"><script>x<script>.mrc'}
    for name, hostile in names.items():
        shutil.copy(maps / name, folder / hostile)
    directory = folder / "run"
    line = [str(word) for word in training(maps, directory, 40, 10)]
    line = [str(folder / names[Path(word).name]) if word.endswith(".mrc") else word for word in line]
    assert main([*line, "--progress", "none", "--hold-out", "0.1"]) == 0
    content = run_json(directory)
    content["notes"] = ["Step 0: start 1 of 2, network: transport, 90 points.", "Step 20: refinement, 90 points."]
    content["warnings"] = ["Beware of <i>this</i>."]
    (directory / "run.json").write_text(json.dumps(content), encoding="utf-8")
    return directory


def _written(run, path, **more):
    content = run_json(run)
    initial, target = (read_map(content[key]["path"]) for key in ("initial", "target"))
    generated = above_level(initial, LEVEL)
    said = write_report(path, RunDirectory(run), initial, target, generated, **more)
    return said, path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture(scope="module")
def text(run, tmp_path_factory):
    n = int(np.count_nonzero(above_level(read_map(run_json(run)["initial"]["path"]), LEVEL)))
    motion = Motion(np.ones(n, np.float32), np.full((n, 3), 2.0), np.linspace(0.9, 1.1, n))
    return _written(run, tmp_path_factory.mktemp("report") / REPORT_FILE, motion=motion)[1]


def test_the_verdict_with_its_reasons_is_on_top_and_physics_is_denied(run, tmp_path):
    said, text = _written(run, tmp_path / REPORT_FILE)
    page = _Page(text)
    word = next(w for w in ("good", "doubtful", "poor") if f"Verdict: {w}." in said)
    begin = page.said[:1200]
    assert word.capitalize() in begin
    assert "correlation" in begin and "not physics" in begin
    assert str(tmp_path / REPORT_FILE) in said


def test_it_is_one_file_that_needs_nothing_else(text):
    page = _Page(text)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"} == set()
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(text.encode()) < 500_000


def test_names_and_sentences_from_outside_are_escaped(text):
    page = _Page(text)
    assert (
        "<b>&'in.mrc" in page.said and '"><script>x<script>.mrc' in page.said and "Beware of <i>this</i>." in page.said
    )
    assert "<script" not in text and "<i>" not in text


def test_what_was_run_is_said(run, text):
    said = _Page(text).said
    content = run_json(run)
    for words in ("28×24×20 voxels of 1.5 Å", f"level {LEVEL:g}", "Seed7", "40, finished", "Held out10%", "Device"):
        assert words in said, words
    assert f"torch {content['versions']['torch']}" in said
    assert "cryotrans-train -i0" in said


def test_every_measure_of_the_first_and_the_shown_checkpoint_is_there(run, text):
    header, *lines = (run / "metrics.csv").read_text().splitlines()
    first = dict(zip(header.split(","), lines[0].split(",")))
    said = _Page(text).said
    assert f"{float(first['correlation']):.3f}" in said and f"{float(first['held_out']):.3f}" in said
    assert "Validation" not in said  # there was no such map


def test_curves_and_histograms_are_drawn_in_colours_of_the_page(text):
    charts = re.findall(r"<figure><figcaption>(.*?)</figcaption><svg.*?</svg>", text, flags=re.DOTALL)
    assert [title.split(",")[0] for title in charts] == [
        *("Loss", "Correlation with the target", "Resolution at FSC = 0.5", "Distance left"),
        *("Strain", "Shell correlation with the target", "Displacement", "Volume change"),
    ]
    assert "prefers-color-scheme: dark" in text and "var(--first)" in text
    assert not re.search(r"#0[1-9a-f]0[2-9a-f]0[3-9a-f]", text)
    assert "from step 20: refinement" in _Page(text).said


def test_pictures_show_the_maps_that_were_given(text):
    images = [a for tag, a in _Page(text).tags if tag == "img"]
    assert len(images) == 30  # slices and projections along three axes, of five maps
    pictures = {a["alt"]: imread(io.BytesIO(base64.b64decode(a["src"].split(",")[1]))) for a in images}
    initial, target = (above_level(_map_of(two_domains(t)), LEVEL) for t in (0, 1))
    for name, density in (("Initial", initial), ("Target", target)):
        projected = pictures[f"{name}, along z"][::-1, :, 0]
        flat = density.sum(axis=0)
        there = np.argwhere((initial + target).sum(axis=0) > 0)
        low = np.maximum(there.min(axis=0) - 3, 0)
        part = flat[low[0] : low[0] + projected.shape[0], low[1] : low[1] + projected.shape[1]]
        np.testing.assert_allclose(projected, np.sqrt(part / flat.max()), atol=0.01)
    np.testing.assert_array_equal(pictures["Initial, along x"], pictures["Generated, along x"])
    np.testing.assert_array_equal(pictures["Target − initial, along y"], pictures["Target − generated, along y"])


def test_maps_that_chimerax_has_named_have_the_names_of_its_models(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    content = run_json(copy)
    text = "initial.mrc has noise; target.mrc, kept in /some/where/target.mrc, has none."
    (copy / "run.json").write_text(json.dumps({**content, "notes": [text]}), encoding="utf-8")
    (copy / "maps").mkdir()
    models = {"initial": {"name": "emd <1>", "path": None}, "target": {"name": "emd 2", "path": None}}
    (copy / "maps" / "models.json").write_text(json.dumps(models), encoding="utf-8")
    _, text = _written(copy, tmp_path / REPORT_FILE)
    assert "emd &lt;1&gt; has noise; emd 2, kept in /some/where/target.mrc, has none." in text


def test_the_same_run_gives_the_same_report_but_for_the_time(run, tmp_path):
    texts = [
        re.sub(r"<dt>Report written</dt><dd>.*?</dd>", "", _written(run, tmp_path / name)[1]) for name in ("a", "b")
    ]
    assert texts[0] == texts[1] != ""


def test_another_checkpoint_than_the_best_can_be_shown(run, tmp_path):
    _, text = _written(run, tmp_path / REPORT_FILE, step=10)
    assert "Step 10, shown here" in _Page(text).said


def test_a_large_map_makes_no_large_report(run, tmp_path):
    noise = np.random.default_rng(1).uniform(0.6, 1, (150, 260, 200))
    large = _map_of(noise)
    said = write_report(tmp_path / REPORT_FILE, RunDirectory(run), large, large, large.density)
    assert "The report is" in said
    assert (tmp_path / REPORT_FILE).stat().st_size < 1_500_000


def test_without_matplotlib_a_sentence_says_how_to_get_it(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _written(run, tmp_path / REPORT_FILE) == (NO_MATPLOTLIB, "")
    assert "pip install matplotlib" in NO_MATPLOTLIB


def test_a_file_of_the_user_is_never_written_over_and_an_earlier_report_is(run, tmp_path):
    path = tmp_path / REPORT_FILE
    path.write_text("<html>mine</html>")
    said, text = _written(run, path)
    assert "another kind" in said and text == "<html>mine</html>"
    path.unlink()
    _written(run, path, step=10)
    assert "Step 10, shown here" in path.read_text(encoding="utf-8")
    assert "Step 20, shown here" in _written(run, path, step=20)[1]


def test_a_run_without_measures_has_no_report(run, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / "metrics.csv").unlink()
    said, text = _written(old, tmp_path / REPORT_FILE)
    assert said.startswith("No report is written") and "metrics.csv" in said and text == ""


# Beside the frames of a prediction


def _predict(capsys, run, folder, *more, initial=None, weights="net.pt"):
    initial = initial or run_json(run)["initial"]["path"]
    line = ["predict", "-i", initial, "-t", LEVEL, "-d", folder, "-w", run / weights, "--frames", 3]
    return call(capsys, *line, "--progress", "none", *more)


@pytest.mark.parametrize(("weights", "step"), [("net.pt", 40), ("net_1.pt", 10)])
@pytest.mark.parametrize("order", [(), ("--reverse",)])
def test_prediction_writes_the_report_of_the_run_for_its_weights(capsys, run, tmp_path, weights, step, order):
    result = _predict(capsys, run, tmp_path, *order, weights=weights)
    assert result.status == 0 and "The report is" in result.err
    text = (tmp_path / REPORT_FILE).read_text(encoding="utf-8")
    assert f"Step {step}, shown here" in _Page(text).said
    pictures = dict(re.findall(r'<img alt="(\w+), along x" src="(.*?)">', text))
    assert pictures["Generated"] != pictures["Initial"]


def test_prediction_backwards_of_another_map_or_from_other_weights_has_no_report(capsys, run, tmp_path):
    other = write_mrc(tmp_path / "other.mrc", two_domains(0.5, SHAPE))
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / "net.pt", alone)
    target = run_json(run)["target"]["path"]
    for folder, more, changed in (
        ("a", ["--inverse"], {"initial": target}),
        ("b", [], {"initial": other}),
        ("c", [], {"run": alone, "initial": run_json(run)["initial"]["path"]}),
    ):
        result = _predict(capsys, changed.pop("run", run), tmp_path / folder, *more, **changed)
        assert result.status == 0 and "report" not in result.err.lower()
        assert not (tmp_path / folder / REPORT_FILE).exists()


def test_prediction_goes_on_where_the_target_is_gone(capsys, run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    content = run_json(moved)
    content["target"]["path"] = str(tmp_path / "gone.mrc")
    (moved / "run.json").write_text(json.dumps(content), encoding="utf-8")
    result = _predict(capsys, moved, tmp_path / "frames")
    assert result.status == 0
    assert "not in" in result.err and "gone.mrc" in result.err
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"frame_0{k}.mrc" for k in range(3)]
