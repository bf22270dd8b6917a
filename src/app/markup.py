"""HTML for ChimeraX's Log."""

from __future__ import annotations

import html
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path

from chimerax.core.commands import quote_path_if_necessary


def quoted(path: str | Path) -> str:
    """A path as it is typed in a command."""
    text = quote_path_if_necessary(str(path))
    return f'"{text}"' if ";" in text and text[0] not in "\"'" else text  # which would end the command


def shortened(path: Path) -> str:
    """A folder as people write it: from their home on."""
    home = Path.home()
    return str(Path("~", path.relative_to(home))) if home in path.parents else str(path)


def link(command: str, text: str | None = None) -> str:
    """A link that runs a command; by default it shows the command."""
    return f'<a href="cxcmd:{urllib.parse.quote(command)}">{html.escape(command if text is None else text)}</a>'


def file_link(path: Path) -> str:
    """A link on a file's name that opens it with what opens such files."""
    return (
        f'<a href="{html.escape(path.as_uri())}">{html.escape(path.name)}</a> in {html.escape(shortened(path.parent))}'
    )


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """A table of cells that are HTML already."""
    lines = ['<table border="1" cellpadding="4" cellspacing="0">']
    if head:
        lines.append("<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>")
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])
