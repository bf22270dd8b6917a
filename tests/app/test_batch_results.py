"""cryotrans batch: what became of many pairs, listed in the Log with links that open them."""

from __future__ import annotations

import math
import re
import shutil

import pytest
from chimerax.core.errors import UserError

from chimerax.cryotrans.engine.files.batch_folder import Outcome, folder_of_pair, write_table

_NOTHING = [math.nan] * 5


@pytest.fixture
def results(tmp_path, a_run):
    """A folder of results with two pairs, one of which has failed."""
    folder = tmp_path / "the results"
    frames = folder_of_pair(folder, "open") / "frames"
    frames.mkdir(parents=True)
    for number, name in enumerate(("initial", "target")):
        shutil.copy(a_run / "maps" / f"{name}.mrc", frames / f"frame_0{number}.mrc")
    (folder / "report.html").write_text("all")
    (frames.parent / "report.html").write_text("one")
    good = Outcome("open", "good", "All of it.", "/maps/a.mrc", "/maps/b.mrc", 0.91234, 4.5, 3.0, 2.26, *[math.nan] * 3)
    failed = Outcome("closed", "failed", "No <weights>.", "/maps/a.mrc", "/maps/c.mrc", *_NOTHING, math.nan, math.nan)
    write_table(folder / "table.csv", [good, failed])
    return folder


def test_batch_lists_pairs_with_links(session, run, results):
    outcomes = run(f'cryotrans batch "{results}"')
    assert [outcome.name for outcome in outcomes] == ["open", "closed"]
    text = session.test_log.texts("info")[-1]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)][1:]
    plain = [[re.sub("<[^>]*>", "", cell.replace("<br>", "|")) for cell in row] for row in rows]
    assert plain[0] == ["good", "open|a.mrc → b.mrc", "0.912", "2.3", "open, report"]
    assert plain[1] == ["failed", "closed|No &lt;weights&gt;.", "", "", ""]
    assert text.count("report.html") == 3  # of the pair: its link; of all: link and name


def test_its_links_open_the_frames(session, run, results):
    from urllib.parse import unquote

    run(f'cryotrans batch "{results}"')
    [command] = re.findall(r'href="cxcmd:(open[^"]*vseries[^"]*)"', session.test_log.texts("info")[-1])
    [series] = run(unquote(command))
    assert len(series.maps) == 2


def test_folder_without_results(run, tmp_path):
    with pytest.raises(UserError, match=r"no table\.csv in .* cryotrans-batch"):
        run(f'cryotrans batch "{tmp_path}"')
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="columns are not those of this version"):
        run(f'cryotrans batch "{tmp_path}"')
