"""What the user calls the maps of a run: ChimeraX hands them over as initial.mrc, target.mrc or target_1.mrc, ….

Beside them lies models.json, {"initial": {"name": …}, "between": [{"name": …}, …], "target": {"name": …}}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAP_FILE = re.compile(r"(?<![\w/\\])(?:initial|target(?:_\d+)?)\.mrc\b")  # in a text, but where the whole path stands


def names_by_file(models: Mapping[str, Any]) -> dict[str, str]:
    """The user's names by the names of the files, {} where models.json says nothing.

    Raises:
        KeyError, TypeError: it says it otherwise.
    """
    if not models:
        return {}
    targets = [str(model["name"]) for model in (*models.get("between", ()), models["target"])]
    files = [f"target_{number}.mrc" for number in range(1, len(targets) + 1)] if targets[1:] else ["target.mrc"]
    return {"initial.mrc": str(models["initial"]["name"]), **dict(zip(files, targets))}


def in_names(text: str, names: Mapping[str, str]) -> str:
    """A text with the names in the place of the files."""
    return MAP_FILE.sub(lambda file: names.get(file[0], file[0]), text)
