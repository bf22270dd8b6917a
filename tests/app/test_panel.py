"""The panel: what it says and types, and with PyQt6 without a screen, a training begun and ended by its buttons."""

from __future__ import annotations

import phantoms
import pytest
from chimerax.atomic import AtomicStructure

from chimerax.cryotrans.app.commands.registration import COMMANDS
from chimerax.cryotrans.app.panel.content import (
    buttons_after,
    buttons_next,
    chosen_pair,
    fields,
    map_text,
    open_maps,
    outlook_text,
    picture_of,
    said_of,
    train_command,
)
from chimerax.cryotrans.app.riders import FILE
from chimerax.cryotrans.app.runs import Run
from chimerax.cryotrans.app.wording import in_keywords
from chimerax.cryotrans.engine.judging.advice import AUTO, LEVELS, RIGID, SWAP, WHOLE
from chimerax.cryotrans.engine.outlook import outlook_of

SMALL = {"steps": "20", "depth": "2", "width": "8", "w2Iter": "2", "device": "cpu", "frames": "3", "seed": "1"}


# What it shows and types


def test_the_form_has_every_option_but_levels_and_what_a_panel_does_anyway():
    typed = {
        "".join([first, *(word.capitalize() for word in more)])
        for name, _ in COMMANDS["cryotrans train"].description["keyword"]
        for first, *more in [name.split("_")]
    }
    assert {field.keyword for field in fields()} == typed - {"to", "level", "toLevel", "open", "wait"}
    assert fields()[0].keyword == "recipe" and fields()[0].choices == ("cryotrans", "auto")
    assert all(field.label and field.help for field in fields())
    helps = {field.keyword: field.help for field in fields()}
    assert (
        helps["blur"].startswith("with loss correlation: ") and "w2Eps" in helps["epsStart"]
    )  # no flag of the programs


def test_train_types_what_was_chosen(pair):
    assert train_command(*pair, {}) == "cryotrans train #1 to #2"
    options = {"steps": "20", "directory": "/some where/x", "seed": " ", "mask": "#3"}
    assert train_command(*pair, options) == 'cryotrans train #1 to #2 steps 20 directory "/some where/x" mask #3'


def test_the_first_two_maps_shown_are_offered_and_what_was_chosen_stays(session, run, pair, tmp_path):
    a, b = pair
    assert open_maps(session) == [a, b] and chosen_pair([a, b], None, None) == (a, b)
    [c] = run(f'open "{phantoms.write_mrc(tmp_path / "C.mrc", phantoms.two_domains(0.5))}"')
    a.display = False
    assert chosen_pair(open_maps(session), None, None) == (b, c)
    assert chosen_pair(open_maps(session), c, a) == (c, a)
    run(f"close #{c.id_string}")
    assert chosen_pair(open_maps(session), c, a) == (b, a)
    run("close #2")
    assert chosen_pair(open_maps(session), a, b) == (a, None)
    assert chosen_pair([], None, None) == (None, None)


def test_a_map_is_told_with_its_grid_and_level(run, pair):
    nx, ny, nz = pair[0].data.size
    assert map_text(pair[0]) == f"#1 A  –  {nx}×{ny}×{nz}, 1.5 Å, level 0.5"
    run("volume #1 style image")
    assert map_text(pair[0]).endswith("no surface")


def test_the_picture_is_the_molecule_in_its_colour(run, pair):
    run("volume #1 color #4080ff")
    picture = picture_of(pair[0])
    seen = picture[picture[:, :, 3] > 0][:, :3]
    assert all(line.any() for line in (picture[0], picture[-1], picture[:, 0], picture[:, -1]))  # no more than it
    assert (seen[:, 2] >= seen[:, 1]).all() and (seen[:, 1] >= seen[:, 0]).all()
    assert abs(int(seen[:, 2].max()) - 255) <= 1


def test_what_is_to_come_is_told_before_it_begins(run, pair):
    text = outlook_text(*pair, {})
    assert text.startswith("Recipe auto") and "points" in text and "seconds on a CPU" in text and "GB of memory" in text
    assert outlook_text(*pair, {"loss": "l2"}).startswith("The published settings")
    assert "Open two maps" in outlook_text(pair[0], None, {})
    run("volume #2 style image")
    assert "Show both maps as surfaces" in outlook_text(*pair, {})


