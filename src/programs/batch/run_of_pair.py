"""The run that a pair's folder holds: whether it is that of the line, and how far it is."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ...engine.errors import InputError
from ...engine.files.run_directory import FINAL_WEIGHTS, STATE_FILE, RunDirectory
from ...engine.options.training import TRAINING
from ..arguments import training_parser, with_numbers_joined
from ..provenance import digest
from .columns import titled
from .pairs import Row

_MAY_DIFFER = ("initial_map", "target_map", "directory", "device", "gpu", "progress", "stop_with_input", "no_report")


def is_trained(run: RunDirectory) -> bool:
    """Whether all its steps are done and what a training leaves at its end is there."""
    try:
        content = run.read()
    except InputError:
        return False
    return content.get("state") == "finished" and (run / FINAL_WEIGHTS).is_file()


def can_go_on(run: RunDirectory) -> bool:
    return run.holds_run() and (run / STATE_FILE).is_file()


def difference(run: RunDirectory, row: Row) -> str:
    """How a run is not the one that a line asks for, after "a run"; "" if it is."""
    try:
        content = run.read()
        command = [str(word) for word in content["command"]]
        was = vars(training_parser().parse_args(with_numbers_joined(command[1:], TRAINING)))
        digests = {key: content[key]["sha256"] for key in ("initial", "target")}
    except (InputError, KeyError, TypeError) as error:
        return f"whose run.json does not say how it was begun ({error})"
    was = {name: value[0] if TRAINING[name].several else value for name, value in was.items()}
    for name in TRAINING:
        if name not in _MAY_DIFFER and name not in ("resume", "overwrite") and was.get(name) != row.training.get(name):
            return f"that was begun {_with(name, was.get(name))}, not {_with(name, row.training.get(name))}"
    for key, before in digests.items():
        path = row.training.get(f"{key}_map")
        if path is not None and Path(path).is_file() and _digest(path, Path(path).stat().st_mtime_ns) != before:
            return f"that was begun with another map than {Path(path).name} is now"
    return ""


@functools.cache  # a reference is the map of many pairs
def _digest(path: str, time: int) -> str | None:
    return digest(path)


def _with(name: str, value: Any) -> str:
    return f"without {titled(name)}" if value is None or value is False else f"with {titled(name)} {value}"
