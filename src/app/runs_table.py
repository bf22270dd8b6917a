"""The table of runs in the Log: what each did, and what can be done with it."""

from __future__ import annotations

import html

from ..engine.errors import InputError
from .markup import link, quoted, shortened, table
from .runs import Run, open_command


def runs_table(runs: list[Run]) -> str:
    """HTML: maps and folder, state and step, what can be done with it; for a Log that is not wide."""
    return table([_row(run) for run in runs], ("Run", "State", ""))


def _row(run: Run) -> list[str]:
    state = run.state()
    try:
        content = run.content()
    except InputError:
        content = {}
    number = f" (task {run.task.id})" if run.is_active and run.task is not None else ""
    step = f"{content['step']} of {content['n_steps']}" if content else ""
    if "legs" in content:
        step = f"leg {content['leg']} of {len(content['legs'])}: {step}"
    told = f"{state}{number}<br>{step}" if step else state + number
    name = f"{html.escape(run.title())}<br><small>{html.escape(shortened(run.folder))}</small>"
    return [name, told, _links(run, state)]


def _links(run: Run, state: str) -> str:
    links = []
    if run.is_active:
        links.append(link(f"cryotrans stop {quoted(run.folder)}", "stop"))
    elif state.startswith("on "):
        return link(f"cryotrans runs fetch {quoted(run.folder)}", "fetch")
    elif state in ("interrupted", "stopped", "failed") and run.can_go_on:
        links.append(link(f"cryotrans resume {quoted(run.folder)}", "resume"))
    if not run.is_active and run.frames():
        links.append(link(open_command(run.frames()[-1]), "open"))
    elif run.weights() is not None and run.initial is not None and not run.initial.deleted:
        links.append(link(f"cryotrans predict #{run.initial.id_string} run {quoted(run.folder)}", "predict"))
    return ", ".join(links)