@pytest.mark.parametrize(
    # Measured on two cores, docs/performance.md: adenylate kinase in 64³ voxels, and the spike in 256³.
    ("n_points", "n_voxels", "volume", "seconds", "gigabytes"),
    [(1865, 64**3, 6_300, 32, 0.41), (433_221, 256**3, 160_900, 267, 1.38)],
)
def test_the_outlook_is_what_was_measured(n_points, n_voxels, volume, seconds, gigabytes):
    outlook = outlook_of(n_points, n_voxels, volume)
    assert outlook.shortest <= seconds <= outlook.longest
    assert outlook.memory / 1e9 == pytest.approx(gigabytes, rel=0.3)


def test_times_are_said_in_round_numbers():
    assert outlook_of(100, 1000, 1000).time_text() == "20 to 40 seconds"
    assert outlook_of(433_221, 256**3, 160_900).time_text() == "4 to 9 minutes"
    assert outlook_of(100, 1000, 1000).time_text(by_hand=True) == "About 20 seconds for 1,000 steps"


def test_a_verdict_is_taken_as_it_was_told():
    assert said_of(None) == ("", [], [])
    assert said_of({"word": "poor", "reasons": ["It folds."], "advice": []}) == ("poor", ["It folds."], [])


def test_advice_that_is_a_command_is_a_button(pair, tmp_path):
    class Ended:
        folder, run_of_it = tmp_path, Run(tmp_path, *pair)

    advice = [in_keywords(text) for text in (SWAP, RIGID, AUTO, WHOLE, LEVELS)]
    assert [button.command for button in buttons_next(Ended(), advice)] == [
        "cryotrans train #2 to #1",
        "cryotrans train #1 to #2 flow domains",
        "cryotrans train #1 to #2 recipe auto",
        f"cryotrans resume {tmp_path}",
    ]
    assert buttons_next(Ended(), [in_keywords(LEVELS)]) == []


def test_no_buttons_without_a_trajectory():
    class Ended:
        series = None

    assert buttons_after(Ended()) == []


# The window


@pytest.fixture
def panel(session, home, pair, monkeypatch):
    """The tool as a user opens it.

    To ChimeraX the session has no window, or it would open tools of its own; to this bundle it has one.
    """
    import qt_window

    from chimerax.cryotrans.app.commands import beginning
    from chimerax.cryotrans.app.panel import remembered

    try:
        qt_window.application()
    except ImportError as error:
        pytest.skip(f"needs PyQt6 and the libraries of the system that it uses ({error})")
    monkeypatch.setattr(beginning, "run_task", lambda session, job, wait: job.start())
    monkeypatch.setattr(remembered, "_has_window", lambda session: True)
    from chimerax.cryotrans.app.panel.window import panel_of

    tool = panel_of(session)
    yield tool
    if tool in session.tools.list():
        tool.delete()
    qt_window.withdraw()


def _wait_for(session, condition, seconds=60):
    from PyQt6.QtWidgets import QApplication

    def reached():
        QApplication.processEvents()
        return condition()

    assert session.ui.wait_for(reached, seconds)


def test_three_clicks_make_a_morph(session, panel):
    assert panel.initial_menu.menu.currentText().startswith("#1 A") and panel.train.text() == "Train"
    assert panel.target_menu.menu.currentText().startswith("#2 B") and not panel.bar.isVisible()
    panel.form.set(SMALL)
    panel.train.click()
    assert panel.train.text() == "Stop"
    _wait_for(session, lambda: panel.job.done)
    assert panel.job.error is None and panel.train.text() == "Train" and panel.result.widget.isVisible()
    assert panel.job.verdict["word"] in panel.result.word.text() and panel.result.reasons.text()
    assert panel.curves.canvas is not None and len(panel.job.checkpoints) == 11
    typed = [text for text in session.test_log.texts("info") if text.startswith("Executing: ")]
    assert any("cryotrans train #1 to #2" in text and "steps 20" in text for text in typed)
    texts = [button.text() for button in panel.result.buttons]
    assert {"Play", "Slider", "Movie", "Color by motion", "Arrows", "Domains", "Report"} <= set(texts)
    panel.result.buttons[texts.index("Color by motion")].click()
    assert any("cryotrans color #3 by displacement" in text for text in session.test_log.texts("info"))


