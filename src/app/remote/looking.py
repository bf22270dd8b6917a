"""How the runs on other machines are, asked in the background."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from ..background import BackgroundTask
from ..markup import link, quoted, table
from ..messages import Message
from ..runs import Run
from .connection import Connection, Trouble
from .machines import connection_to
from .record import is_away

_WORDS = {"ended": "ended", "running": "running", "interrupted": "cut off, as by a restart"}


class Looking(BackgroundTask):
    """Asks each machine for its runs, and shows what they are at as a table in the Log."""

    belongs_to_session = False

    def __init__(self, session: Any, runs: Sequence[Run]) -> None:
        super().__init__(session, "runs on other machines")
        self.rows: list[list[str]] = []
        self._asked: list[tuple[Connection, list[Run]]] = []
        by_machine: dict[str, list[Run]] = {}
        for run in runs:
            if (record := is_away(run.folder)) is not None:
                by_machine.setdefault(record.machine, []).append(run)
        for machine, its in by_machine.items():
            self._asked.append((connection_to(session, machine), its))

    def leave(self, seconds: float, in_haste: bool = False) -> None:
        super().leave(seconds, in_haste)
        for connection, _ in self._asked:
            connection.close()

    def work(self) -> None:
        for connection, runs in self._asked:
            records = [record for run in runs if (record := is_away(run.folder)) is not None and record.works]
            try:
                folders = [[record.folder, record.works[-1]] for record in records]
                states = connection.ask("state", folders=folders)["states"]
            except Trouble as trouble:
                self.tell("state", run=None, machine=connection.machine, text=str(trouble))
                continue
            for run, state in zip(runs, states):
                step = f", step {state['step']}" if "step" in state else ""
                step += f" of {state['n_steps']}" if step and "n_steps" in state else ""
                text = _WORDS.get(state["state"], state["state"]) + step
                self.tell("state", run=run, machine=connection.machine, text=text)

    def take_up(self, message: Message) -> None:
        run: Run | None = message["run"]
        name = html.escape(run.title()) if run is not None else ""
        what = link(f"cryotrans runs fetch {quoted(run.folder)}", "fetch") if run is not None else ""
        self.rows.append([name, html.escape(message["machine"]), html.escape(message["text"]), what])

    def finish(self) -> None:
        if self.rows:
            self.session.logger.info(table(self.rows, ("Run", "Machine", "State there", "")), is_html=True)
