"""docs/failures.md: what goes wrong, what is said then, and what to do; written from what was said when provoked.

The two halves provoke their failures in tests/programs/test_failures.py and tests/app/test_failures.py, and compare.
`make failures` writes: it runs both with CRYOTRANS_WRITE_FAILURES=1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "failures.md"
_HEAD = """# When something goes wrong

Each of these failures was provoked, and this is what was said: `make failures` writes the tables, and a test holds that
the programs say the same today. N stands for a number, RUN for the run's directory, FOLDER for the one that it is in.
Programs end with exit status 2 and that sentence, where nothing else is named; ChimeraX shows it in its Log. Nothing of
the user's is removed or written over, and nothing is written where nothing was begun.
"""


class Failure(NamedTuple):
    """A row.

    Attributes:
        trigger: what happens.
        noticed: when and how the program finds it.
        way_on: what to do.
        test: the function that proves it, in FILE::FUNCTION below tests/.
    """

    trigger: str
    noticed: str
    way_on: str
    test: str


def plain(said: str, places: Mapping[str, Path]) -> str:
    """A sentence without what differs from one machine and run to the next; `places` by what they are called."""
    for name, place in sorted(places.items(), key=lambda item: -len(str(item[1]))):
        said = said.replace(str(place), name)
    said = re.sub(r"PyTorch [\d.]+(\+\w+)?", "PyTorch N", said)
    said = re.sub(r"finds (no NVIDIA GPU|\d+ NVIDIA GPUs?, numbered from 0)", "finds no NVIDIA GPU", said)
    said = re.sub(r"(?<=\bstep )\d+( of \d+)?|(?<=\()\d+(?= of the)", "N", said)
    return " ".join(said.split())


def table(rows: Mapping[Failure, str]) -> str:
    """The rows with what was said."""
    lines = ["| what happens | how it is noticed | what is said | how to go on | proved by |", "|---|---|---|---|---|"]
    for row, said in rows.items():
        cells = (row.trigger, row.noticed, _verbatim(said), row.way_on, f"`{row.test}`")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def compare(heading: str, rows: Mapping[Failure, str]) -> None:
    """That the document's part of that heading has these rows; or write it, if so asked."""
    for row in rows:
        path, name = row.test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), row.test
    part = f"## {heading}\n\n{table(rows)}"
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
    parts = {match[1]: match[0].rstrip() + "\n" for match in re.finditer(r"## (.*)\n\n(?:\|.*\n?)+", text)}
    if os.environ.get("CRYOTRANS_WRITE_FAILURES"):
        parts[heading] = part
        order = sorted(parts, reverse=True)  # the programs first
        DOCUMENT.write_text("\n".join([_HEAD, *(parts[name] for name in order)]), encoding="utf-8")
        return
    assert text.startswith(_HEAD), "make failures"
    written = parts.get(heading, "").splitlines()
    differing = [line for line in part.splitlines() if line not in written]
    assert not differing and len(written) == len(part.splitlines()), ["make failures", *differing]


def _verbatim(said: str) -> str:
    fence = "``" if "`" in said else "`"
    return f"{fence}{said}{fence}".replace("|", "\\|")