def test_a_model_is_carried_and_frames_are_saved_by_buttons_that_ask(session, run, panel, monkeypatch, tmp_path):
    from chimerax.cryotrans.app.panel import window

    panel.form.set(SMALL)
    panel.train.click()
    _wait_for(session, lambda: panel.job.done)
    buttons = {button.text(): button for button in panel.result.buttons}
    buttons["Carry a model…"].click()
    assert "Open an atomic model" in panel.state.text()
    typed = []
    monkeypatch.setattr(panel, "_type", typed.append)
    structure = AtomicStructure(session, name="fitted")
    structure.new_residue("ALA", "A", 1)
    session.models.add([structure])
    monkeypatch.setattr(window.QInputDialog, "getItem", lambda *asked: (asked[3][0], True))
    buttons["Carry a model…"].click()
    monkeypatch.setattr(window.QFileDialog, "getExistingDirectory", lambda *asked: str(tmp_path))
    buttons["Save frames…"].click()
    assert typed[0].startswith("cryotrans predict #1 run ") and typed[0].endswith(" model #4")
    assert typed[1].count("vseries play #3 jumpTo") == 3 and f"save {tmp_path}/frame_2.png supersample 3" in typed[1]


def test_new_frames_of_a_run_keep_its_verdict(session, run, panel):
    panel.form.set(SMALL)
    panel.train.click()
    _wait_for(session, lambda: panel.job.done)
    first, word = panel.job, panel.result.word.text()
    run("cryotrans predict #1 frames 2")
    _wait_for(session, lambda: panel.job is not first and panel.job.done)
    assert panel.result.word.text() == word and panel.result.widget.isVisible()
    assert "cryotrans color #4" in "".join(button.toolTip() for button in panel.result.buttons)


def test_stop_ends_a_training_and_its_run_can_be_gone_on_with(session, panel):
    panel.form.set({**SMALL, "steps": "1000000", "period": "20"})
    panel.train.click()
    _wait_for(session, lambda: len(panel.job.checkpoints) > 2)
    assert panel.show_now.isVisible() and panel.bar.isVisible()
    panel.train.click()
    assert any("cryotrans stop" in text for text in session.test_log.texts("info"))
    _wait_for(session, lambda: panel.job.done)
    assert not panel.show_now.isVisible() and not panel.bar.isVisible()
    panel.runs_folded.open(True)
    runs = panel.runs
    assert runs.table.item(0, 0).text() == "A → B" and runs.table.item(0, 1).text() == "stopped"
    runs.table.selectRow(0)
    assert runs.buttons["Resume"].isEnabled() and runs.buttons["Open"].isEnabled()
    assert runs.buttons["Report"].isEnabled() and runs.buttons["Delete…"].isEnabled()


def test_what_cannot_be_done_is_said_in_the_panel(session, run, panel):
    run("volume #1,2 style image")
    panel._look()
    assert "Show both maps" in panel.outlook.text()
    panel.train.click()
    assert "show no surface" in panel.state.text() and panel.train.text() == "Train"
    run("close #2")
    panel._look()
    assert not panel.train.isEnabled() and "Open two maps" in panel.outlook.text()


def test_swapping_and_choosing_keep_two_different_maps(panel, pair):
    a, b = pair
    panel._swap()
    assert (panel._initial, panel._target) == (b, a) and panel.initial_menu.menu.currentText().startswith("#2")
    panel._choose_initial(a)
    assert (panel._initial, panel._target) == (a, b)
    panel._choose_target(a)
    assert (panel._initial, panel._target) == (b, a)


def test_the_panel_comes_back_with_a_session(session, run, panel, tmp_path):
    from chimerax.cryotrans.app.panel.window import CryoTransTool

    panel._swap()
    panel.form.set({"steps": "7", "recipe": "auto"})
    panel.options.open(True)
    run(f'save "{tmp_path}/a.cxs"')
    run("close session")
    for tool in session.tools.find_by_class(CryoTransTool):
        tool.delete()
    run(f'open "{tmp_path}/a.cxs"')
    [tool] = session.tools.find_by_class(CryoTransTool)
    assert tool._initial.name == "B" and tool._target.name == "A" and tool.options.is_open
    assert tool.form.chosen() == {"recipe": "auto", "steps": "7"}
    tool.delete()


def test_closing_the_panel_leaves_the_training(session, panel):
    panel.form.set({**SMALL, "steps": "1000000", "period": "20"})
    panel.train.click()
    job = panel.job
    _wait_for(session, lambda: len(job.checkpoints) > 1)
    panel.delete()
    assert not job.done and session.tools.list() == []
    from chimerax.cryotrans.app.panel.window import panel_of

    again = panel_of(session)
    assert again.job is job and again.train.text() == "Stop"
    again.train.click()
    _wait_for(session, lambda: job.done)
    again.delete()


