"""What ChimeraX asks of a bundle: its entry points, by name.

ChimeraX calls `initialize` when it starts, with what has to be there before a session is opened.  It calls the others
when one of the things that bundle_info.xml declares is first used; each imports what it needs then.
"""

from __future__ import annotations

from typing import Any

from chimerax.core.toolshed import BundleAPI


class _CryoTransAPI(BundleAPI):
    api_version = 1

    @staticmethod
    def register_command(bundle_info: Any, command_info: Any, logger: Any) -> None:
        from .app.commands.registration import register_command

        register_command(command_info.name, logger)

    @staticmethod
    def start_tool(session: Any, bundle_info: Any, tool_info: Any) -> Any:
        from .app.panel.window import panel_of

        return panel_of(session)

    @staticmethod
    def run_provider(session: Any, name: str, manager: Any, **kw: Any) -> Any:
        """The button of the toolbar."""
        from .app.panel.window import panel_of

        return panel_of(session)

    @staticmethod
    def initialize(session: Any, bundle_info: Any) -> None:
        from .app import in_step, runs, series
        from .app.panel import remembered

        runs.attend_sessions(session)
        series.attend_sessions(session)
        in_step.attend_sessions(session)
        remembered.attend_sessions(session)


bundle_api = _CryoTransAPI()
