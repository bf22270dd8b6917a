"""How far the states of an ensemble are apart: two tables of all maps against all, coloured, each cell a link."""

from __future__ import annotations

import math
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ...engine.files.batch_folder import VERDICTS, Outcome
from ..report.page import escaped
from ..report.report import REPORT_FILE

_FEWEST = 3
_MOST_WITH_NUMBERS = 40  # states; of more, the cells show colours alone
_FAR = (0xC2, 0x62, 0x1B)  # orange, as in the style sheet


def states_section(outcomes: Sequence[Outcome], order: Sequence[str]) -> str:
    """HTML; nothing where no map comes in several pairs, or all pairs are of the same two.

    Args:
        outcomes: the best verdict first.
        order: paths of the maps as they are to stand.
    """
    known = [outcome for outcome in outcomes if not math.isnan(outcome.distance)]
    times = Counter(path for outcome in known for path in {outcome.initial, outcome.target})
    if len(times) < _FEWEST or max(times.values(), default=0) < 2:
        return ""
    paths = sorted(times, key=order.index)
    names = _short_names(paths)
    cells: dict[tuple[str, str], Outcome] = {}
    for outcome in known:  # the best verdict first: of several trainings of one pair it is the one that counts
        cells.setdefault((outcome.initial, outcome.target), outcome)
    tables = [
        ("Transport distance between the maps, Å", lambda outcome: outcome.distance),
        ("Motion of the flow, rms, Å", lambda outcome: outcome.motion),
    ]
    body = "".join(_matrix(title, paths, names, cells, value) for title, value in tables)
    said = (
        "From the map of the row to that of the column; a click opens the run's report. The transport distance is how "
        "far mass must go at least, root mean square, and says nothing of how; motion is what the flow of the best "
        f"checkpoint does. Pale numbers: the verdict is {VERDICTS[2]}. Of several trainings of one pair, the one with "
        "the best verdict."
    )
    return f"<section><h2>States</h2><p><small>{said}</small></p>{body}</section>"


def _matrix(
    title: str,
    paths: Sequence[str],
    names: dict[str, str],
    cells: dict[tuple[str, str], Outcome],
    value: Callable[[Outcome], float],
) -> str:
    rows = [path for path in paths if any(initial == path for initial, _ in cells)]
    columns = [path for path in paths if any(target == path for _, target in cells)]
    most = max((value(outcome) for outcome in cells.values() if not math.isnan(value(outcome))), default=0.0) or 1.0
    numbers = max(len(rows), len(columns)) <= _MOST_WITH_NUMBERS
    head = "".join(f'<th scope="col">{escaped(names[path])}</th>' for path in columns)
    lines = []
    for initial in rows:
        line = "".join(_cell(cells.get((initial, target)), value, most, numbers) for target in columns)
        lines.append(f'<tr><th scope="row">{escaped(names[initial])}</th>{line}</tr>')
    return (
        f'<h3>{title}</h3><div class="wide"><table class="states"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(outcome: Outcome | None, value: Callable[[Outcome], float], most: float, numbers: bool) -> str:
    if outcome is None or math.isnan(value(outcome)):
        return "<td></td>"
    share = value(outcome) / most
    colour = f"rgba({_FAR[0]},{_FAR[1]},{_FAR[2]},{share * 0.85:.2f})"
    text = f"{value(outcome):.1f}" if numbers else "&nbsp;"
    pale = ";opacity:.45" if outcome.verdict not in VERDICTS[:2] else ""
    link = link_to(outcome.name, REPORT_FILE)
    title = escaped(f"{outcome.name}: {value(outcome):.2f} Å, {outcome.verdict}")
    return (
        f'<td style="background:{colour}" title="{title}"><a href="{link}" style="display:block{pale}">{text}</a></td>'
    )


def link_to(name: str, what: str) -> str:
    """From the report to what is in the folder of a pair."""
    return f"pairs/{urllib.parse.quote(name)}/{what}"


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """File names without what ends them; with their folder where two are alike."""
    names = {path: Path(path).name.split(".mrc")[0].split(".map")[0] for path in paths}
    counts = Counter(names.values())
    return {path: name if counts[name] == 1 else f"{Path(path).parent.name}/{name}" for path, name in names.items()}
