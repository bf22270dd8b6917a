"""How texts of the engine and of the worker are said in ChimeraX.

An option is named by the keyword of the command, a map by its model, and a way out is the command for that model.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any

from ..engine.errors import worded
from ..engine.files.map_names import MAP_FILE
from ..engine.options.prediction import PREDICTION
from ..engine.options.training import TRAINING

_INSTEAD = {  # of options that the commands do not have
    "overwrite": "another directory",
    "resume": "cryotrans resume",
    "gpu": "device cuda:N",
    "no_report": "no report",
}

_COMMAND = re.compile(r"\(in ChimeraX: ([^()]*)\)")


def keyword(option: str) -> str:
    """As the user types it, "learningRate"."""
    about = TRAINING.get(option) or PREDICTION.get(option)
    return (about and about.typed_keyword) or _INSTEAD.get(option) or option.replace("_", " ")


def in_keywords(text: str) -> str:
    """A text in which options are named as errors.py says."""
    return worded(text, keyword)


def said_by(message: Mapping[str, Any]) -> str:
    """The text of what the worker tells, see docs/progress.md."""
    return in_keywords(str(message.get("marked", message.get("text"))))


def in_models(text: str, models: Mapping[str, Any]) -> str:
    """A text on the maps of a run, which the worker knows by their files, with the models in the place of the files.

    A command that names #1 alone is for the map that the text names first; where it names #2 too, #1 is the earlier
    conformation of the two.

    Args:
        models: those that are open, by the names of their files in the run, in the order of the conformations; the
            places in the text are in the frame of the first.
    """
    files = [name for name in MAP_FILE.findall(text) if name in models]
    if not files:
        return text
    in_order = [name for name in models if name in files]

    def typed(match: re.Match[str]) -> str:
        command = match[1]
        named = in_order if "#2" in command else files
        if "#2" in command and len(named) < 2:
            return match[0]
        command = re.sub(r"#([12])\b", lambda number: f"#{models[named[int(number[1]) - 1]].id_string}", command)
        if " center " in command:
            command += f" coordinateSystem #{next(iter(models.values())).id_string}"
        return f"(type: {command})"

    text = _COMMAND.sub(typed, text)
    return MAP_FILE.sub(lambda file: _model_text(models[file[0]]) if file[0] in models else file[0], text)


def cannot_be_written(folder: object, error: OSError) -> str:
    """That files for a worker cannot be put into a folder, and the way out."""
    full = error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))
    way_out = "Make room on the disk, or give another directory." if full else "Give another directory."
    return f"The folder {folder} cannot be written: {error.strerror}. {way_out}"


def _model_text(model: Any) -> str:
    return f"#{model.id_string} {model.name}"
