"""How texts of the engine and of the worker name an option in ChimeraX: by the keyword of the command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.errors import worded
from ..engine.options.prediction import PREDICTION
from ..engine.options.training import TRAINING

_INSTEAD = {  # of options that the commands do not have
    "overwrite": "another directory",
    "resume": "cryotrans resume",
    "gpu": "device cuda:N",
    "no_report": "no report",
}


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
