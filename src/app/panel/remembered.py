"""The panel comes back with a session in which it was open.

Like all of this bundle it is in the session's metadata alone, see series.py.
"""

from __future__ import annotations

import json
from typing import Any

TOOL_NAME = "CryoTRANS"
_METADATA_KEY = "CryoTRANS panel"


def attend_sessions(session: Any) -> None:
    """To be called when ChimeraX starts the bundle, so that it has been before a session is opened."""
    session.triggers.add_handler("begin save session", _on_save)
    session.triggers.add_handler("end restore session", _on_restore)


def _on_save(_: str, session: Any) -> None:
    session.metadata.pop(_METADATA_KEY, None)
    for tool in session.tools.list():
        if tool.tool_name == TOOL_NAME:
            session.metadata[_METADATA_KEY] = json.dumps(tool.content())


def _on_restore(_: str, session: Any) -> None:
    saved = session.metadata.get(_METADATA_KEY)
    if saved and _has_window(session):
        from .window import panel_of

        panel_of(session).take_content(json.loads(saved))


def _has_window(session: Any) -> bool:
    return bool(session.ui.is_gui)
