"""table.csv and report.html of many pairs: what became of each, the best verdicts first, and how far states are apart.

As the report of a run it is one file that can be mailed; the links in it lead to the runs' reports beside it.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...engine.errors import InputError
from ...engine.files.batch_folder import (
    BATCH_REPORT,
    FRAMES,
    TABLE_FILE,
    THUMBNAIL,
    VERDICTS,
    Outcome,
    folder_of_pair,
    in_order,
    write_table,
)
from ...engine.files.writing import write_atomically
from ..provenance import now
from ..report.page import escaped, is_report, page
from ..report.report import REPORT_FILE
from ..report.sections import time_text
from .outcome import outcome_of
from .pairs import Faults, read_lines, row_of
from .states import link_to, states_section

_STYLE = """
body { max-width: 1240px }
.pairs th { text-align: left; color: var(--quiet); font-weight: 400; padding: 4px 10px }
.pairs td { padding: 6px 10px; border-top: 1px solid var(--faint); vertical-align: middle; overflow-wrap: anywhere }
.pairs td.number { text-align: right; white-space: nowrap }
.pairs td:nth-child(2) { min-width: 200px } .pairs img { height: 52px; display: block; border-radius: 4px }
.pairs b { color: var(--tone, var(--quiet)) } .failed { --tone: var(--poor) }
a { color: var(--first) }
.states { width: auto; font-size: 12.5px } .states td { text-align: center; padding: 5px 7px; min-width: 44px }
.states th { font-weight: 400; padding: 3px 7px; text-align: right; color: var(--quiet) }
.states thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; max-height: 160px }
.states td a { color: inherit; text-decoration: none }
.wide { overflow-x: auto }
"""


def write_batch_report(table: Path) -> list[Outcome]:
    """Write both files, in the place of earlier ones.

    Args:
        table: pairs.csv, in the folder of the results.
    Returns:
        What became of the pairs, in the order of both files.
    Raises:
        InputError: the table cannot be read, or a file of another kind is in the way.
        OSError: they cannot be written.
    """
    folder, faults = table.parent, Faults([])
    rows = [row_of(line, cells, folder, faults) for line, cells in read_lines(table)]
    outcomes = in_order(outcome_of(row, folder_of_pair(folder, row.name)) for row in rows)
    maps = [str(row.training.get(f"{key}_map", "")) for row in rows for key in ("initial", "target")]
    path = folder / BATCH_REPORT
    if path.exists() and not is_report(path):
        raise InputError(f"{path} is a file of another kind, where the report is to go. Move it away.")
    write_table(folder / TABLE_FILE, outcomes)
    sections = [_summary(outcomes), _table_section(folder, outcomes), states_section(outcomes, maps)]
    title = f"{len(outcomes)} pairs" if len(outcomes) != 1 else "One pair"
    write_atomically(path, page(title, sections, _STYLE).encode(errors="backslashreplace"))
    return outcomes


def counts_text(outcomes: Sequence[Outcome]) -> str:
    """As "3 good, 1 poor, 1 failed"."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


def _summary(outcomes: Sequence[Outcome]) -> str:
    seconds = sum(outcome.seconds for outcome in outcomes if not math.isnan(outcome.seconds))
    said = f"<b>{counts_text(outcomes)}</b>; {time_text(seconds)} of training in all. Written {escaped(now())}."
    return (
        f"<section><p>{said}"
        "</p><p class=caveat>The path between two maps is an interpolation, not physics. What a verdict says and what "
        "it does not stands in each run's own report.</p></section>"
    )


def _table_section(folder: Path, outcomes: Sequence[Outcome]) -> str:
    with_model = any(not math.isnan(outcome.model_motion) for outcome in outcomes)
    titles = ["", "Pair", "Verdict", "Correlation", "Resolution", "Motion"]
    titles += ["Model moves"] if with_model else []
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(_row(folder, outcome, with_model) for outcome in outcomes)
    said = (
        "Pictures: initial map, target and generated map, projected along z. Correlation is that of generated map and "
        "target; resolution, to which they agree (FSC = 0.5); motion, how far density moves, rms; model moves, how far "
        "the atoms of the model that rides along do, rms."
    )
    return (
        f"<section><h2>Pairs</h2><p><small>{said}</small></p>"
        f'<div class="wide"><table class="pairs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</section>"
    )


def _row(folder: Path, outcome: Outcome, with_model: bool) -> str:
    place = folder_of_pair(folder, outcome.name)
    report = place / REPORT_FILE
    name = escaped(outcome.name)
    if report.is_file():
        name = f'<a href="{link_to(outcome.name, REPORT_FILE)}">{name}</a>'
    maps = escaped(f"{Path(outcome.initial).name} → {Path(outcome.target).name}")
    frames = (place / FRAMES).is_dir()
    where = f'<a href="{link_to(outcome.name, FRAMES)}/">frames</a>' if frames else ""
    numbers = [_number(outcome.correlation, "{:.3f}"), _number(outcome.resolution, "{:.1f} Å")]
    numbers.append(_number(outcome.motion, "{:.1f} Å"))
    numbers += [_number(outcome.model_motion, "{:.1f} Å")] if with_model else []
    cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
    verdict = f"<b>{outcome.verdict}</b><small>{escaped(outcome.said)}</small>"
    return (
        f'<tr class="{outcome.verdict.split()[0]}"><td>{_picture(place / THUMBNAIL)}</td>'
        f"<td>{name}<small>{maps} {where}</small></td><td>{verdict}</td>{cells}</tr>"
    )


def _picture(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return f'<img alt="Initial, target, generated" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


def _number(value: float, text: str) -> str:
    return "–" if math.isnan(value) else text.format(value)
