"""The table of many pairs in the Log: the verdict on each, and links that open its frames and its report."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from ..engine.files.batch_folder import BATCH_REPORT, FRAMES, Outcome, folder_of_pair
from .markup import file_link, link, quoted, table
from .runs import open_command

_MOST_SHOWN = 100


def batch_table(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """HTML, for a Log that is not wide."""
    head = ("Verdict", "Pair", "Correlation", "Motion, Å", "")
    text = table([_row(folder, outcome) for outcome in outcomes[:_MOST_SHOWN]], head)
    more = f"<br>{len(outcomes) - _MOST_SHOWN} more" if len(outcomes) > _MOST_SHOWN else ""
    report = folder / BATCH_REPORT
    return text + more + (f"<br>All of them: {file_link(report)}" if report.is_file() else "")


def _row(folder: Path, outcome: Outcome) -> list[str]:
    maps = f"{Path(outcome.initial).name} → {Path(outcome.target).name}"
    told = outcome.said if outcome.verdict in ("failed", "not finished") else maps
    name = f"{html.escape(outcome.name)}<br><small>{html.escape(told)}</small>"
    numbers = [_number(outcome.correlation, "{:.3f}"), _number(outcome.motion, "{:.1f}")]
    place, links = folder_of_pair(folder, outcome.name), []
    if any((place / FRAMES).glob("frame_*.mrc")):
        links.append(link(open_command(place / FRAMES), "open"))
    report = place / BATCH_REPORT
    if report.is_file():
        links.append(link(f"open {quoted(report)}", "report"))
    return [outcome.verdict, name, *numbers, ", ".join(links)]


def _number(value: float, text: str) -> str:
    return "" if math.isnan(value) else text.format(value)
