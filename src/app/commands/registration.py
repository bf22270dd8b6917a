"""The commands: arguments, checks on models and folders, and what is said to the user.

What ChimeraX can say against a command is said before anything is written or started; the worker says the rest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chimerax.atomic import StructureArg
from chimerax.core.commands import (
    BoolArg,
    Bounded,
    CmdDesc,
    ColorArg,
    ColormapArg,
    EnumOf,
    FloatArg,
    OpenFolderNameArg,
    SaveFileNameArg,
    SaveFolderNameArg,
    StringArg,
    TupleOf,
    register,
)
from chimerax.map.mapargs import MapsArg
from chimerax.map_series.vseries_command import SeriesArg

from ...engine.options.prediction import PREDICTION
from ...engine.options.training import TRAINING
from ..movie import RotationArg
from ..palettes import MEASURES, PaletteArg
from .arguments import COUNT, FRAMES, PIXELS, POSITIVE, DeviceArg, MapsInOrderArg, OneMapArg, PythonArg, keywords_of
from .arrows import arrows
from .batch import batch
from .color import color
from .demo import demo
from .domains import domains
from .install import install
from .movie import movie
from .predict import predict
from .resume import resume
from .runs import runs, stop
from .train import train


class _Command(NamedTuple):
    function: Any
    description: dict[str, Any]


_TRAIN_KEYWORDS = [
    ("to", MapsInOrderArg),
    *keywords_of(TRAINING),
    ("validate", OneMapArg),
    ("frames", FRAMES),
    ("open", BoolArg),
    ("wait", BoolArg),
]
_PREDICT_KEYWORDS = [*keywords_of(PREDICTION), ("name", StringArg), ("wait", BoolArg)]
_MOVIE_KEYWORDS = [
    ("model", StructureArg),
    ("file", SaveFileNameArg),
    ("rotate", RotationArg),
    ("oscillate", BoolArg),
    ("size", PIXELS),
    ("seconds", Bounded(FloatArg, min=0, max=600, inclusive=False)),
]
_COLOR_KEYWORDS = [
    ("by", EnumOf(tuple(MEASURES))),
    ("run", OpenFolderNameArg),
    ("palette", PaletteArg),
    ("range", TupleOf(FloatArg, 2)),
    ("key", BoolArg),
]
_ARROWS_KEYWORDS = [("run", OpenFolderNameArg), ("spacing", POSITIVE), ("color", ColorArg), ("scale", POSITIVE)]
_DOMAINS_KEYWORDS = [
    ("model", StructureArg),
    ("run", OpenFolderNameArg),
    ("arrows", BoolArg),
    ("palette", ColormapArg),
]
_RESUME_KEYWORDS = [
    ("steps", COUNT),
    ("frames", FRAMES),
    ("device", DeviceArg),
    ("open", BoolArg),
    ("wait", BoolArg),
]

COMMANDS = {
    "cryotrans train": _Command(
        train,
        {
            "required": [("initial", OneMapArg)],
            "keyword": _TRAIN_KEYWORDS,
            "required_arguments": ["to"],
            "synopsis": "Learn the flow that carries one map onto another",
        },
    ),
    "cryotrans predict": _Command(
        predict,
        {
            "required": [("initial", OneMapArg)],
            "keyword": _PREDICT_KEYWORDS,
            "synopsis": "Open the trajectory of a trained flow as a volume series",
        },
    ),
    "cryotrans movie": _Command(
        movie,
        {
            "required": [("series", SeriesArg)],
            "keyword": _MOVIE_KEYWORDS,
            "synopsis": "Record a volume series as a movie",
        },
    ),
    "cryotrans color": _Command(
        color,
        {
            "required": [("maps", MapsArg)],
            "keyword": _COLOR_KEYWORDS,
            "synopsis": "Color a map by where it moves and how far to believe it",
        },
    ),
    "cryotrans arrows": _Command(
        arrows,
        {
            "required": [("maps", MapsArg)],
            "keyword": _ARROWS_KEYWORDS,
            "synopsis": "Draw arrows from where density starts to where it ends",
        },
    ),
    "cryotrans domains": _Command(
        domains,
        {
            "required": [("maps", MapsArg)],
            "keyword": _DOMAINS_KEYWORDS,
            "synopsis": "Color the parts that move as rigid bodies and list how they turn",
        },
    ),
    "cryotrans stop": _Command(
        stop, {"optional": [("run", StringArg)], "synopsis": "Save and end training, and open what there is"}
    ),
    "cryotrans resume": _Command(
        resume,
        {
            "required": [("folder", OpenFolderNameArg)],
            "keyword": _RESUME_KEYWORDS,
            "synopsis": "Go on with training from its last checkpoint",
        },
    ),
    "cryotrans runs": _Command(
        runs,
        {
            "keyword": [("fetch", OpenFolderNameArg), ("wait", BoolArg)],
            "synopsis": "List training runs, or fetch one from another machine",
        },
    ),
    "cryotrans batch": _Command(
        batch, {"required": [("folder", OpenFolderNameArg)], "synopsis": "List what became of many pairs"}
    ),
    "cryotrans install": _Command(
        install,
        {
            "keyword": [
                ("host", StringArg),
                ("python", PythonArg),
                ("directory", SaveFolderNameArg),
                ("source", StringArg),
                ("wait", BoolArg),
            ],
            "synopsis": "Take or make a Python that has PyTorch",
        },
    ),
    "cryotrans demo": _Command(
        demo, {"keyword": [("directory", SaveFolderNameArg)], "synopsis": "Open two maps to try CryoTRANS on"}
    ),
}


def register_command(name: str, logger: Any) -> None:
    """Register one command with ChimeraX."""
    command = COMMANDS[name]
    register(name, CmdDesc(**command.description), command.function, logger=logger)