def test_two_hundred_maps_are_drawn_no_more_often_than_they_change(session, run, panel, pair, monkeypatch):
    from chimerax.map.volume import volume_from_grid_data
    from chimerax.map_data import ArrayGridData

    from chimerax.cryotrans.app.panel import parts

    matrix = pair[0].full_matrix()
    for number in range(200):
        grid = ArrayGridData(matrix, name=f"copy {number} with a long name " + "x" * 80)
        volume_from_grid_data(grid, session, show_dialog=False, style="surface").display = False
    panel._look()
    assert panel.initial_menu.menu.count() == 202 and panel.initial_menu.menu.minimumWidth() == 120
    drawn = []
    monkeypatch.setattr(parts, "picture_of", lambda volume: drawn.append(volume) or picture_of(volume))
    panel._look()
    assert drawn == []
    run("volume #1 level 0.4")
    panel._look()
    assert drawn == [pair[0]]


def test_a_run_is_deleted_with_its_trajectory_and_nothing_else(session, panel):
    from chimerax.cryotrans.app.removal import delete
    from chimerax.cryotrans.app.runs import runs_of

    panel.form.set(SMALL)
    panel.train.click()
    _wait_for(session, lambda: panel.job.done)
    folder = panel.job.folder
    (folder / "notes.txt").write_text("mine")
    for name in ("still_part.mrc", FILE):  # of frames with a part that stays, and with atoms
        (folder / "frames" / name).write_bytes(b"")
    delete(session, runs_of(session).find(folder))
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert [model.name for model in session.models.list() if len(model.id) == 1] == ["A", "B"]
    panel.runs_folded.open(True)
    assert panel.runs.table.rowCount() == 0


def test_the_way_to_pytorch_is_shown_where_it_is_missing(session, panel, monkeypatch, tmp_path):
    from chimerax.cryotrans.app.panel import first_time
    from chimerax.cryotrans.app.settings import user_settings

    panel._look()
    assert not panel.first_time.widget.isVisible()
    user_settings(session).python = ""
    monkeypatch.setattr(first_time, "default_folder", lambda: tmp_path / "none")
    monkeypatch.setattr(first_time.importlib.util, "find_spec", lambda name: None)
    panel._look()
    assert not panel.first_time.widget.isVisible()  # the disk is not asked again before something fails
    panel.first_time.ask_again()
    panel._look()
    assert panel.first_time.widget.isVisible() and panel.first_time.install.text() == "Install PyTorch"


def test_dark_colours_narrow_panels_and_the_tab_key(session, panel):
    from PyQt6.QtGui import QColor, QPalette
    from PyQt6.QtWidgets import QApplication

    panel.form.set(SMALL)
    panel.train.click()
    _wait_for(session, lambda: panel.job.done)
    area, application = panel.tool_window.ui_area, QApplication.instance()
    light = application.palette()
    dark = QPalette(QColor("#303030"))  # from which Qt makes the other colours
    try:
        for palette, ground in ((light, light.window().color().name()), (dark, "#303030"), (light, None)):
            application.setPalette(palette)
            QApplication.processEvents()
            panel._look()
            canvas = panel.curves.canvas.figure
            paper = [round(255 * part) for part in canvas.get_facecolor()[:3]]
            title = QColor(panel.result.word.text().partition("color:")[2][:7])
            assert ground is None or paper == [*QColor(ground).getRgb()[:3]]
            assert abs(title.lightness() - QColor(*paper).lightness()) > 80  # of 255
            assert QColor(canvas.axes[0].title.get_color()).lightness() < 128 or palette is dark
    finally:
        application.setPalette(light)
    for width in (380, 700):
        area.resize(width, 700)
        QApplication.processEvents()
        assert panel._scroll.horizontalScrollBar().maximum() == 0
        buttons = panel.result.buttons
        assert all(button.width() >= button.sizeHint().width() for button in buttons)
        assert len({button.y() for button in buttons}) >= len(buttons) // 3
    about = next(button for button in area.findChildren(type(panel.train)) if button.text() == "Help")
    stop, reached = panel.result.buttons[0], about.nextInFocusChain()
    while reached is not stop and not (reached.isVisible() and isinstance(reached, type(stop))):
        reached = reached.nextInFocusChain()
    assert reached is stop
