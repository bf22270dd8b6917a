"""What may stand in run.json, and in the models.json beside a run's maps: see `patterns`.

Hardly a key must be there, for versions differ and a run that is killed has little; but what is there is what it should
be, so that nobody who reads it has to ask.
"""

from __future__ import annotations

import math
import re
from typing import Any

from .patterns import ANY, NUMBER, Pattern, count, vector

LEG = re.compile(r"leg_\d+")
_WEIGHTS = re.compile(r"net(_\d+)?\.pt")
_MOST_VOXELS = 2**31


def _anything(value: Any) -> bool:
    """Of `files`, of which only names of a run's files are heeded."""
    return True


def _grid_shape(value: Any) -> bool:
    return vector(value) and all(count(n) and n > 0 for n in value) and math.prod(value) <= _MOST_VOXELS


def _voxel_size(value: Any) -> bool:
    return vector(value) and min(value) > 0


_FILE: Pattern = {"path": str, "sha256": (str, None)}
_MAP: Pattern = {
    "path": str,
    "sha256?": (str, None),
    "level?": float,
    "name?": str,
    "grid_shape?": _grid_shape,
    "voxel_size?": _voxel_size,
    "origin?": vector,
}
_VALUE: Pattern = (None, bool, float, str, [(float, str)])  # of an option
RUN: Pattern = {
    "program?": str,
    "command?": [str],
    "state?": str,
    "started?": str,
    "updated?": str,
    "message?": (str, None),
    "options": {
        ANY: _VALUE,
        "recipe?": str,
        "initial_level?": float,
        "target_level?": float,
        "n_steps?": (count, None),
    },
    "step?": count,
    "n_steps?": count,
    "n_points?": count,
    "seconds?": float,
    "loss?": NUMBER,
    "mass_outside?": NUMBER,
    "relative_blur?": float,
    "ceiling?": (float, None),
    "initial?": _MAP,
    "target?": _MAP,
    "targets?": [_MAP],
    "legs?": [LEG],
    "arguments?": {ANY: _VALUE},
    "leg?": {"number": count, "of": count},
    "device?": {"asked": str, "gpu": (int, None), "used?": str},
    "weights_from?": (str, None),
    "reports?": bool,
    "ended_early?": bool,
    "has_settled?": bool,
    "validation?": (_FILE, None),
    "segments?": (_FILE, None),
    "half_maps?": [_FILE],
    "masks?": {ANY: ({"path": str}, {"found": str})},
    "files?": [_anything],
    "notes?": [str],
    "warnings?": [str],
    "checkpoints?": {ANY: _WEIGHTS},
    "best?": ({"step": count, "weights": _WEIGHTS}, None),
    "verdict?": ({"word": str, "reasons": [str], "advice": [str]}, None),
    "without_partner?": [{"text": str, "share": float}],
    "witness?": ({}, None),
    "confidence?": ({}, None),
}

_MODEL: Pattern = {"name": str, "path?": (str, None)}
MODELS: Pattern = {"initial": _MODEL, "target": _MODEL, "between?": [_MODEL]}
